use super::super::{Config, Problems, Sources, load};

const PIPELINE: &str = r#"
[mqtt.local]
url = "mqtt://127.0.0.1:1883"

[pipeline.bearing]
input  = { mqtt = { broker = "local", topic = "plant/+/vibration", qos = 1, id = "/seq" } }
decode = { json = { fields = ["/x", "/y", "/z"] } }
key    = "{topic.1}"
window = { samples = 256, step = 64 }
model  = "bearing"
queue  = { capacity = 1024, when_full = "hold" }

[pipeline.bearing.rule.fault]
when     = "scores['healthy'] < 0.2"
until    = "scores['healthy'] > 0.6"
hits     = { count = 3, of = 5 }
cooldown = "30s"
do       = [ { publish = { broker = "local", topic = "plant/{key}/alarm", qos = 1, retain = true } } ]
"#;

fn text(text: impl Into<String>) -> Sources {
    Sources { text: Some(("eir.toml".to_owned(), text.into())), ..Sources::default() }
}

fn problems(sources: &Sources) -> Vec<String> {
    let Problems(problems) = load(sources).expect_err("a mistake");
    problems.iter().map(ToString::to_string).collect()
}

fn loaded(sources: &Sources) -> Config {
    load(sources).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn the_example_of_the_contract_is_accepted() {
    let config = loaded(&text(PIPELINE));
    let pipeline = config.pipeline.values().next().expect("one");
    assert_eq!(pipeline.queue.capacity, 1024);
    assert_eq!(pipeline.rule.len(), 1);
    let again: Config =
        serde_json::from_value(serde_json::to_value(&config).expect("json")).expect("config");
    assert_eq!(again, config);
}

#[test]
fn every_mistake_is_told_at_once_with_file_key_and_remedy() {
    let wrong = PIPELINE
        .replace("capacity", "capacty")
        .replace("\"hold\"", "\"wait\"")
        .replace("cooldown = \"30s\"", "cooldown = \"thirty\"")
        .replace("json = { fields", "jsn = { fields");
    let problems = problems(&text(wrong));
    let told = |parts: &[&str]| {
        let found = problems.iter().any(|p| parts.iter().all(|part| p.contains(part)));
        assert!(found, "{parts:?} not in {problems:#?}");
    };
    told(&["eir.toml", "pipeline.bearing.queue.capacty", "did you mean `capacity`"]);
    told(&["eir.toml", "pipeline.bearing.queue.when_full", "wait", "drop_oldest"]);
    told(&["eir.toml", "pipeline.bearing.rule.fault.cooldown", "thirty", "250ms"]);
    told(&["eir.toml", "pipeline.bearing.decode", "jsn", "json"]);
    assert_eq!(problems.len(), 4, "{problems:#?}");
}

#[test]
fn names_that_must_exist_elsewhere_are_looked_up() {
    let wrong = PIPELINE.replace("broker = \"local\"", "broker = \"remote\"");
    let problems = problems(&text(wrong));
    assert_eq!(problems.len(), 2, "{problems:#?}");
    assert!(problems.iter().all(|p| p.contains("[mqtt.remote]") && p.contains("local")));
}

#[test]
fn hold_needs_something_to_hold_back() {
    let problems = problems(&text(PIPELINE.replace("qos = 1, id", "qos = 0, id")));
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].contains("queue.when_full") && problems[0].contains("drop_oldest"));
}

