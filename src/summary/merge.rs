//! Summaries of minutes made into one of an hour, where there is no room for all of them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::sketch::Spread;

/// The body of a `summary` record, as far as it adds up. Drift does not: it is told of each minute alone.
#[derive(Debug, Serialize, Deserialize)]
struct Summary {
    from: Timestamp,
    to: Timestamp,
    seconds: f64,
    late: bool,
    pipeline: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    engine: Option<String>,
    messages: u64,
    bytes: u64,
    dropped: BTreeMap<String, u64>,
    errors: BTreeMap<String, u64>,
    #[serde(flatten)]
    whole: Part,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    groups: BTreeMap<String, Part>,
    /// How many summaries were made into this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    merged: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Part {
    inferences: u64,
    decisions: BTreeMap<String, u64>,
    classes: BTreeMap<String, u64>,
    score: Option<Spread>,
    latency: Option<Spread>,
}

/// Two summaries with the same of this can be merged: what they tell of, and in which hour. `None`: it is no
/// summary, or was merged already.
pub fn mergeable(body: &str) -> Option<String> {
    let Summary { from, pipeline, model, version, engine, merged, .. } = read(body)?;
    let hour = from.as_second().div_euclid(3600);
    merged.is_none().then(|| format!("{hour} {pipeline} {model:?} {version:?} {engine:?}"))
}

/// One summary that tells of all that these do, the first of them first; `None`: one of them is none.
pub fn merge(bodies: &[&str]) -> Option<Box<RawValue>> {
    let mut all = bodies.iter().map(|body| read(body));
    let mut sum = all.next()??;
    for other in all {
        sum.add(other?)?;
    }
    sum.merged = Some(bodies.len() as u64);
    to_raw_value(&sum).ok()
}

fn read(body: &str) -> Option<Summary> {
    serde_json::from_str(body).ok()
}

impl Summary {
    fn add(&mut self, other: Self) -> Option<()> {
        self.from = self.from.min(other.from);
        self.to = self.to.max(other.to);
        self.seconds = ((self.seconds + other.seconds) * 1e3).round() / 1e3;
        self.late |= other.late;
        self.messages += other.messages;
        self.bytes += other.bytes;
        add(&mut self.dropped, other.dropped);
        add(&mut self.errors, other.errors);
        self.whole.add(other.whole)?;
        for (group, part) in other.groups {
            match self.groups.get_mut(&group) {
                Some(known) => known.add(part)?,
                None => drop(self.groups.insert(group, part)),
            }
        }
        Some(())
    }
}

impl Part {
    fn add(&mut self, other: Self) -> Option<()> {
        self.inferences += other.inferences;
        add(&mut self.decisions, other.decisions);
        add(&mut self.classes, other.classes);
        for (mine, other) in [(&mut self.score, other.score), (&mut self.latency, other.latency)] {
            *mine = match (mine.take(), other) {
                (Some(mine), Some(other)) => Some(mine.merge(&other)?),
                (mine, other) => mine.or(other),
            };
        }
        Some(())
    }
}

fn add(counts: &mut BTreeMap<String, u64>, other: BTreeMap<String, u64>) {
    for (name, count) in other {
        *counts.entry(name).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use sketches_ddsketch::{Config, DDSketch};

    fn spread(values: std::ops::Range<u32>) -> Spread {
        let mut sketch = DDSketch::new(Config::defaults());
        values.for_each(|value| sketch.add(f64::from(value)));
        Spread::of(&sketch).expect("values")
    }

    fn body(minute: u8, values: std::ops::Range<u32>) -> String {
        let part = json!({ "inferences": 3, "decisions": { "fault": 1 }, "classes": {},
            "score": null, "latency": spread(values.clone()), "drift": null });
        let (from, to) = (
            format!("2026-03-01T09:{minute:02}:00Z"),
            format!("2026-03-01T09:{:02}:00Z", minute + 1),
        );
        json!({ "from": from, "to": to, "seconds": 59.9, "late": minute == 2, "pipeline": "bearing",
            "model": "bearing", "version": 1, "engine": "ort", "messages": 5, "bytes": 50,
            "dropped": { "hold": 1 }, "errors": {}, "inferences": 4, "decisions": { "fault": 2 },
            "classes": { "healthy": 1, format!("only {minute}"): 1 }, "score": spread(values),
            "latency": null, "drift": { "score": null, "input": [] }, "groups": { "a": part } })
        .to_string()
    }

    #[test]
    fn minutes_add_up_to_an_hour() {
        let bodies = [body(0, 1..400), body(1, 400..900), body(2, 900..1001)];
        let texts: Vec<_> = bodies.iter().map(String::as_str).collect();
        let merged = merge(&texts).expect("merged");
        let sum: Value = serde_json::from_str(merged.get()).expect("json");
        assert_eq!(
            (&sum["from"], &sum["to"]),
            (&json!("2026-03-01T09:00:00Z"), &json!("2026-03-01T09:03:00Z"))
        );
        assert_eq!(
            (&sum["seconds"], &sum["late"], &sum["merged"]),
            (&json!(179.7), &json!(true), &json!(3))
        );
        assert_eq!(
            (&sum["messages"], &sum["bytes"], &sum["inferences"]),
            (&json!(15), &json!(150), &json!(12))
        );
        assert_eq!(sum["dropped"], json!({ "hold": 3 }));
        assert_eq!(sum["classes"], json!({ "healthy": 3, "only 0": 1, "only 1": 1, "only 2": 1 }));
        assert_eq!(sum["groups"]["a"]["decisions"], json!({ "fault": 3 }));
        assert_eq!(sum["drift"], Value::Null, "it does not add up");
        for found in [&sum["score"], &sum["groups"]["a"]["latency"]] {
            let found: Spread = serde_json::from_value(found.clone()).expect("a spread");
            let whole = spread(1..1001);
            assert_eq!((found.count, found.min, found.max), (1000, 1.0, 1000.0));
            assert!((found.mean - 500.5).abs() < 0.01, "{}", found.mean);
            assert_eq!((found.p05, found.p50, found.p99), (whole.p05, whole.p50, whole.p99));
        }
    }

    #[test]
    fn only_minutes_of_the_same_are_merged() {
        let one = mergeable(&body(0, 1..2));
        assert!(one.is_some() && one == mergeable(&body(59 - 1, 1..9)));
        assert_ne!(one, mergeable(&body(0, 1..2).replace("T09", "T10")));
        assert_ne!(one, mergeable(&body(0, 1..2).replace("\"version\":1", "\"version\":2")));
        let merged = merge(&[&body(0, 1..2), &body(1, 1..2)]).expect("merged");
        assert_eq!(mergeable(merged.get()), None, "an hour is left alone");
        assert_eq!(mergeable("{}"), None);
        let damaged = body(0, 1..2).replace("\"sketch\":\"", "\"sketch\":\"%");
        assert!(merge(&[&body(0, 1..2), &damaged]).is_none());
    }
}
