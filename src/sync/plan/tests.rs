//! What the plan promises, against clouds that reject.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

impl Run for Vec<u32> {
    fn count(&self) -> usize {
        self.len()
    }

    fn halve(mut self) -> (Self, Option<Self>) {
        let rest = self.split_off(self.len().div_ceil(2));
        (self, Some(rest).filter(|rest| !rest.is_empty()))
    }
}

/// More than there are.
const ALL: usize = 1000;

fn plan(records: impl IntoIterator<Item = u32>) -> Plan<Vec<u32>> {
    let mut plan = Plan::new();
    plan.add(records.into_iter().collect());
    plan
}

fn rejected() -> Verdict {
    Verdict::Rejected { why: "400".to_owned() }
}

/// Sends everything that the plan gives without a wait, to a cloud that rejects what `bad` says.
fn run(
    plan: &mut Plan<Vec<u32>>,
    bad: impl Fn(&[u32]) -> bool,
) -> (BTreeSet<u32>, Vec<u32>, usize) {
    let (mut delivered, mut given_up, mut requests) = (BTreeSet::new(), Vec::new(), 0);
    while plan.doubt().is_none() {
        let Some(tried) = plan.take(ALL, false) else { break };
        requests += 1;
        let verdict = if bad(&tried.run) { rejected() } else { Verdict::Delivered };
        match plan.judge(tried, &verdict) {
            Outcome::Delivered(run) => delivered.extend(run),
            Outcome::GivenUp(run, _) => given_up.extend(run),
            Outcome::Kept => {}
        }
    }
    (delivered, given_up, requests)
}

#[test]
fn the_bad_record_is_found_and_the_others_arrive() {
    let mut plan = plan(0..1000);
    let (delivered, given_up, requests) = run(&mut plan, |run| run.contains(&777));
    assert_eq!(delivered.len(), 999);
    assert_eq!(given_up, [777]);
    assert!(requests < 30, "{requests}");
    assert!(plan.wants_more() && plan.suspicion().is_none());
}

#[test]
fn a_cloud_that_rejects_everything_empties_nothing() {
    let mut plan = plan(0..1000);
    let (delivered, given_up, requests) = run(&mut plan, |_| true);
    assert_eq!((delivered.len(), given_up.len()), (0, 0));
    assert!(requests < 20, "{requests}");
    assert_eq!(plan.doubt(), Some("400"));
    // However often it is asked, nothing is given up; once it accepts again, all arrive.
    for _ in 0..2000 {
        let tried = plan.take(ALL, true).expect("something to ask with");
        assert_eq!(tried.run.len(), 1);
        assert_eq!(plan.judge(tried, &rejected()), Outcome::Kept);
    }
    let tried = plan.take(ALL, true).expect("one more");
    let Outcome::Delivered(first) = plan.judge(tried, &Verdict::Delivered) else {
        panic!("delivered");
    };
    let (delivered, given_up, _) = run(&mut plan, |_| false);
    assert_eq!(delivered.len() + first.len(), 1000);
    assert_eq!(given_up, Vec::<u32>::new());
}

#[test]
fn a_bad_record_alone_waits_for_another_to_be_accepted() {
    let mut plan = plan([7]);
    let bad = |run: &[u32]| run.contains(&7);
    assert_eq!(run(&mut plan, bad), (BTreeSet::new(), vec![], 1));
    assert!(plan.wants_more() && plan.suspicion() == Some("400"));
    for _ in 0..5 {
        let tried = plan.take(ALL, true).expect("asked again");
        assert_eq!(plan.judge(tried, &rejected()), Outcome::Kept);
    }
    plan.add(vec![8]);
    assert_eq!(run(&mut plan, bad), (BTreeSet::from([8]), vec![7], 2));
}

/// A cloud that came back after a month got all that was in hand at once.
#[test]
fn what_is_in_hand_goes_in_smaller_parts_where_less_is_allowed() {
    let mut plan = plan(0..100);
    let mut seen: Vec<u32> = Vec::new();
    for (most, count) in [(7, 7), (7, 6), (30, 12), (30, 25), (100, 50)] {
        let tried = plan.take(most, false).expect("more");
        assert_eq!(tried.run.len(), count);
        seen.extend(&tried.run);
        plan.judge(tried, &Verdict::Delivered);
    }
    assert_eq!(seen, (0..100).collect::<Vec<_>>());
    plan.add(vec![1]);
    assert_eq!(
        plan.take(0, false).expect("one").run,
        [1],
        "one record is sent, however little is allowed"
    );
}

