use super::*;

#[expect(clippy::disallowed_methods, reason = "any instant will do to count from")]
fn start() -> Instant {
    Instant::now()
}

fn config(steps: usize) -> DegradeConfig {
    let step = StepConfig { rate: Some(1.0), model: None, stride: None };
    DegradeConfig {
        lag: lag(),
        celsius: Some(80.0),
        after: after(),
        back: back(),
        steps: vec![step; steps],
    }
}

fn waited(millis: u64) -> Load {
    Load { waited: Duration::from_millis(millis), ..Load::default() }
}

/// A ladder that is looked at once a second of virtual time.
struct Run {
    config: DegradeConfig,
    ladder: Ladder,
    now: Instant,
}

impl Run {
    fn new(steps: usize) -> Self {
        Self { config: config(steps), ladder: Ladder::default(), now: start() }
    }

    /// The seconds at which the number of steps changed, and to what.
    fn seconds(&mut self, count: u64, load: &Load) -> Vec<(u64, usize)> {
        let mut changes = Vec::new();
        for second in 1..=count {
            self.now += Duration::from_secs(1);
            if self.ladder.look(&self.config, load, self.now) {
                changes.push((second, self.ladder.taken()));
            }
        }
        changes
    }
}

#[test]
fn steps_are_taken_in_order_and_given_back_in_order() {
    let mut run = Run::new(3);
    assert_eq!(run.seconds(60, &waited(10)), []);
    assert_eq!(run.seconds(30, &waited(900)), [(6, 1), (11, 2), (16, 3)]);
    assert_eq!(run.ladder.why(), Some(Pressure::Waited(Duration::from_millis(900))));
    assert_eq!(run.seconds(200, &waited(10)), [(61, 2), (121, 1), (181, 0)]);
    assert_eq!(run.ladder.why(), None);
}

#[test]
fn between_low_and_high_nothing_changes() {
    let mut run = Run::new(2);
    assert_eq!(run.seconds(6, &waited(900)), [(6, 1)]);
    assert_eq!(run.seconds(1000, &waited(400)), []);
    // A moment of calm, or of too much, is not enough.
    for _ in 0..20 {
        assert_eq!(run.seconds(50, &waited(10)), []);
        assert_eq!(run.seconds(4, &waited(900)), []);
    }
}

#[test]
fn each_kind_of_too_much_counts_and_is_told() {
    let calm = Load { celsius: Some(60.0), ..waited(1) };
    for (load, told) in [
        (Load { dropped: 3, ..calm }, "the queue dropped 3 messages"),
        (Load { throttled: true, ..calm }, "the processor is throttled"),
        (Load { celsius: Some(84.6), ..calm }, "the processor is at 85 °C"),
        (
            Load { waited: Duration::from_millis(1500), ..calm },
            "a message waited 1.5s in the queue",
        ),
    ] {
        let mut run = Run::new(1);
        assert_eq!(run.seconds(10, &load), [(6, 1)]);
        assert_eq!(run.ladder.why().expect("a reason").to_string(), told);
        assert_eq!(run.seconds(70, &calm), [(61, 0)]);
    }
    let mut run = Run::new(1);
    run.seconds(6, &Load { throttled: true, ..calm });
    // Not cool enough yet.
    assert_eq!(run.seconds(500, &Load { celsius: Some(78.0), ..calm }), []);
}

/// A load that only the step makes bearable: it may be tried again, but ever more rarely.
#[test]
fn a_step_given_back_too_early_is_held_longer_the_next_time() {
    let mut run = Run::new(1);
    let mut held = Vec::new();
    let mut since = 0;
    for second in 0..5000 {
        let load = if run.ladder.taken() == 0 { waited(900) } else { waited(10) };
        if let [(_, taken)] = run.seconds(1, &load)[..] {
            if taken == 0 {
                held.push(second - since);
            }
            since = second;
        }
    }
    assert_eq!(held, [61, 121, 241, 481, 961, 961, 961, 961]);
    // Calm at last: patience is what it was.
    run.seconds(1200, &waited(10));
    assert_eq!(run.seconds(6, &waited(900)), [(6, 1)]);
    assert_eq!(run.seconds(70, &waited(10)), [(61, 0)]);
}

#[test]
fn a_stream_is_thinned_to_its_rate() {
    let begin = start();
    for (rate, every_ms, expected) in
        [(5.0, 10, 50), (5.0, 33, 50), (30.0, 33, 300), (0.5, 1000, 5), (100.0, 33, 304)]
    {
        let mut pace = Pace::default();
        let times = (0..10_000 / every_ms).map(|n| begin + Duration::from_millis(n * every_ms));
        let admitted = times.filter(|at| pace.admits(rate, *at)).count();
        assert!(admitted.abs_diff(expected) <= 1, "{rate} of one every {every_ms} ms: {admitted}");
    }
}

#[test]
fn what_cannot_be_is_told_by_its_key() {
    let window = WindowConfig { samples: 256, step: Some(128) };
    let step = |text: &str| serde_json::from_str::<StepConfig>(text).expect("a step");
    for (text, window, told) in [
        ("{}", None, "steps.0: does nothing"),
        (r#"{"rate": 0}"#, None, "steps.0.rate: must be messages a second"),
        (r#"{"rate": 1e-30}"#, None, "steps.0.rate: must be messages a second"),
        (r#"{"rate": 5}"#, Some(&window), "steps.0.rate: would leave gaps"),
        (r#"{"stride": 512}"#, None, "steps.0.stride: there is no window"),
        (r#"{"stride": 128}"#, Some(&window), "more than the window's step, 128"),
        (r#"{"model": "a/b"}"#, None, "steps.0.model: "),
    ] {
        let config = DegradeConfig { steps: vec![step(text)], ..config(0) };
        let found = config.check(window);
        let all: Vec<_> = found.iter().map(|(key, what)| format!("{key}: {what}")).collect();
        assert!(all.len() == 1 && all[0].contains(told), "{text}: {all:?}");
    }
    let hot = DegradeConfig { celsius: Some(f64::NAN), ..config(1) };
    assert_eq!(hot.check(None)[0].0, "celsius");
    assert_eq!(config(0).check(None).len(), 1);
    assert_eq!(config(9).check(None).len(), 1);
    let good = DegradeConfig { steps: vec![step(r#"{"stride": 256}"#)], ..config(0) };
    assert_eq!(good.check(Some(&window)), []);
}
