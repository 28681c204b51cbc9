//! What an administrator orders, of the real program.

use serde_json::json;

use super::models::say;
use super::*;
use crate::process::config;
use crate::support::Process;
use crate::support::mosquitto::free_port;

#[tokio::test(flavor = "multi_thread")]
async fn the_log_the_outbox_and_a_new_start_of_pipelines_are_an_administrator_s() {
    let broker = Mosquitto::start();
    let directory = tempfile::tempdir().expect("tempdir");
    let port = free_port();
    let text = format!(
        "{}\n[api]\nlisten = \"127.0.0.1:{port}\"\ngrpc = \"off\"\n[outbox]\npath = \"{}\"\n",
        site::BEARING,
        directory.path().join("outbox.db").display()
    );
    let file = config(directory.path(), broker.port(), &text);
    let mut process = Process::run(&file);
    process.says("started").await;
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    let json = "content-type: application/json\r\n";
    let level = |level: &str| json!({ "level": level }).to_string();

    let said = say(address, "POST", "/v2/admin/log", json, level("error").as_bytes()).await;
    assert_eq!((said.status, said.json()), (200, json!({ "level": "error" })));
    let reload = say(address, "POST", "/v2/admin/reload", "", b"").await;
    assert_eq!((reload.status, reload.json()), (200, json!({})));
    // The configuration says how much is logged again.
    let said = say(address, "POST", "/v2/admin/log", json, level("debug").as_bytes()).await;
    assert_eq!(said.status, 200);
    say(address, "POST", "/v2/admin/reload", "", b"").await;
    process.says("reloaded").await;
    for (headers, body, status, told) in [
        (json, level("loud"), 422, "unknown variant"),
        (json, "{".to_owned(), 400, "EOF"),
        ("", level("info"), 415, "content-type"),
    ] {
        let said = say(address, "POST", "/v2/admin/log", headers, body.as_bytes()).await;
        let (found, message) = said.refused();
        assert_eq!(
            (found, message.to_lowercase().contains(&told.to_lowercase())),
            (status, true),
            "{message}"
        );
    }

    let mut peer = Peer::connect("peer", broker.port()).await;
    peer.subscribe("plant/+/alarm").await;
    peer.publish("plant/a/vibration", site::window("outer_race", 1)).await;
    peer.next_json().await;
    let outbox = async {
        loop {
            let found = get(address, "/v2/admin/outbox").await.json();
            if found["kinds"]["decision"]["records"] == json!(1) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = within("a record", outbox).await;
    assert!(found["kinds"]["decision"]["bytes"].as_u64() > Some(100), "{found}");
    assert_eq!((&found["dead"], &found["clouds"]), (&json!(0), &json!({})));

    eir::disk::replace(&file, b"[pipeline.bearing]\nmodell = \"x\"\n").expect("file");
    let (status, message) = say(address, "POST", "/v2/admin/reload", "", b"").await.refused();
    assert_eq!((status, message.contains("modell")), (400, true), "{message}");
    process.signal("TERM");
    assert_eq!(process.ended().await.0.code(), Some(0));
}