#[test]
fn a_wait_changes_nothing() {
    let mut plan = plan([1, 2]);
    let wait = Verdict::Wait { why: "503".to_owned(), after: None };
    let stop = Verdict::Stop { why: "404".to_owned() };
    let offline = Verdict::Offline { why: "no network".to_owned() };
    for verdict in [&wait, &stop, &offline] {
        let tried = plan.take(ALL, false).expect("both");
        assert_eq!(tried.run, [1, 2]);
        assert_eq!(plan.judge(tried, verdict), Outcome::Kept);
    }
    // Nor does it to what is suspected.
    let bad = |run: &[u32]| run.contains(&1);
    let tried = plan.take(ALL, false).expect("both");
    plan.judge(tried, &rejected());
    let tried = plan.take(ALL, false).expect("the first");
    plan.judge(tried, &rejected());
    let tried = plan.take(ALL, false).expect("the second");
    assert_eq!(plan.judge(tried, &Verdict::Delivered), Outcome::Delivered(vec![2]));
    for verdict in [&wait, &stop, &offline] {
        let tried = plan.take(ALL, false).expect("the first");
        assert_eq!(plan.judge(tried, verdict), Outcome::Kept);
    }
    assert_eq!(run(&mut plan, bad), (BTreeSet::new(), vec![1], 1));
}

#[test]
fn many_bad_records_in_front_do_not_hide_the_good_ones() {
    let mut plan = plan(0..200);
    let bad = |run: &[u32]| run.iter().any(|record| *record < 100);
    let (mut delivered, mut given_up, mut slow) = (BTreeSet::new(), Vec::new(), 0);
    while !(plan.wants_more() && plan.suspicion().is_none()) {
        let (more, dead, _) = run(&mut plan, bad);
        delivered.extend(more);
        given_up.extend(dead);
        if let Some(tried) = plan.take(ALL, true) {
            slow += 1;
            let verdict = if bad(&tried.run) { rejected() } else { Verdict::Delivered };
            match plan.judge(tried, &verdict) {
                Outcome::Delivered(run) => delivered.extend(run),
                Outcome::GivenUp(run, _) => given_up.extend(run),
                Outcome::Kept => {}
            }
        }
        assert!(slow < 2000);
    }
    assert_eq!((delivered.len(), given_up.len()), (100, 100));
}

proptest! {
    /// Whatever the answers are: no record is lost, and none is given up by a cloud that has not
    /// accepted another since it rejected this one alone.
    #[test]
    fn no_record_is_lost(answers in prop::collection::vec(0_u8..5, 0..200), count in 1_u32..40) {
        let mut plan = plan(0..count);
        let (mut done, mut rejected_alone) = (BTreeSet::new(), BTreeSet::new());
        let mut compared: BTreeSet<u32> = BTreeSet::new();
        for answer in answers {
            let Some(tried) = plan.take(ALL, true) else { break };
            let sent = tried.run.clone();
            let verdict = match answer {
                0 => Verdict::Delivered,
                1 => Verdict::TooLarge { why: "413".to_owned() },
                2 => Verdict::Wait { why: "503".to_owned(), after: None },
                3 => Verdict::Stop { why: "404".to_owned() },
                _ => rejected(),
            };
            match plan.judge(tried, &verdict) {
                Outcome::Delivered(run) => {
                    prop_assert_eq!(&verdict, &Verdict::Delivered);
                    compared.extend(&rejected_alone);
                    for record in run {
                        prop_assert!(done.insert(record), "{} twice", record);
                    }
                }
                Outcome::GivenUp(run, _) => {
                    prop_assert!(run.len() == 1 && compared.contains(&run[0]));
                    prop_assert!(done.insert(run[0]), "{} twice", run[0]);
                }
                Outcome::Kept => {
                    if sent.len() == 1 && matches!(answer, 1 | 4) {
                        rejected_alone.insert(sent[0]);
                    }
                }
            }
        }
        let left = plan.runs.iter().flatten().chain(plan.suspects.iter().flat_map(|s| &s.record));
        let left: Vec<u32> = left.copied().collect();
        prop_assert_eq!(left.len() + done.len(), count as usize);
        prop_assert!(left.iter().all(|record| !done.contains(record)));
    }
}
