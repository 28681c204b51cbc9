use super::*;

fn base(value: Value) -> Base {
    serde_json::from_value(value).expect("a base")
}

fn order(download: &str, update: &str, window: Option<&str>, artifacts: &Value) -> Deployment {
    let mut order = json!({
        "download": download,
        "update": update,
        "chunks": [{ "part": "app", "version": "4", "name": "defects", "artifacts": artifacts }],
    });
    if let Some(window) = window {
        order["maintenanceWindow"] = json!(window);
    }
    let whole = json!({ "id": "8", "deployment": order, "actionHistory": { "status": "RUNNING" } });
    serde_json::from_value(whole).expect("a deployment")
}

fn artifact(name: &str) -> Value {
    json!({
        "filename": name,
        "hashes": { "sha1": "00", "md5": "00", "sha256": "0a".repeat(32) },
        "size": 7,
        "_links": {
            "download-http": { "href": "http://10.0.0.1/b" },
            "download": { "href": "https://a/b" },
            "md5sum": { "href": "https://a/b.MD5SUM" },
        },
    })
}

#[test]
fn a_base_says_what_there_is_to_do_and_when_to_ask_again() {
    let found = base(json!({
        "config": { "polling": { "sleep": "00:05:10" } },
        "_links": {
            "deploymentBase": { "href": "https://h/T/controller/v1/a/deploymentBase/83?c=-21" },
            "configData": { "href": "https://h/T/controller/v1/a/configData" },
            "installedBase": { "href": "https://h/T/controller/v1/a/installedBase/82" },
        },
    }));
    assert_eq!(found.pace(), Some(Duration::from_secs(310)));
    assert_eq!((found.deployment(), found.cancel(), found.confirmation()), (Some(83), None, None));
    assert!(found.wants_attributes());
    assert_eq!(base(json!({})), Base::default());
    let link = json!({ "cancelAction": { "href": "/T/controller/v1/a/cancelAction/x" } });
    assert_eq!(base(json!({ "_links": link })).cancel(), None, "no number");
}

#[test]
fn the_pace_is_bounded_whatever_the_server_says() {
    for (sleep, pace) in [
        ("00:00:01", Some(10)),
        ("00:00:00", Some(10)),
        ("23:59:59", Some(86_399)),
        ("99:00:00", Some(86_400)),
        ("00:01", None),
        ("soon", None),
        ("-1:00:00", None),
        ("99999999999999999999:0:0", None),
    ] {
        let found = base(json!({ "config": { "polling": { "sleep": sleep } } })).pace();
        assert_eq!(found, pace.map(Duration::from_secs), "{sleep}");
    }
}

#[test]
fn skip_a_closed_window_and_unknown_words_hold_it_back() {
    for (download, update, window, fetches, installs, forced) in [
        ("forced", "forced", None, true, true, true),
        ("attempt", "attempt", None, true, true, false),
        ("skip", "skip", None, false, false, false),
        ("forced", "skip", None, true, false, false),
        ("forced", "forced", Some("available"), true, true, true),
        ("forced", "skip", Some("unavailable"), true, false, false),
        ("forced", "forced", Some("unavailable"), true, false, true),
        ("forced", "forced", Some("ajar"), true, false, true),
        ("maybe", "later", None, false, false, false),
    ] {
        let found = order(download, update, window, &json!([]));
        let may = (found.may_fetch(), found.may_install(), found.is_forced());
        assert_eq!(may, (fetches, installs, forced), "{download} {update} {window:?}");
    }
    let nothing: Deployment = serde_json::from_value(json!({})).expect("nothing");
    assert!(!nothing.may_fetch() && !nothing.may_install());
}

#[test]
fn one_artifact_is_the_bundle() {
    let of = |artifacts: &Value| order("forced", "forced", None, artifacts).bundle();
    let found = of(&json!([artifact("notes.pdf"), artifact("line.tar.zst")])).expect("a bundle");
    let (name, link) = ("line.tar.zst".to_owned(), "https://a/b".to_owned());
    assert_eq!(found, Bundle { name, size: 7, sha256: Some(vec![10; 32]), link });
    let mut plain = artifact("line.tar.zst");
    plain["hashes"] = json!({ "sha1": "00" });
    plain["_links"] = json!({ "download-http": { "href": "http://10.0.0.1/b" } });
    let found = of(&json!([plain])).expect("a bundle");
    assert_eq!((found.sha256, found.link.as_str()), (None, "http://10.0.0.1/b"));
    let changed = |key: &str, value: Value| {
        let mut artifact = artifact("line.tar.zst");
        artifact[key] = value;
        json!([artifact])
    };
    for (artifacts, told) in [
        (json!([]), "no artifact is a bundle"),
        (json!([artifact("firmware.bin")]), "no artifact is a bundle"),
        (json!([artifact("a.tar.zst"), artifact("b.tar.zst")]), "one can be taken"),
        (changed("_links", json!({})), "no link"),
        (changed("size", json!(0)), "is empty"),
        (changed("hashes", json!({ "sha256": "0a" })), "SHA-256"),
        (changed("hashes", json!({ "sha256": "zz".repeat(32) })), "SHA-256"),
    ] {
        let why = of(&artifacts).expect_err(told);
        assert!(why.contains(told), "{why}");
    }
}

#[test]
fn a_feedback_is_what_the_server_takes() {
    let feedback = Feedback::closed(false, vec!["€".repeat(600)]);
    let body = feedback.body(8);
    assert_eq!(body["id"], "8");
    assert_eq!(body["status"]["execution"], "closed");
    assert_eq!(body["status"]["result"], json!({ "finished": "failure" }));
    let line = body["status"]["details"][0].as_str().expect("a line");
    assert_eq!(line.chars().count(), 512);
    let many = vec![String::new(); 60];
    let body = Feedback::open(Execution::Resumed, many).body(8);
    let lines = body["status"]["details"].as_array().expect("lines");
    assert_eq!((lines.len(), &lines[49]), (50, &json!("and 11 more")));
    assert_eq!(body["status"]["execution"], "resumed");
    assert_eq!(body["status"]["result"]["finished"], "none");
}

#[test]
fn a_cancellation_names_its_action() {
    let of = |id: &str| {
        let value = json!({ "id": "11", "cancelAction": { "stopId": id } });
        serde_json::from_value::<Cancel>(value).expect("a cancellation").action()
    };
    assert_eq!((of("11"), of("eleven")), (Some(11), None));
}

#[test]
fn a_device_tells_its_labels_and_what_it_runs() {
    let labels = BTreeMap::from([("site".to_owned(), "x".repeat(200))]);
    let found = attributes(&labels, ("0.1.0", "aarch64"));
    assert_eq!(found["eir.version"], "0.1.0");
    assert_eq!(found["eir.target"], "aarch64");
    assert_eq!(found["site"].chars().count(), 128);
}
