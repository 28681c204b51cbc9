use super::super::{Problems, Sources};
use super::{examine, load};

const SITE: &str = r#"
[mqtt.local]
url = "mqtt://127.0.0.1:1883"

[pipeline.good]
input  = { mqtt = { broker = "local", topic = "plant/+/vibration", qos = 1 } }
decode = { json = { fields = ["/x", "/y", "/z"] } }
model  = "bearing"

[pipeline.good.rule.fault]
when = "score > 0.5"
"#;

fn sources(text: &str) -> Sources {
    Sources { text: Some(("eir.toml".to_owned(), text.to_owned())), ..Sources::default() }
}

/// What is wrong with the site when `text` is added.
fn wrong(text: &str) -> Vec<String> {
    let examined = examine(&sources(&format!("{SITE}\n{text}")));
    examined.problems.iter().chain(&examined.files).map(ToString::to_string).collect()
}

/// Each of `parts` in one line of its own, and no line more.
fn each_told_once(found: &[String], parts: &[&[&str]]) {
    for parts in parts {
        let lines = found.iter().filter(|line| parts.iter().all(|part| line.contains(part)));
        assert_eq!(lines.count(), 1, "{parts:?} in {found:#?}");
    }
    assert_eq!(found.len(), parts.len(), "{found:#?}");
}

#[test]
fn a_mistake_of_one_stage_hides_none_of_another() {
    let found = wrong(
        r#"
[mqtt.far]
url = "http://example.com"
username = "eir"
password_file = "/nonexistent/password"

[log]
levle = "warn"

[pipeline.a]
input  = { mqtt = { broker = "lokal", topic = "plant/#/x", qos = 1 } }
decode = { json = { fields = ["x"] } }
key    = "{topic.one}"
model  = "bearing@new"
queue  = { capacity = 0 }

[pipeline.a.rule.schema]
when  = "score > 0.5"
hitz  = 3

[pipeline.a.rule.syntax]
when = "score >"
do = [
    { publish = { broker = "remote", topic = "alarm/{key}" } },
    { publish = { broker = "local", topic = "alarm/#" } },
]

[pipeline.a.rule.name]
when = "scoer > 0.5"

[pipeline.b]
input  = { mqtt = { broker = "lokal", topic = "plant/+", qos = 1 } }
decode = { image = {} }
model  = "bearing"
"#,
    );
    each_told_once(
        &found,
        &[
            &["eir.toml: mqtt.far.url: ", "mqtt://host"],
            &["eir.toml: mqtt.far.password_file: /nonexistent/password"],
            &["eir.toml: log.levle: ", "did you mean `level`"],
            &["eir.toml: pipeline.a.input.mqtt.topic: ", "plant/#/x"],
            &["eir.toml: pipeline.a.decode: ", "x"],
            &["eir.toml: pipeline.a.key: ", "topic.one"],
            &["eir.toml: pipeline.a.model: `new` is no version"],
            &["eir.toml: pipeline.a.queue.capacity: 0 is too small; at least 1"],
            &["eir.toml: pipeline.a.rule.schema.hitz: ", "did you mean `hits`"],
            &["eir.toml: pipeline.a.rule.syntax.do.1.publish.topic: ", "#"],
            &["eir.toml: pipeline.a.rule.syntax.when: ", "score >"],
            &["eir.toml: pipeline.a.rule.name.when: unknown name `scoer`", "detections"],
            &["eir.toml: pipeline.b.input.mqtt.broker: no [mqtt.lokal] here", "far, local"],
        ],
    );
}

