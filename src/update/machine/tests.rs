use super::*;

const EVENTS: [Event; 6] =
    [Event::Done, Event::Failed, Event::Halted, Event::Resumed, Event::CutOff, Event::Undone];
const KINDS: [Kind; 3] = [Kind::Model, Kind::Binary, Kind::Config];

/// Another hand's copy of the table: state, then what follows each of [`EVENTS`].
const TABLE: [(State, [State; 6]); 11] = {
    use State::*;
    [
        (Waiting, [Downloading, RolledBack, RolledBack, Waiting, Waiting, RolledBack]),
        (Downloading, [Unpacking, RollingBack, RollingBack, Downloading, Downloading, RollingBack]),
        (Unpacking, [Checking, RollingBack, RollingBack, Unpacking, Unpacking, RollingBack]),
        (Checking, [Shadow, RollingBack, RollingBack, Checking, Checking, RollingBack]),
        (Shadow, [Canary, RollingBack, RollingBack, Checking, Checking, RollingBack]),
        (Canary, [Committing, RollingBack, RollingBack, Checking, Checking, RollingBack]),
        (Probation, [Committing, RollingBack, RollingBack, Probation, Probation, RollingBack]),
        (Committing, [Committed, RollingBack, Committing, Committing, Committing, RollingBack]),
        (
            RollingBack,
            [RolledBack, RollingBack, RollingBack, RollingBack, RollingBack, RollingBack],
        ),
        (Committed, [Committed, Committed, Committed, Committed, Committed, RollingBack]),
        (RolledBack, [RolledBack; 6]),
    ]
};

#[test]
fn every_state_and_event_is_as_the_table_says() {
    assert_eq!(TABLE.map(|(state, _)| state), State::ALL);
    for (state, row) in TABLE {
        for (event, expected) in EVENTS.into_iter().zip(row) {
            for kind in KINDS {
                let tested_otherwise = state == State::Checking && kind != Kind::Model;
                let expected = match expected {
                    State::Shadow if tested_otherwise => State::Probation,
                    expected => expected,
                };
                assert_eq!(state.after(kind, event), expected, "{kind:?} {state} {event:?}");
                let before = Progress { state, ..Progress::new("r", kind) };
                let after = before.step(event, "why");
                let cut_off = event == Event::CutOff && state.is_trial();
                match after {
                    None => assert!(expected == state && !cut_off),
                    Some(after) => {
                        assert_eq!(after.state, expected);
                        assert_eq!(after.moves, u8::from(expected != state));
                        assert_eq!(after.starts, u8::from(cut_off));
                        let back = matches!(expected, State::RollingBack | State::RolledBack);
                        let turns = back && state != State::RollingBack;
                        assert_eq!(after.reason.as_deref(), turns.then_some("why"));
                    }
                }
            }
        }
    }
}

#[test]
fn what_goes_well_is_committed_without_a_detour() {
    for (kind, length) in [(Kind::Model, 7), (Kind::Binary, 6), (Kind::Config, 6)] {
        let mut progress = Progress::new("r", kind);
        while let Some(next) = progress.step(Event::Done, "") {
            progress = next;
        }
        assert_eq!((progress.state, progress.moves), (State::Committed, length), "{kind:?}");
        assert_eq!(progress.reason, None);
    }
}

/// Two bad releases took turns for ever: only the last one was remembered.
#[test]
fn what_was_rolled_back_is_not_begun_again_whatever_came_in_between() {
    let ended = |progress: Progress, state| Progress { state, ..progress };
    let four = Progress::new("4", Kind::Model);
    assert_eq!(four.followed_by("5"), None, "it is under way");
    let four = ended(four, State::RolledBack);
    let five = ended(four.followed_by("5").expect("another"), State::RolledBack);
    assert_eq!((five.followed_by("4"), five.followed_by("5")), (None, None));
    let six = ended(five.followed_by("6").expect("another"), State::Committed);
    assert_eq!(six.given_up, ["4", "5"]);
    assert_eq!(six.followed_by("4"), None);
    let mut last = six;
    for number in 7..100 {
        let next = last.followed_by(&number.to_string()).expect("another");
        last = ended(next, State::RolledBack);
    }
    assert_eq!(last.given_up.len(), MAX_GIVEN_UP);
}

#[test]
fn the_third_start_that_a_trial_does_not_survive_is_its_last() {
    let mut progress = Progress { state: State::Probation, ..Progress::new("r", Kind::Binary) };
    for start in 1..MAX_STARTS {
        progress = progress.step(Event::CutOff, "").expect("it is counted before it starts");
        assert_eq!((progress.state, progress.starts), (State::Probation, start));
        assert_eq!(progress.step(Event::Resumed, ""), None, "an end in order costs nothing");
    }
    let back = progress.step(Event::CutOff, "").expect("the last");
    assert_eq!(back.state, State::RollingBack);
    assert!(back.reason.expect("a reason").starts_with("3 starts"));
    // One that takes the process down while it is unpacked, or in its last step, does not do so for ever.
    for state in [State::Unpacking, State::Committing] {
        let mut progress = Progress { state, ..Progress::new("r", Kind::Config) };
        for _ in 0..MAX_STARTS {
            progress = progress.step(Event::CutOff, "").expect("it is counted");
        }
        assert_eq!(progress.state, State::RollingBack);
    }
    // A download that is cut off every day is nobody's fault.
    let download = Progress { state: State::Downloading, ..Progress::new("r", Kind::Binary) };
    assert_eq!(download.step(Event::CutOff, ""), None);
}

#[test]
fn whatever_happens_a_release_ends_within_its_moves() {
    let mut random = 1_u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(random >> 33).expect("31 bits")
    };
    let (mut committed, mut gave_up) = (0, 0);
    for run in 0..20_000 {
        let mut progress = Progress::new("r", KINDS[run % 3]);
        let mut saved = 0;
        while !progress.state.is_final() {
            // Mostly starts, so that some never get on.
            let event = match next() % 8 {
                0..=2 => Event::Done,
                3 if next() % 8 == 0 => Event::Failed,
                4 if next() % 8 == 0 => Event::Halted,
                5 if next() % 4 == 0 => Event::CutOff,
                _ => Event::Resumed,
            };
            if let Some(after) = progress.step(event, "why") {
                saved += u8::from(after.state != progress.state);
                progress = after;
            }
        }
        assert!(saved == progress.moves && saved <= MAX_MOVES, "{progress:?}");
        let back = progress.state == State::RolledBack;
        assert_eq!(progress.reason.is_some(), back, "{progress:?}");
        committed += usize::from(!back);
        gave_up += usize::from(progress.reason.is_some_and(|why| why.starts_with("no end")));
    }
    assert!(committed > 1_000 && gave_up > 0, "{committed} committed, {gave_up} gave up");
}
