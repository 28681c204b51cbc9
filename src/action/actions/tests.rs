//! From decisions to a broker that takes everything.

use std::sync::Mutex;

use uuid::Uuid;

use super::*;
use crate::action::Failure;
use crate::event::{Prediction, StreamKey, Topic};

/// Keeps what is published; a broker that takes everything.
#[derive(Debug, Clone, Default)]
struct Kept(Arc<Mutex<Vec<Publish>>>);

impl Publisher for Kept {
    async fn publish(&self, message: Publish) -> Result<(), Failure> {
        self.0.lock().expect("lock").push(message);
        Ok(())
    }
}

fn name(text: &str) -> Name {
    text.parse().expect("name")
}

fn decision(rule: &str) -> Arc<Decision> {
    Arc::new(Decision {
        id: Uuid::nil(),
        origin: None,
        pipeline: name("bearing"),
        rule: name(rule),
        stream: StreamKey::new("7"),
        at: "2026-03-01T10:00:00Z".parse().expect("time"),
        prediction: Arc::new(Prediction::Anomaly { score: 2.5 }),
        model: name("bearing"),
        version: 3,
        engine: "tract",
        latency_us: 1,
        redelivered: false,
        amendment: None,
    })
}

/// The actions of rule `fault`, as they are written.
fn build(source: &str) -> Result<(Actions, Couriers, Kept), String> {
    #[derive(serde::Deserialize)]
    struct Rule {
        r#do: Vec<ActionConfig>,
    }
    let rule: Rule = toml::from_str(source).map_err(|error| error.to_string())?;
    let device = Arc::new(Device { id: name("press"), labels: BTreeMap::new() });
    let kept = Kept::default();
    let brokers = BTreeMap::from([(name("local"), kept.clone())]);
    let rules = [(name("fault"), rule.r#do)];
    let (actions, couriers) = Actions::build(&rules, &[], device, &brokers, 4)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    Ok((actions, couriers, kept))
}

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn a_decision_is_published_with_what_came_with_its_message() {
    let (actions, couriers, kept) = build(
        r#"do = [
            { publish = { broker = "local", topic = "plant/{key}/alarm", qos = 2, retain = true } },
            { publish = { broker = "local", topic = "a/{topic.1}", payload = "{score} on {device}" } },
            { log = { level = "debug", message = "{rule}" } },
        ]"#,
    )
    .expect("actions");
    let cause = Cause {
        topic: &Topic::new("plant/7"),
        correlation: Some(&Arc::from(*b"\x01\x02")),
        traceparent: Some(TRACE.parse().expect("a traceparent")),
    };
    actions.dispatch(&decision("fault"), cause).expect("rendered");
    actions.dispatch(&decision("another"), cause).expect("nothing to do");
    assert_eq!(couriers.start().drain(Duration::from_secs(5)).await, 0);
    let published = kept.0.lock().expect("lock").clone();
    let [first, second] = &*published else { panic!("{published:?}") };
    assert_eq!(
        (first.topic.as_str(), u8::from(first.qos), first.retain),
        ("plant/7/alarm", 2, true)
    );
    assert_eq!(first.content_type.as_deref(), Some(JSON));
    assert_eq!(first.correlation.as_deref(), Some(&[1, 2][..]));
    assert_eq!(first.user_properties, [("traceparent".to_owned(), TRACE.to_owned())]);
    let json: serde_json::Value = serde_json::from_slice(&first.payload).expect("JSON");
    assert_eq!((&json["rule"], &json["prediction"]["score"]), (&"fault".into(), &2.5.into()));
    assert_eq!((second.topic.as_str(), u8::from(second.qos), second.retain), ("a/7", 1, false));
    assert_eq!((&*second.payload, &second.content_type), (&b"2.5 on press"[..], &None));
    let sent: Vec<_> = actions.counts().into_iter().map(|c| (c.name, c.sent)).collect();
    assert_eq!(sent, [("publish local".to_owned(), 2), ("log".to_owned(), 1)]);
}

#[tokio::test]
async fn what_cannot_be_rendered_is_counted_and_the_rest_is_done() {
    let (actions, couriers, kept) = build(
        r#"do = [
            { publish = { broker = "local", topic = "a/{topic.9}" } },
            { publish = { broker = "local", topic = "a/{topic.0}" } },
        ]"#,
    )
    .expect("actions");
    let topic = Topic::new("plant");
    let cause = Cause { topic: &topic, correlation: None, traceparent: None };
    for _ in 0..6 {
        assert!(actions.dispatch(&decision("fault"), cause).is_err());
    }
    let counts = &actions.counts()[0];
    assert_eq!((counts.unrendered, counts.dropped, counts.waiting), (6, 2, 4));
    assert_eq!(couriers.start().drain(Duration::from_secs(5)).await, 0);
    assert_eq!(kept.0.lock().expect("lock").len(), 4);
}

#[test]
fn a_mistake_says_what_would_be_right() {
    for (source, problem) in [
        (r#"{ publish = { broker = "far", topic = "a" } }"#, "no broker `far`; known are local"),
        (r#"{ publish = { broker = "local", topic = "a/#" } }"#, "'#' at character 3 cannot be in"),
        (
            r#"{ publish = { broker = "local", topic = "{kye}" } }"#,
            "unknown `{kye}` at character 1",
        ),
        (r#"{ publish = { broker = "local", topic = "a", qos = 3 } }"#, "use 0, 1 or 2"),
        (r#"{ publish = { broker = "local", topic = "a", qoss = 1 } }"#, "unknown field `qoss`"),
        (r#"{ log = { message = "{device.site}" } }"#, "the device has no label `site`; known are"),
        (r#"{ email = { to = "me" } }"#, "unknown variant `email`"),
        (r#"{ webhook = { url = "http://example.com/" } }"#, "do[0]`: url: http:// to example.com"),
        (r#"{ webhook = { url = "https://10.0.0.1/", headers = { "a b" = "c" } } }"#, "no header"),
        (
            r#"{ webhook = { url = "https://10.0.0.1/", ca_file = "/none" } }"#,
            "/none: cannot be read",
        ),
    ] {
        let found = build(&format!("do = [{source}]")).map(|_| ()).expect_err(source);
        assert!(found.contains(problem), "{source}: {found}");
    }
}

#[test]
fn the_schema_names_every_action() {
    let schema = serde_json::to_string(&schemars::schema_for!(ActionConfig)).expect("JSON");
    for word in ["publish", "webhook", "log", "token_file", "retain", "x-placeholders"] {
        assert!(schema.contains(word), "{word}: {schema}");
    }
}