#[test]
fn a_rule_that_reads_is_checked_beside_one_that_does_not() {
    let rule = |name: &str, when: &str, broker: &str| {
        let publish = format!("{{ publish = {{ broker = \"{broker}\", topic = \"a\" }} }}");
        format!("[pipeline.good.rule.{name}]\nwhen = \"{when}\"\ndo = [{publish}]\n")
    };
    let found = wrong(&format!(
        "{}{}{}",
        rule("one", "score >", "local"),
        rule("two", "detections.size() > 0 && score > 1.0", "remote"),
        rule("three", "detections.size() > 0", "local").replace("\"a\"", "\"{nothing}\""),
    ));
    each_told_once(
        &found,
        &[
            &["pipeline.good.rule.one.when: ", "score >"],
            &["pipeline.good.rule.two.when: unknown name"],
            &["pipeline.good.rule.two.do.0.publish.broker: ", "[mqtt.remote]"],
            &["eir.toml: pipeline.good.rule.three.do.0.publish.topic: ", "nothing"],
        ],
    );
}

#[test]
fn what_is_right_is_given_beside_what_is_wrong() {
    let text = format!(
        "{SITE}\n[pipeline.good.rule.bad]\nwhen = 3\n[pipeline.bad]\nmodel = \"x\"\n\
         [pipeline.worse]\nmodel = 7\n"
    );
    let examined = examine(&sources(&text));
    let names: Vec<_> = examined.config.pipeline.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["good"]);
    let rules: Vec<_> =
        examined.config.pipeline["good"].rule.keys().map(ToString::to_string).collect();
    assert_eq!(rules, ["fault"]);
    let later = super::Problem::new("pipeline.good.decode", "does not fit");
    assert_eq!(examined.located(later).to_string(), "eir.toml: pipeline.good.decode: does not fit");
}

#[test]
fn a_wrong_value_is_told_in_one_line() {
    let queue = "input = { mqtt = { broker = \"local\", topic = \"a\", qos = 1 } }\n\
                 decode = { json = {} }\nmodel = \"m\"";
    for (text, line) in [
        ("[log]\nlevel = 5", "log.level: 5 is none of: `error`, `warn`, `info`, `debug`, `trace`"),
        ("[log]\nevery = 5", "log.every: 5 is not a string; write it like "),
        ("[mqtt.b]\nurl = \"mqtt://127.0.0.1\"\nversion = 3", "mqtt.b.version: 3 is none of: 5, 4"),
        ("[mqtt.b]\nurl = 7", "mqtt.b.url: 7 is not a string"),
        ("[mqtt.b]\nurl = \"mqtt://127.0.0.1\"\nreceive_maximum = 70000", "at most 65535"),
        ("[traces]\nurl = \"https://c\"", "traces.url: must begin with otlp+https://"),
        ("[traces]\nurl = \"otlp+http://c.example.com\"", "traces.url: http:// to c.example.com"),
        ("[traces]\nurl = \"otlp+https://c\"\nratio = 1.5", "traces.ratio: 1.5 is too large"),
        ("[traces]\nurl = \"otlp+https://c\"\nqueue = 7", "traces.queue: 7 is too small"),
        (
            "[traces]\nurl = \"otlp+https://c\"\nrat = 1",
            "traces.rat: unknown key; did you mean `rat",
        ),
        (
            "[pipeline.b]\nqueue = { capacity = -1 }\n@",
            "pipeline.b.queue.capacity: -1 is too small",
        ),
        ("[pipeline.b]\nqueue = { when_full = 1 }\n@", "1 is none of: `hold`, `drop_oldest`"),
        ("[pipeline.b]\nqueue = 1\n@", "pipeline.b.queue: 1 is not a table"),
        ("[pipeline.b]\nwindow = { samples = 0 }\n@", "window.samples: 0 is too small; at least 1"),
        ("[pipeline.b]\nwindow = { smples = 1 }\n@", ""),
        ("[pipeline.b]\nwindow = 5\n@", "pipeline.b.window: 5 is not a table"),
        (
            "[pipeline.b]\n@\n[pipeline.b.rule.\"a b\"]\nwhen = \"true\"",
            "pipeline.b.rule.\"a b\": ",
        ),
    ] {
        let found = wrong(&text.replace('@', queue));
        let wanted = if line.is_empty() { 2 } else { 1 };
        assert_eq!(found.len(), wanted, "{text}: {found:#?}");
        assert!(found[0].starts_with("eir.toml: ") && found[0].contains(line), "{found:#?}");
    }
    for (from, to, line) in [
        ("qos = 1", "qos = 3", "pipeline.good.input.mqtt.qos: 3 is none of: "),
        (
            "{ json = { fields = [\"/x\", \"/y\", \"/z\"] } }",
            "\"image\"",
            "is none of: `{ json = … }`, `{ raw = … }`, `{ text = … }`, `{ image = … }`",
        ),
        ("{ json = {", "{ text = {}, json = {", "exactly one of"),
        ("[\"/x\", ", "[7, ", "pipeline.good.decode.json.fields.0: 7 is not a string"),
    ] {
        let Problems(found) = load(&sources(&SITE.replace(from, to))).expect_err(to);
        assert_eq!(found.len(), 1, "{to}: {found:#?}");
        assert!(found[0].to_string().contains(line), "{found:#?}");
    }
}