#[test]
fn later_layers_change_single_values() {
    let directory = tempfile::tempdir().expect("tempdir");
    let file = directory.path().join("eir.toml");
    crate::disk::replace(
        &file,
        format!("{PIPELINE}\n[profile.lab.log]\nlevel = \"trace\"\n").as_bytes(),
    )
    .expect("file");
    std::fs::create_dir(directory.path().join("conf.d")).expect("conf.d");
    let layer = directory.path().join("conf.d/10-site.toml");
    crate::disk::replace(
        &layer,
        b"[pipeline.bearing.queue]\ncapacity = 7\n[log]\nlevel = \"warn\"\n",
    )
    .expect("layer");

    let mut sources = Sources { file, ..Sources::default() };
    let config = loaded(&sources);
    assert_eq!(config.pipeline.values().next().expect("one").queue.capacity, 7);
    assert_eq!(serde_json::to_value(config.log.level).expect("json"), "warn");

    sources.profile = Some("lab".to_owned());
    assert_eq!(serde_json::to_value(loaded(&sources).log.level).expect("json"), "trace");

    sources.env = vec![
        ("EIR__LOG__LEVEL".to_owned(), "error".to_owned()),
        ("EIR_OTHER".to_owned(), "x".to_owned()),
    ];
    assert_eq!(serde_json::to_value(loaded(&sources).log.level).expect("json"), "error");

    sources.set = vec!["log.level=debug".to_owned(), "pipeline.bearing.model=bearing@3".to_owned()];
    let config = loaded(&sources);
    assert_eq!(serde_json::to_value(config.log.level).expect("json"), "debug");
    assert_eq!(config.pipeline.values().next().expect("one").model, "bearing@3");

    sources.profile = Some("prod".to_owned());
    assert!(problems(&sources)[0].contains("known are: lab"));
    sources.profile = None;
    sources.set = vec!["log.level=loud".to_owned()];
    let found = problems(&sources);
    assert!(found[0].starts_with("--set log.level=loud: log.level:"), "{found:#?}");
}

#[test]
fn a_profile_where_there_is_none_says_so() {
    let sources = Sources { profile: Some("nope".to_owned()), ..text(PIPELINE) };
    assert_eq!(
        problems(&sources),
        ["--profile: nope: no [profile.nope] in any file; there is none"]
    );
}

#[test]
fn the_key_of_a_set_is_written_as_in_toml() {
    let mut sources = text(PIPELINE.replace("pipeline.bearing", "pipeline.\"my.pipe\""));
    sources.set = vec![
        r#"pipeline."my.pipe".model=other@2"#.to_owned(),
        r#"device.labels."a=b"=c = d"#.to_owned(),
    ];
    let config = loaded(&sources);
    assert_eq!(config.pipeline.values().next().expect("one").model, "other@2");
    assert_eq!(config.device.labels["a=b"], "c = d");
    for wrong in ["log.level", "log..level=debug", "=1", "a b=1"] {
        sources.set = vec![wrong.to_owned()];
        let found = problems(&sources);
        assert!(found.len() == 1 && found[0].contains("key=value"), "{wrong}: {found:?}");
    }
}

#[test]
fn what_is_not_enabled_is_not_there_and_not_checked() {
    let off = format!("{PIPELINE}\n[pipeline.broken]\nenabled = false\nmodel = 7\n");
    assert_eq!(loaded(&text(off)).pipeline.len(), 1);
    let mut sources = text(PIPELINE);
    sources.set = vec!["pipeline.bearing.rule.fault.enabled=false".to_owned()];
    assert!(loaded(&sources).pipeline.values().next().expect("one").rule.is_empty());
    sources.set = vec!["pipeline.bearing.enabled=true".to_owned()];
    assert_eq!(loaded(&sources).pipeline.len(), 1);
}

#[test]
fn a_file_that_is_missing_or_no_toml_is_named() {
    let missing = Sources { file: "/nowhere/eir.toml".into(), ..Sources::default() };
    assert!(problems(&missing)[0].starts_with("/nowhere/eir.toml: cannot be read"));
    assert!(problems(&text("a = = 1"))[0].starts_with("eir.toml: is no TOML"));
}

#[test]
fn the_demo_and_the_sample_are_valid() {
    for sample in
        [include_str!("../../../cli/demo/demo.toml"), include_str!("../../../../systemd/eir.toml")]
    {
        loaded(&text(sample));
    }
}
