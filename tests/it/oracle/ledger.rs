//! What the cloud has seen, and what it may not have.

use std::collections::{BTreeMap, BTreeSet};

use super::PROBE;
use crate::support::cloud::Asked;

/// What the cloud has seen.
#[derive(Default)]
pub(super) struct Ledger {
    /// By place, of the records that it said yes to: kind, and number of the message.
    yes: BTreeMap<(u64, u64), (String, Option<u64>)>,
    /// The numbers in all that it was ever sent.
    sent: BTreeSet<u64>,
    /// Gaps that tell of decisions.
    gaps: Vec<serde_json::Value>,
}

impl Ledger {
    pub(super) fn note(&mut self, asked: &Asked, yes: bool) {
        for record in &asked.records {
            let number = |record: &serde_json::Value| {
                record["origin"].as_str()?.strip_suffix(":bearing:fault")?.parse().ok()
            };
            let (kind, number) = (record["kind"].as_str().expect("kind"), number(record));
            self.sent.extend(number);
            if kind == "gap" && record["body"]["kind"] == "decision" {
                self.gaps.push(record["body"].clone());
            }
            if yes {
                let part = |key: &str| record[key].as_u64().expect(key);
                self.yes.insert((part("epoch"), part("seq")), (kind.to_owned(), number));
            }
        }
    }

    pub(super) fn arrived(&self) -> BTreeSet<u64> {
        self.yes.values().filter_map(|(_, number)| *number).collect()
    }

    /// How many records it said yes to, each once.
    pub(super) fn records(&self) -> usize {
        self.yes.len()
    }

    /// The number of each message where it came first, in the order of the records.
    fn in_order(&self) -> Vec<u64> {
        let mut seen = BTreeSet::new();
        let numbers = self.yes.values().filter_map(|(_, number)| *number);
        numbers.filter(|number| *number != PROBE && seen.insert(*number)).collect()
    }

    /// Nothing was invented, nothing given up, nothing turned round.
    pub(super) fn judge(&self, published: u64) {
        // The last one may be with the broker although its word did not come.
        let invented: Vec<_> =
            self.sent.iter().filter(|number| **number > published && **number != PROBE).collect();
        assert!(invented.is_empty(), "invented: {invented:?}");
        assert!(self.gaps.is_empty(), "given up: {:?}", self.gaps);
        let order = self.in_order();
        assert!(order.is_sorted(), "out of order: {order:?}");
    }
}

#[test]
fn the_ledger_knows_first_from_again() {
    let record = |seq: u64, number: u64| {
        serde_json::json!({ "kind": "decision", "epoch": 1, "seq": seq,
                            "origin": format!("{number}:bearing:fault") })
    };
    let records = vec![record(2, 7), record(1, 6), record(3, 6), record(4, 8)];
    let asked = Asked { records, ..Asked::default() };
    let mut ledger = Ledger::default();
    ledger.note(&asked, true);
    assert_eq!(ledger.in_order(), [6, 7, 8]);
    assert_eq!(ledger.arrived(), BTreeSet::from([6, 7, 8]));
}
