use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::event::{Detection, Device, HumanDuration, Prediction, StreamKey, Topic};

fn labels() -> Vec<Arc<str>> {
    ["healthy", "inner", "outer"].map(Into::into).to_vec()
}

fn name(text: &str) -> Name {
    text.parse().expect("name")
}

fn classified(label: &str, score: f32) -> Prediction {
    let scores =
        labels().into_iter().map(|l| if *l == *label { (l, score) } else { (l, 0.0) }).collect();
    Prediction::Classification { label: label.into(), score, scores }
}

fn detected(count: usize) -> Prediction {
    let found =
        |n| Detection { label: "inner".into(), score: 0.5, x: n as f32, y: 2.0, w: 10.0, h: 20.0 };
    Prediction::Detection { detections: (0..count).map(found).collect() }
}

fn task_of(prediction: &Prediction) -> Task {
    match prediction {
        Prediction::Classification { .. } => Task::Classification,
        Prediction::Detection { .. } => Task::Detection,
        Prediction::Anomaly { .. } => Task::Anomaly,
        Prediction::Regression { .. } => Task::Regression,
        Prediction::Embedding { .. } => Task::Embedding,
        Prediction::Tensor { .. } => Task::Tensor,
    }
}

#[expect(clippy::disallowed_methods, reason = "any instant will do to count from")]
fn start() -> Instant {
    Instant::now()
}

fn compiled(conditions: &[Condition], task: Task) -> Result<RuleSet, Vec<RuleError>> {
    let rules: Vec<_> = (0..)
        .zip(conditions)
        .map(|(n, condition)| (name(&format!("r{n}")), condition.clone()))
        .collect();
    RuleSet::compile(&rules, task, &labels())
}

fn judge(
    rules: &RuleSet,
    states: &mut StreamRules,
    prediction: &Prediction,
    now: Instant,
) -> Outcome {
    let device =
        Device { id: name("press-07"), labels: [("site".to_owned(), "lyon".to_owned())].into() };
    let facts = Facts {
        prediction,
        stream: &StreamKey::new("7"),
        topic: &Topic::new("plant/7/vibration"),
        device: &device,
        now: Timestamp::UNIX_EPOCH + Duration::from_millis(1500),
        model: &name("bearing"),
        version: 3,
    };
    rules.evaluate(&facts, states, now)
}

/// Whether `source` holds for the prediction; an evaluation error is an error.
fn holds(source: &str, prediction: &Prediction) -> Result<bool, String> {
    let rules = compiled(&[Condition::new(source)], task_of(prediction))
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    let outcome = judge(&rules, &mut StreamRules::default(), prediction, start());
    match outcome.errors.first() {
        Some(error) => Err(error.problem.clone()),
        None => Ok(!outcome.fired.is_empty()),
    }
}

