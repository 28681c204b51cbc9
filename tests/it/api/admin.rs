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
        "{}\n[api]\nlisten = \"127.0.0.1:{port}\"\ngrpc = \"off\"\ntimeout = \"1s\"\n[outbox]\npath = \"{}\"\n",
        site::BEARING,
        directory.path().join("outbox.db").display()
    );
    let file = config(directory.path(), broker.port(), &text);
    let mut process = Process::run(&file);
    process.says("started").await;
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    let level = |level: &str| json!({ "level": level }).to_string();

    let said = say(address, "POST", "/v2/admin/log", "", level("error").as_bytes()).await;
    assert_eq!((said.status, said.json()), (200, json!({ "level": "error" })));
    let reload = say(address, "POST", "/v2/admin/reload", "", b"").await;
    assert_eq!((reload.status, reload.json()), (200, json!({})));
    // The configuration says how much is logged again.
    let said = say(address, "POST", "/v2/admin/log", "", level("debug").as_bytes()).await;
    assert_eq!(said.status, 200);
    say(address, "POST", "/v2/admin/reload", "", b"").await;
    process.says("reloaded").await;
    for (body, told) in [
        (level("loud"), "unknown variant `loud`"),
        (json!({ "lvl": "info" }).to_string(), "unknown field `lvl`"),
        ("{".to_owned(), "EOF"),
    ] {
        let said = say(address, "POST", "/v2/admin/log", "", body.as_bytes()).await;
        let (status, message) = said.refused();
        assert_eq!((status, message.contains(told)), (400, true), "{message}");
        assert!(message.contains("{\"level\": \"debug\"}"), "{message}");
    }
    // A client that does not say all of it is cut off as any other.
    let slow = "POST /v2/admin/log HTTP/1.1\r\nhost: eir\r\ncontent-length: 9\r\n\r\n{";
    assert_eq!(ask(address, slow).await.status, 408);

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
