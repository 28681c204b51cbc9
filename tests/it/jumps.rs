//! A day in virtual time on a device whose clock is set ten years forth and back, again and again: what is of the wall
//! clock stays aligned to it, and what is a length of time does not notice.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eir::event::{
    Ack, ByteSize, Device, HumanDuration, Input, Name, Order, Prediction, Samples, StreamKey, Topic,
};
use eir::outbox::{Draft, Inspector, Kind, Outbox, OutboxConfig, Record};
use eir::package::Task;
use eir::pipeline::rules::{Condition, Facts, RuleSet, StreamRules};
use eir::summary::{Origin, Quota, SampleConfig, Sampler, Schedule, Seen, Span};
use eir::task::Clock;
use jiff::{SignedDuration, Timestamp};
use serde_json::value::to_raw_value;
use tokio::sync::mpsc;

use super::support::clock::Turned;
use super::support::within;

/// How time goes.
const STEP: Duration = Duration::from_secs(10);

const STEPS: u64 = 24 * 3600 / 10;

/// So often the clock is set: at no round time.
const JUMP_EVERY: u64 = 97 * 6 + 1;

/// Ten years, and a little: nothing that was aligned is so by chance.
const TEN_YEARS: SignedDuration = SignedDuration::new((3652 * 24 + 5) * 3600 + 433, 0);

/// A day; `each` is told of every step. How often the clock was set.
async fn day(jumping: bool, clock: &Turned, mut each: impl AsyncFnMut(u64)) -> u64 {
    // Ten years forth, back, ten years back, forth.
    let turns = [TEN_YEARS, -TEN_YEARS, -TEN_YEARS, TEN_YEARS];
    let mut jumps = turns.into_iter().cycle();
    let mut count = 0;
    for step in 1..=STEPS {
        clock.pass(STEP);
        if jumping && step % JUMP_EVERY == 0 {
            clock.jump(jumps.next().expect("for ever"));
            count += 1;
        }
        each(step).await;
    }
    count
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

#[tokio::test]
async fn windows_stay_those_of_the_clock_and_none_is_lost_or_frozen() {
    const EVERY: Duration = Duration::from_mins(1);
    let clock = Turned::new();
    let begin = clock.now();
    let mut schedule = Schedule::new(EVERY, begin, clock.wall());
    let mut spans: Vec<Span> = Vec::new();
    let jumps = day(true, &clock, async |_| {
        spans.extend(schedule.tick(clock.now(), clock.wall()));
    })
    .await;
    spans.push(schedule.cut(clock.now(), clock.wall()));
    for span in &spans {
        assert_eq!(span.from.as_second() % 60, 0, "{span:?}");
        assert_eq!(span.to.duration_since(span.from), SignedDuration::from_mins(1), "{span:?}");
        // None is longer than its minute: a window that froze would be.
        assert!(span.seconds <= (EVERY + STEP).as_secs_f64(), "{span:?}");
    }
    let all: f64 = spans.iter().map(|span| span.seconds).sum();
    let lived = (clock.now() - begin).as_secs_f64();
    assert!((all - lived).abs() < 1e-3, "{all} of {lived}");
    let late = spans.iter().filter(|span| span.late).count() as u64;
    assert_eq!(late, jumps, "one for each jump");
    let windows = spans.len() as u64;
    assert!((1440..=1440 + jumps + 1).contains(&windows), "{windows} windows, {jumps} jumps");
}

/// What is kept for an hour is kept for an hour.
#[tokio::test(flavor = "multi_thread")]
async fn age_drops_what_is_old_and_nothing_else() {
    const AGE: Duration = Duration::from_hours(1);
    /// Ages are looked at once a minute, and are whole seconds.
    const LATER: Duration = Duration::from_secs(62);
    let directory = tempfile::tempdir().expect("tempdir");
    let path = directory.path().join("outbox.db");
    let max_age = Some(HumanDuration::from_secs(AGE.as_secs()));
    let config = OutboxConfig { path, max_age, ..OutboxConfig::default() };
    let clock = Turned::new();
    let outbox = Outbox::start(&config, name("press-07"), vec![name("main")], clock.clone());
    let (settled, mut durable) = mpsc::channel(10);
    let mut put = Vec::<(String, Instant)>::new();
    let mut looks = 0;
    day(true, &clock, async |step| {
        if step % 6 != 0 {
            return;
        }
        let body = to_raw_value(&step).expect("json");
        let (id, at) = (uuid::Uuid::now_v7(), clock.wall());
        let draft = Draft { id, origin: None, at, kind: Kind::Summary, body };
        let settled = settled.clone();
        outbox.append(draft, Ack::new(move || settled.try_send(()).expect("room")));
        within("a record on disk", durable.recv()).await.expect("settled");
        put.push((step.to_string(), clock.now()));
        // Just after the clock was set, and at some other times.
        if step % JUMP_EVERY > 11 && step % 360 != 0 {
            return;
        }
        looks += 1;
        let there = there(&outbox);
        for (body, born) in &put {
            let (age, is_there) = (clock.now() - *born, there.contains(body));
            assert!(is_there || age >= AGE, "{body} is gone after {age:?}, at {step}");
            assert!(!is_there || age <= AGE + LATER, "{body} is there after {age:?}, at {step}");
        }
    })
    .await;
    assert!(looks > 30, "{looks}");
    assert!(outbox.stop(Duration::from_mins(1)).await);
    assert_eq!(Inspector::open(&config.path).expect("open").verify().expect("verify"), []);
}

/// The bodies of what is in the outbox; gap records apart.
fn there(outbox: &Outbox) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let each = |record: Record| {
        if record.kind != Kind::Gap {
            found.insert(record.body.get().to_owned());
        }
        ControlFlow::<()>::Continue(())
    };
    Inspector::open(outbox.path()).expect("open").records(each).expect("read");
    found
}