fn mistake(source: &str, task: Task) -> String {
    let errors = compiled(&[Condition::new(source)], task).expect_err(source);
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_name_is_seen() {
    let class = classified("inner", 0.75);
    for source in [
        "label == 'inner' && score > 0.7 && score < 0.8",
        "scores['inner'] == 0.75 && scores.healthy == 0.0 && size(scores) == 3",
        "'outer' in scores && scores.exists(l, scores[l] > 0.7)",
        "stream == '7' && model == 'bearing' && version == 3",
        "topic[1] == '7' && size(topic) == 3 && topic.exists(t, t == 'plant')",
        "device.id == 'press-07' && device.labels.site == 'lyon' && 'site' in device.labels",
        "has(device.labels.site) && !has(device.labels.line)",
        "now.unix == 1.5 && now.hour >= 0 && now.hour < 24 && now.minute >= 0",
        "now.weekday >= 1 && now.weekday <= 7 && now.date.startsWith('19')",
        "label in ['inner', 'outer'] && label.contains('nn') && string(version) == '3'",
    ] {
        assert_eq!(holds(source, &class), Ok(true), "{source}");
    }
    for source in [
        "detections.exists(d, d.label == 'inner' && d.score >= 0.5)",
        "size(detections) == 3 && detections[2].x == 2.0 && detections[0].w == 10.0",
        "detections.filter(d, d.x > 0.5 && d.y == 2.0).size() == 2",
        "detections.all(d, d.w * d.h == 200.0) && detections.map(d, d.h)[0] == 20.0",
    ] {
        assert_eq!(holds(source, &detected(3)), Ok(true), "{source}");
    }
    let anomaly = Prediction::Anomaly { score: 2.0 };
    assert_eq!(holds("score > 1.5", &anomaly), Ok(true));
    let regression = Prediction::Regression { values: vec![1.0, -2.0] };
    assert_eq!(holds("values[1] < 0.0 && size(values) == 2", &regression), Ok(true));
    assert_eq!(holds("values.all(v, v > 0.0) || -2.0 in values", &regression), Ok(true));
}

#[test]
fn a_mistake_is_shown_in_its_place() {
    let cases = [
        (
            "score > 0.8 && lable == 'inner'",
            "unknown name `lable`; known are label, score, scores, stream",
            16,
        ),
        ("score > ", "end of the expression", 9),
        ("score + 1 > 2.0", "`+` does not take double and int; write 1.0 for 1", 7),
        ("false && score > 'x'", "`>` does not take double and string", 16),
        ("scores['inter'] > 0.5", "no label `inter`; known are healthy, inner, outer", 8),
        ("scores.inter > 0.5", "no label `inter`; known are", 7),
        ("label == 'inter'", "no label `inter`; known are", 10),
        ("label == 1", "`==` cannot compare string with int", 7),
        ("score", "this is double; a rule must be true or false", 1),
        ("score && true", "double where true or false is needed", 1),
        ("device.name == 'x'", "no field `name`; known are id, labels", 7),
        ("topic == ['a']", "`==` cannot compare list with list", 7),
        ("fetch(score) > 1.0", "unknown function `fetch`", 6),
        ("é.f == 1", "token recognition error", 1),
        ("label == 'é' || scor > 1.0", "unknown name `scor`", 17),
        ("now.hour > 22.5 ? 1 : 'x'", "one way gives int, the other string", 17),
    ];
    for (source, problem, column) in cases {
        let errors = compiled(&[Condition::new(source)], Task::Classification).expect_err(source);
        let shown = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(shown.contains(problem), "{source}: {shown}");
        let at: Vec<_> = errors.iter().filter_map(|error| error.excerpt.position).collect();
        assert!(at.contains(&(1, column)), "{source}: {at:?}\n{shown}");
    }
    assert_eq!(
        mistake("detections.exists(d, d.lable == 'x')", Task::Detection),
        "rule `r0`, `when`: no field `lable`; known are label, score, x, y, w, h\n  \
         | detections.exists(d, d.lable == 'x')\n  |                       ^"
    );
    assert!(mistake(&"(".repeat(500), Task::Anomaly).contains("nested too deeply\n"));
    assert!(mistake("score > 1.0", Task::Regression).contains("unknown name `score`"));
    assert!(mistake("detections.exists(d, e.score > 0.5)", Task::Detection).contains("name `e`"));
}

#[test]
fn all_mistakes_are_told_at_once() {
    let mut second = Condition::new("wrong == 1 || other == 2");
    second.until = Some("1".to_owned());
    let errors = compiled(&[Condition::new("1 +"), Condition::new("true"), second], Task::Anomaly)
        .expect_err("four mistakes");
    let places: Vec<_> = errors.iter().map(|e| (e.rule.as_str(), e.field)).collect();
    assert_eq!(places, [("r0", "when"), ("r2", "when"), ("r2", "when"), ("r2", "until")]);
}

#[test]
fn sources_that_are_too_much_are_refused_and_not_run() {
    let deep = |open: &str, middle: &str, close: &str, n: usize| {
        format!("{}{middle}{}", open.repeat(n), close.repeat(n))
    };
    for source in [
        "a".repeat(5000),
        deep("(", "true", ")", 2000),
        deep("[", "true", "]", 2000),
        format!("topic{} == 'a'", "[0]".repeat(1300)),
        format!("topic{} == 'a'", ".a".repeat(2000)),
        format!("size({}) > 0", "topic+".repeat(600) + "topic"),
        format!("true{}", " ? true : true".repeat(290)),
        format!("score in [{}1.0]", "1.0,".repeat(900)),
        format!("true{}", "||true".repeat(600)),
        "topic.all(a, topic.all(b, topic.all(c, a == b)))".to_owned(),
        "\u{0}".to_owned(),
        String::new(),
    ] {
        let shown: String = source.chars().take(60).collect();
        assert!(compiled(&[Condition::new(&source)], Task::Anomaly).is_err(), "{shown}");
    }
}

#[test]
fn one_failing_rule_does_not_stop_the_others() {
    let rules = compiled(
        &[
            Condition::new("score > 0.5"),
            Condition::new("device.labels.line == '3'"),
            Condition::new("topic[7] == 'x'"),
            Condition::new("score > 0.6"),
        ],
        Task::Anomaly,
    )
    .expect("rules");
    let prediction = Prediction::Anomaly { score: 0.75 };
    let outcome = judge(&rules, &mut StreamRules::default(), &prediction, start());
    assert_eq!(outcome.fired, [0, 3]);
    let shown: Vec<_> = outcome.errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        ["rule `r1`, `when`: no key `line`", "rule `r2`, `when`: no element at Int(7)"]
    );
    // Not a number compares with nothing.
    let nan = Prediction::Anomaly { score: f32::NAN };
    let outcome = judge(&rules, &mut StreamRules::default(), &nan, start());
    assert_eq!((outcome.fired.len(), outcome.errors.len()), (0, 4));
}

