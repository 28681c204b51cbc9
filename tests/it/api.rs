//! The side door: health, metrics and models over HTTP.

mod admin;
mod clients;
mod dashboard;
#[cfg(feature = "grpc")]
mod grpc;
mod guard;
mod jobs;
mod models;
mod openapi;
mod page;
mod predict;
mod texts;
mod watch;

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use eir::app::App;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::support::{Mosquitto, Peer, site, within};

const OPEN: &str = "api.listen=127.0.0.1:0";

/// What a server said to one request, the connection closed.
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("json")
    }
}

pub(crate) async fn ask(address: SocketAddr, request: &str) -> Reply {
    let mut stream = TcpStream::connect(address).await.expect("connect");
    stream.write_all(request.as_bytes()).await.expect("write");
    let mut text = String::new();
    within("an answer", stream.read_to_string(&mut text)).await.expect("read");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    Reply { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Reply {
    let head = format!("GET {path} HTTP/1.1\r\nhost: eir\r\nconnection: close\r\n\r\n");
    ask(address, &head).await
}

/// Asks until it is ready, or is not any more.
async fn until_ready(app: &mut App, ready: bool) -> Reply {
    let address = app.api_address().expect("it listens");
    let wait = async {
        loop {
            app.tick();
            let reply = get(address, "/v2/health/ready").await;
            if (reply.status == 200) == ready {
                return reply;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("readiness", wait).await
}

/// What Prometheus' own tool says of a file; none: it is not here. With `EIR_REQUIRE_PROMTOOL=1` it must be.
fn promtool(arguments: &[&str], input: &str) -> Option<(bool, String)> {
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        let required = std::env::var_os("EIR_REQUIRE_PROMTOOL").is_some_and(|value| value == "1");
        assert!(!required, "promtool is not here");
        return None;
    };
    child.stdin.take().expect("stdin").write_all(input.as_bytes()).expect("write");
    let output = child.wait_with_output().expect("promtool");
    let text = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_what_a_pipeline_did() {
    let broker = Mosquitto::start();
    let without_disk = "outbox.path=/dev/null/outbox.db";
    let mut app = site::start(site::BEARING, broker.port(), &[OPEN, without_disk]).await;
    let mut peer = Peer::connect("peer", broker.port()).await;
    peer.subscribe("plant/+/alarm").await;
    peer.publish("plant/a/vibration", site::window("outer_race", 1)).await;
    peer.publish("plant/a/vibration", "this is no json").await;
    peer.next_json().await;
    site::until(&app, "bearing", |counts| {
        counts.messages == 2 && !counts.errors.is_empty() && counts.p50.is_some()
    })
    .await;
    app.tick();

    let reply = get(app.api_address().expect("it listens"), "/metrics").await;
    assert_eq!(reply.status, 200);
    assert!(reply.head.contains("content-type: text/plain; version=0.0.4"), "{}", reply.head);
    for line in [
        "# TYPE eir_messages_total counter",
        "eir_messages_total{pipeline=\"bearing\"} 2",
        "eir_gated_total{pipeline=\"bearing\"} 0",
        "eir_inferences_total{pipeline=\"bearing\"} 1",
        "eir_decisions_total{pipeline=\"bearing\"} 1",
        "eir_errors_total{kind=\"syntax\",pipeline=\"bearing\"} 1",
        "eir_decision_latency_seconds_count{pipeline=\"bearing\"} 1",
        "eir_decision_latency_seconds_bucket{pipeline=\"bearing\",le=\"+Inf\"} 1",
        "eir_mqtt_up{connection=\"local\"} 1",
        "eir_pipeline_up{pipeline=\"bearing\"} 1",
        "eir_outbox_up 0",
    ] {
        assert!(reply.body.lines().any(|found| found == line), "no `{line}` in\n{}", reply.body);
    }
    assert!(reply.body.contains("model=\"bearing@1\""), "{}", reply.body);
    assert!(reply.body.contains("process_resident_memory_bytes"), "{}", reply.body);
    if let Some((clean, said)) = promtool(&["check", "metrics"], &reply.body) {
        assert!(clean && said.is_empty(), "{said}");
    }
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_follows_the_broker_and_live_does_not() {
    let mut broker = Mosquitto::start();
    let mut app = site::start(site::BEARING, broker.port(), &[OPEN]).await;
    let address = app.api_address().expect("it listens");
    assert_eq!(until_ready(&mut app, true).await.json(), serde_json::json!({ "ready": true }));
    broker.kill();
    let reply = until_ready(&mut app, false).await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.json()["error"], "not ready: connection `local`");
    let live = get(address, "/v2/health/live").await;
    assert_eq!((live.status, live.json()), (200, serde_json::json!({ "live": true })));
    broker.start_again();
    until_ready(&mut app, true).await;
    app.drain().await;
    assert!(TcpStream::connect(address).await.is_err(), "the port is closed at the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said_so() {
    let broker = Mosquitto::start();
    let app = site::start(site::BEARING, broker.port(), &[OPEN]).await;
    let address = app.api_address().expect("it listens");
    let server = get(address, "/v2").await.json();
    let extensions = server["extensions"].as_array().expect("an array");
    assert!(server["name"] == "eir" && extensions.contains(&"binary_tensor_data".into()));
    let absent = get(address, "/v2/../etc/passwd").await;
    assert_eq!((absent.status, absent.json()["error"].is_string()), (404, true));
    let post =
        "POST /metrics HTTP/1.1\r\nhost: eir\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let refused = ask(address, post).await;
    assert_eq!(refused.status, 405);
    assert!(refused.head.contains("allow: get,head"), "{}", refused.head);
    let head = "HEAD /metrics HTTP/1.1\r\nhost: eir\r\nconnection: close\r\n\r\n";
    let head = ask(address, head).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let long = format!("GET /{} HTTP/1.1\r\nhost: eir\r\n\r\n", "a".repeat(100_000));
    let mut stream = TcpStream::connect(address).await.expect("connect");
    // The rest may be refused while it is written.
    let _cut_off = stream.write_all(long.as_bytes()).await;
    let mut answer = [0; 12];
    within("an answer", stream.read_exact(&mut answer)).await.expect("a status");
    assert!(answer == *b"HTTP/1.1 414" || answer == *b"HTTP/1.1 431", "{answer:?}");
    app.drain().await;
}

/// Clients that say nothing, and that never finish, take all places; who comes then is served all the same.
#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_cut_off_and_others_are_served() {
    let broker = Mosquitto::start();
    let narrow = [OPEN, "api.max_connections=4", "api.timeout=200ms"];
    let app = site::start(site::BEARING, broker.port(), &narrow).await;
    let address = app.api_address().expect("it listens");
    let mut slow = Vec::new();
    for n in 0..40 {
        let mut stream = TcpStream::connect(address).await.expect("connect");
        if n % 2 == 0 {
            stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: e").await.expect("write");
        }
        slow.push(stream);
    }
    assert_eq!(get(address, "/v2/health/live").await.status, 200);
    for mut stream in slow {
        let mut rest = Vec::new();
        // Closed or reset: both are an end.
        let _reset = within("the end", stream.read_to_end(&mut rest)).await;
    }
    // A connection that was used once and is idle now ends too.
    let mut idle = TcpStream::connect(address).await.expect("connect");
    idle.write_all(b"GET /v2 HTTP/1.1\r\nhost: eir\r\n\r\n").await.expect("write");
    let mut rest = Vec::new();
    within("the end", idle.read_to_end(&mut rest)).await.expect("read");
    assert!(rest.starts_with(b"HTTP/1.1 200"));
    app.drain().await;
}

/// Asks and asks, and never reads: the answers fill what the system keeps for it, and the server waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_cut_off() {
    let broker = Mosquitto::start();
    let narrow = [OPEN, "api.max_connections=1", "api.timeout=200ms"];
    let app = site::start(site::BEARING, broker.port(), &narrow).await;
    let address = app.api_address().expect("it listens");
    let mut deaf = TcpStream::connect(address).await.expect("connect");
    let questions = "GET /metrics HTTP/1.1\r\nhost: eir\r\n\r\n".repeat(1000);
    let cut_off = async { while deaf.write_all(questions.as_bytes()).await.is_ok() {} };
    within("the end", cut_off).await;
    assert_eq!(get(address, "/v2/health/live").await.status, 200, "its place is free again");
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_tried_again_and_a_reload_moves_it() {
    let broker = Mosquitto::start();
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = taken.local_addr().expect("address");
    let listen = format!("api.listen={address}");
    let mut app = site::start(site::BEARING, broker.port(), &[&listen, "api.grpc=off"]).await;
    assert_eq!(app.api_address(), None);
    drop(taken);
    app.heal();
    assert_eq!(app.api_address(), Some(address));
    assert_eq!(until_ready(&mut app, true).await.status, 200);

    let config = site::parse(site::BEARING, broker.port(), &[OPEN]).expect("config");
    app.reload(config).await.expect("reload");
    let moved = app.api_address().expect("it listens");
    assert_ne!(moved, address);
    assert_eq!(get(moved, "/v2/health/ready").await.status, 200);
    assert!(TcpStream::connect(address).await.is_err(), "the old port is closed");
    let config = site::parse(site::BEARING, broker.port(), &[]).expect("config");
    app.reload(config).await.expect("reload");
    assert!(TcpStream::connect(moved).await.is_err(), "without [api] no port is open");
    app.drain().await;
}

#[test]
fn prometheus_takes_the_examples() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("cross/packages/deploy");
    for (what, file) in [("config", "prometheus.yml"), ("rules", "alerts.yml")] {
        let path = examples.join(file);
        assert!(path.is_file(), "{}", path.display());
        if let Some((good, said)) = promtool(&["check", what, &path.to_string_lossy()], "") {
            assert!(good, "{said}");
        }
    }
}