#[test]
fn a_broken_connection_table_is_not_an_unknown_connection() {
    let text = SITE.replace("url = ", "tls = true\nurl = ");
    let Problems(found) = load(&sources(&text)).expect_err("an unknown key");
    assert_eq!(found.len(), 1, "{found:#?}");
}

/// B11: one broken broker degrades its pipelines, not the start.
#[test]
fn a_file_that_may_come_later_is_no_reason_not_to_start() {
    let text = SITE
        .replace("mqtt://127.0.0.1:1883", "mqtts://127.0.0.1:8883")
        .replace("[mqtt.local]", "[mqtt.local]\nca_file = \"/nonexistent/ca.pem\"")
        + "do = [{ webhook = { url = \"http://10.0.0.1\", token_file = \"/nonexistent/token\" } }]";
    let config = load(&sources(&text)).expect("a configuration");
    assert_eq!(config.files().len(), 2);
    let examined = examine(&sources(&text));
    let found: Vec<_> = examined.files.iter().map(ToString::to_string).collect();
    each_told_once(
        &found,
        &[
            &["eir.toml: mqtt.local.ca_file: /nonexistent/ca.pem"],
            &["eir.toml: pipeline.good.rule.fault.do.0.webhook.token_file: /nonexistent/token"],
        ],
    );
}

/// B7: what needs no model to be seen.
#[test]
fn a_pipeline_that_can_never_work_is_refused() {
    let key = |key: &str| SITE.replace("model  =", &format!("key = \"{key}\"\nmodel  ="));
    let line = |text: &str| load(&sources(text)).map(drop).map_err(|p| p.to_string());
    assert_eq!(line(&key("{topic.2}")), Ok(()));
    let error = line(&key("{topic.9}")).expect_err("3 levels");
    assert!(
        error.starts_with("eir.toml: pipeline.good.key: ") && error.contains("0 to 2"),
        "{error}"
    );
    assert_eq!(line(&key("{topic.9}").replace("vibration", "#")), Ok(()));
    let act = format!("{SITE}do = [{{ log = {{ message = \"{{label}} {{topic.3}}\" }} }}]");
    let error = line(&act).expect_err("3 levels");
    assert!(error.contains("rule.fault.do.0: ") && error.contains("{topic.3}"), "{error}");
    let picture = SITE
        .replace("{ json = { fields = [\"/x\", \"/y\", \"/z\"] } }", "{ image = {} }")
        .replace("model  =", "window = { samples = 4 }\nmodel  =");
    let error = line(&picture).expect_err("no window of pictures");
    assert!(error.starts_with("eir.toml: pipeline.good.window: "), "{error}");
}

#[test]
fn a_cloud_is_checked_like_everything_else() {
    let found = wrong(
        r#"
[cloud.main]
url = "http://192.168.1.5/in"
token_file = "/nonexistent/token"

[cloud.typo]
url = "https://c.example"
tokn_file = "x"

[cloud.off]
enabled = false
url = "nonsense"
"#,
    );
    each_told_once(
        &found,
        &[
            &["eir.toml: cloud.main.ack: ", "\"echo\""],
            &["eir.toml: cloud.main.token_file: /nonexistent/token"],
            &["eir.toml: cloud.typo.tokn_file: ", "did you mean `token_file`"],
        ],
    );
}

