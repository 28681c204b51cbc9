//! What who watches is told, and the page that shows it.

use serde_json::{Value, json};

use super::models::device;
use super::*;

/// A stream of events, read one by one.
struct Events {
    stream: TcpStream,
    text: String,
}

impl Events {
    async fn open(address: SocketAddr, last: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(address).await.expect("connect");
        let last = last.map(|last| format!("last-event-id: {last}\r\n")).unwrap_or_default();
        let head = format!("GET /v2/events HTTP/1.1\r\nhost: eir\r\n{last}\r\n");
        stream.write_all(head.as_bytes()).await.expect("write");
        let mut events = Self { stream, text: String::new() };
        let head = events.until("\r\n\r\n").await;
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        events
    }

    async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some((before, rest)) = self.text.split_once(end) {
                let (before, rest) = (before.to_owned(), rest.to_owned());
                self.text = rest;
                return before;
            }
            let mut some = vec![0; 64 << 10];
            let count = within("an event", self.stream.read(&mut some)).await.expect("read");
            assert!(count > 0, "the stream ended: {}", self.text);
            self.text.push_str(&String::from_utf8_lossy(&some[..count]));
        }
    }

    /// The next event of a kind: its id and data.
    async fn next(&mut self, kind: &str) -> (Option<String>, Value) {
        loop {
            let event = self.until("\n\n").await;
            let field = |name: &str| {
                event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
            };
            if field("event: ").as_deref() == Some(kind) {
                let data = serde_json::from_str(&field("data: ").expect("data")).expect("json");
                return (field("id: "), data);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_are_told_as_they_fall_and_again_to_who_was_cut_off() {
    let (app, address, broker) = device(&[]).await;
    let mut peer = Peer::connect("peer", broker.port()).await;
    peer.subscribe("plant/+/alarm").await;
    let mut events = Events::open(address, None).await;
    let (_, health) = events.next("health").await;
    assert_eq!((&health["device"], &health["role"]), (&json!("test"), &json!("admin")));
    assert_eq!(health["pipelines"][0]["name"], "bearing");
    peer.publish("plant/a/vibration", site::window("outer_race", 1)).await;
    let (_, published) = peer.next_json().await;
    let (first, decision) = events.next("decision").await;
    assert_eq!(decision["id"], published["id"]);
    let (_, window) = events.next("window").await;
    assert_eq!((&window["pipeline"], &window["stream"]), (&json!("bearing"), &json!("a")));
    assert_eq!(window["channels"].as_array().map(Vec::len), Some(3));
    assert_eq!(window["channels"][0].as_array().map(Vec::len), Some(256));
    assert_eq!(window["prediction"]["label"], "outer_race");
    drop(events);
    peer.publish("plant/b/vibration", site::window("outer_race", 2)).await;
    let (_, missed) = peer.next_json().await;
    let mut again = Events::open(address, first.as_deref()).await;
    assert_eq!(again.next("decision").await.1["id"], missed["id"]);
    // Who has the id of another start gets all that there is.
    let mut other = Events::open(address, Some("17-9")).await;
    assert_eq!(other.next("decision").await.1["id"], published["id"]);
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_watch_than_there_are_places() {
    let (app, address, _broker) = device(&[]).await;
    let mut all = Vec::new();
    for _ in 0..32 {
        all.push(Events::open(address, None).await);
    }
    let refused = get(address, "/v2/events").await;
    assert_eq!((refused.status, refused.head.contains("retry-after")), (429, true));
    all.pop();
    let free = async {
        loop {
            let mut stream = TcpStream::connect(address).await.expect("connect");
            stream.write_all(b"GET /v2/events HTTP/1.1\r\nhost: eir\r\n\r\n").await.expect("write");
            let mut status = [0; 12];
            stream.read_exact(&mut status).await.expect("a status");
            if status.ends_with(b"200") {
                return;
            }
        }
    };
    within("a free place", free).await;
    app.drain().await;
}

/// A camera's picture, as it was sent, with what was found on it.
#[tokio::test(flavor = "multi_thread")]
async fn a_frame_is_shown_with_what_was_found_on_it() {
    let broker = Mosquitto::start();
    let text = r#"
[mqtt.local]
url = "mqtt://127.0.0.1:1"

[pipeline.line]
input  = { mqtt = { broker = "local", topic = "line/+/jpeg" } }
decode = { image = {} }
model  = "defects"
"#;
    let app = site::start(text, broker.port(), &[OPEN]).await;
    let mut events = Events::open(app.api_address().expect("it listens"), None).await;
    events.next("health").await;
    let mut peer = Peer::connect("peer", broker.port()).await;
    let picture = site::picture("scratch");
    peer.publish("line/3/jpeg", picture.clone()).await;
    let (_, frame) = events.next("frame").await;
    assert_eq!((&frame["pipeline"], &frame["stream"]), (&json!("line"), &json!("3")));
    assert!(frame["width"].as_u64() > Some(0) && frame["jpeg"].as_str() > Some(""));
    let found = frame["prediction"]["detections"].as_array().expect("detections");
    assert!(found.iter().any(|found| found["label"] == "scratch"), "{found:?}");
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_detail_says_why_and_since_when() {
    let (mut app, address, mut broker) = device(&[]).await;
    until_ready(&mut app, true).await;
    let part = async || {
        let detail = get(address, "/v2/health/detail").await.json();
        let parts = detail["parts"].as_array().expect("parts").clone();
        parts.into_iter().find(|part| part["kind"] == "connection").expect("the connection")
    };
    let well = part().await;
    assert_eq!(
        (&well["name"], &well["state"], &well["why"]),
        (&json!("local"), &json!("ok"), &Value::Null)
    );
    broker.kill();
    until_ready(&mut app, false).await;
    let bad = part().await;
    assert_eq!(bad["state"], "degraded");
    assert!(bad["why"].is_string() && bad["since"].as_str() > well["since"].as_str(), "{bad}");
    app.tick();
    assert_eq!(part().await["since"], bad["since"]);
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_lies_in_the_program_and_asks_nobody_else() {
    let (app, address, _broker) = device(&[]).await;
    for (path, kind) in
        [("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")]
    {
        let reply = get(address, path).await;
        assert_eq!(reply.status, 200);
        assert!(reply.head.contains(&format!("content-type: {kind}")), "{}", reply.head);
        assert!(reply.head.contains("content-security-policy: default-src 'none'"));
        assert!(reply.head.contains("x-content-type-options: nosniff"));
        let foreign =
            reply.body.matches("http://").count() + reply.body.matches("https://").count();
        let names = reply.body.matches("http://www.w3.org/").count();
        assert_eq!(foreign, names, "{path}");
    }
    app.drain().await;
}