#[test]
fn a_long_tensor_is_indexed_and_not_walked() {
    let tensor = Prediction::Tensor { shape: vec![100_000], values: vec![1.0; 100_000] };
    assert_eq!(holds("values[99999] > 0.5 && size(values) == 100000", &tensor), Ok(true));
    assert!(holds("values.all(v, v > 0.5)", &tensor).is_err());
}

#[test]
fn hysteresis_works_through_expressions() {
    let mut condition = Condition::new("scores['healthy'] < 0.2");
    condition.until = Some("scores['healthy'] > 0.6".to_owned());
    condition.hits = Hits::new(2, 3).expect("hits");
    condition.cooldown = HumanDuration::from_secs(3);
    let rules = compiled(&[condition], Task::Classification).expect("rules");
    let mut states = StreamRules::default();
    let start = start();
    let fired: String = [0.1, 0.5, 0.1, 0.1, 0.5, 0.7, 0.1, 0.1]
        .into_iter()
        .zip(0..)
        .map(|(score, second)| {
            let now = start + Duration::from_secs(second);
            let outcome = judge(&rules, &mut states, &classified("healthy", score), now);
            if outcome.fired.is_empty() { '.' } else { 'F' }
        })
        .collect();
    assert_eq!(fired, "..F....F");
}

#[test]
fn a_reload_keeps_the_state_of_rules_that_did_not_change() {
    let compile = |texts: &[&str]| {
        let rules: Vec<_> = texts.iter().map(|t| (name("same"), Condition::new(t))).collect();
        RuleSet::compile(&rules, Task::Anomaly, &[]).expect("rules")
    };
    let prediction = Prediction::Anomaly { score: 1.0 };
    let mut states = StreamRules::default();
    let now = start();
    let before = compile(&["score > 0.1", "score > 0.2"]);
    assert_eq!(judge(&before, &mut states, &prediction, now).fired, [0, 1]);
    let after = compile(&["score > 0.3", "score > 0.1"]);
    assert_eq!(judge(&after, &mut states, &prediction, now).fired, [0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_source_is_a_rule_or_a_mistake(source in any::<String>()) {
        let _compiled = compiled(&[Condition::new(&source)], Task::Classification);
    }

    #[test]
    fn any_words_are_a_rule_or_a_mistake(
        words in proptest::collection::vec(proptest::sample::select(vec![
            "label", "score", "scores", "detections", "topic", "device", ".labels", ".all(x, ",
            ".exists(y, ", ".map(z, ", "x", "y", "z", "(", ")", "[", "]", "{", "}", ",", ":", "?",
            "'a'", "1", "0.5", "&&", "||", "!", "-", "+", "==", "<", " in ", "has(", "size(", "null",
            "b'x'", "double(", "now.hour", "Msg{", "1u", "\n", "type(", "dyn(", "optional.of(",
        ]), 0..20),
    ) {
        let source = words.concat();
        for prediction in [classified("inner", 0.5), detected(2)] {
            if let Ok(rules) = compiled(&[Condition::new(&source)], task_of(&prediction)) {
                judge(&rules, &mut StreamRules::default(), &prediction, start());
            }
        }
    }
}