/// When the rules of one stream fire, by step.
async fn fired(jumping: bool) -> Vec<(u64, Vec<usize>)> {
    let labels: Vec<Arc<str>> = vec!["healthy".into(), "outer".into()];
    let mut held = Condition::new("score > 0.5");
    held.hold = HumanDuration::from_secs(300);
    let mut cooled = Condition::new("score > 0.5");
    cooled.until = Some("true".to_owned());
    cooled.cooldown = HumanDuration::from_secs(3600);
    let rules = [(name("held"), held), (name("cooled"), cooled)];
    let rules = RuleSet::compile(&rules, Task::Classification, &labels).expect("rules");
    let (clock, mut states, mut fired) = (Turned::new(), StreamRules::default(), Vec::new());
    let device = Device { id: name("press-07"), labels: [].into() };
    day(jumping, &clock, async |step| {
        // Twenty minutes of trouble, ten without.
        let score = if step % 180 < 120 { 0.9 } else { 0.1 };
        let scores = vec![(Arc::clone(&labels[0]), 1.0 - score), (Arc::clone(&labels[1]), score)];
        let prediction = Prediction::Classification { label: "outer".into(), score, scores };
        let facts = Facts {
            prediction: &prediction,
            stream: &StreamKey::new("7"),
            topic: &Topic::new("plant/7/vibration"),
            device: &device,
            now: clock.wall(),
            model: &name("bearing"),
            version: 1,
        };
        let outcome = rules.evaluate(&facts, &mut states, clock.now());
        assert_eq!(outcome.errors, []);
        if !outcome.fired.is_empty() {
            fired.push((step, outcome.fired));
        }
    })
    .await;
    fired
}

#[tokio::test]
async fn hold_and_cooldown_go_on_as_if_nothing_had_happened() {
    let (plain, jumped) = (fired(false).await, fired(true).await);
    let count = |rule: usize| plain.iter().filter(|(_, fired)| fired.contains(&rule)).count();
    assert_eq!(count(0), 48, "once in each half hour");
    assert!((20..=24).contains(&count(1)), "{} times, about once an hour", count(1));
    assert_eq!(plain, jumped);
}

/// When a sampler took something, by step.
async fn taken(jumping: bool) -> (Vec<u64>, u64) {
    let config = SampleConfig {
        random: Some(1.0),
        hourly: Quota { count: 20, size: ByteSize(1 << 20) },
        daily: Quota { count: 1000, size: ByteSize(1 << 30) },
        ..SampleConfig::default()
    };
    let mut sampler = Sampler::start(&name("hard"), &config).expect("a sampler");
    let input =
        Input::Samples(Samples { channels: 1, order: Order::Interleaved, values: vec![0.5] });
    let (pipeline, stream) = (name("line"), StreamKey::new("3"));
    let model = "defects".parse().expect("a name");
    let (clock, mut taken) = (Turned::new(), Vec::new());
    let jumps = day(jumping, &clock, async |step| {
        let prediction = Prediction::Anomaly { score: 0.4 };
        let latency = Duration::ZERO;
        let seen = Seen { input: &input, prediction: &prediction, latency, fired: &[] };
        let from = Origin {
            pipeline: &pipeline,
            stream: &stream,
            model: &model,
            version: 1,
            payload: b"",
        };
        let wall: Timestamp = clock.wall();
        taken.extend(sampler.take(&seen, None, from, wall).map(|_| step));
    })
    .await;
    (taken, jumps)
}

#[tokio::test]
async fn quotas_begin_anew_with_each_hour_of_the_clock_and_never_freeze() {
    let (plain, _) = taken(false).await;
    let (jumped, jumps) = taken(true).await;
    assert!((24 * 20..=25 * 20).contains(&plain.len()), "{}", plain.len());
    // A jump begins another hour, and that is all that it gives.
    let most = plain.len() + 20 * usize::try_from(jumps).expect("few");
    assert!((plain.len()..=most).contains(&jumped.len()), "{} of {most}", jumped.len());
    for (what, steps) in [("without jumps", &plain), ("with jumps", &jumped)] {
        // An hour, less what taking the twenty takes.
        let longest = steps.windows(2).map(|pair| pair[1] - pair[0]).max().expect("some");
        assert!(longest <= 360, "nothing for {longest} steps {what}");
    }
}