/// `device init --cloud` writes a cloud and nothing else.
#[test]
fn a_cloud_brings_the_usual_outbox_with_it() {
    let cloud = "[cloud.main]\nurl = \"https://c.example\"\n";
    let outbox = |text: &str| load(&sources(&format!("{SITE}{text}"))).expect("valid").outbox;
    assert_eq!(outbox(""), None);
    assert_eq!(outbox(cloud), Some(crate::outbox::OutboxConfig::default()));
    let mine = outbox(&format!("{cloud}[outbox]\nmax = \"4MiB\"")).expect("an outbox");
    assert_eq!(mine.max.0, 4 << 20);
    assert_eq!(outbox(&format!("{cloud}enabled = false")), None);
}

#[test]
fn an_outbox_is_checked_and_can_be_left_out() {
    let found = wrong("[outbox]\nmax = \"1KiB\"\nqueue = \"1B\"\nwhen_unwritable = \"exit\"");
    each_told_once(&found, &[&["outbox.when_unwritable", "continue"]]);
    let found = wrong("[outbox]\nmax = \"1KiB\"\nqueue = \"1B\"");
    each_told_once(&found, &[&["outbox.max", "1MiB"], &["outbox.queue", "64KiB"]]);
    let load = |text: &str| load(&sources(&format!("{SITE}\n{text}"))).expect("a configuration");
    assert!(load("").outbox.is_none());
    assert!(load("[outbox]\nenabled = false\nmax = \"1KiB\"").outbox.is_none());
    assert_eq!(load("[outbox]").outbox, Some(crate::outbox::OutboxConfig::default()));
}

#[test]
fn every_mistake_of_an_escalation_is_told_at_its_key() {
    let found = wrong(
        r#"
[pipeline.good.escalate]
uncertain = [0.7, 0.3]
url = "http://example.com/judge"
version = 2
deadline = "1h"
token_file = "/nonexistent/token"
do = [
    { publish = { broker = "far", topic = "plant/{key}/second" } },
    { log = { message = "{topic.9}" } },
    { webhook = { url = "https://example.com", token_file = "/nonexistent/hook" } },
]
"#,
    );
    each_told_once(
        &found,
        &[
            &["eir.toml: pipeline.good.escalate.uncertain: ", "must not be the larger"],
            &["eir.toml: pipeline.good.escalate.url: ", "insecure = true"],
            &["eir.toml: pipeline.good.escalate.version: ", "`model`"],
            &["eir.toml: pipeline.good.escalate.deadline: ", "from 1ms to 5m"],
            &["eir.toml: pipeline.good.escalate.do.0.publish.broker: ", "local"],
            &["eir.toml: pipeline.good.escalate.do.1: ", "{topic.9}"],
            &["eir.toml: pipeline.good.escalate.token_file: /nonexistent/token"],
            &["pipeline.good.escalate.do.2.webhook.token_file: /nonexistent/hook"],
        ],
    );
    let found = wrong(
        r#"
[pipeline.good.escalate]
uncertain = [0.3]
rate = "fast"
queue = 0
qeue = 3
breaker = { failures = 0 }
"#,
    );
    each_told_once(
        &found,
        &[
            &["pipeline.good.escalate.uncertain: "],
            &["pipeline.good.escalate: `url` is missing"],
            &["pipeline.good.escalate.rate: ", "10/s"],
            &["pipeline.good.escalate.queue: 0 is too small; at least 1"],
            &["pipeline.good.escalate.qeue: ", "did you mean `queue`"],
            &["pipeline.good.escalate.breaker.failures: 0 is too small; at least 1"],
        ],
    );
    let off = "[pipeline.good.escalate]\nenabled = false\nurl = 3\n";
    assert_eq!(wrong(off), Vec::<String>::new());
}
