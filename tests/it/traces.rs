//! Traces: a device on a real mosquitto, and a collector whose spans are read with the messages of another hand.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::time::Duration;

use eir::app::App;
use eir::event::TraceParent;
use eir::mqtt::{Publish, QoS, Version};
use eir::task::{Clock, SystemClock};
use eir::trace::TraceStatus;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};
use prost::Message as _;

use super::support::cloud::{Answer, Asked, Cloud};
use super::support::mqtt::{Client, config, publish};
use super::support::{Mosquitto, mosquitto, site, within};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// Everything was taken.
pub(crate) const TAKEN: Answer =
    Answer::Status(200, "Content-Type: application/x-protobuf\r\n", "");

/// Sends spans there, soon.
pub(crate) fn to(collector: &Cloud) -> [String; 2] {
    let url = format!("traces.url=otlp+{}", collector.url());
    [url, "traces.backoff.max=50ms".to_owned()]
}

/// All spans that were sent, whatever the collector said to them.
pub(crate) fn spans(collector: &Cloud) -> Vec<Span> {
    collector.asked().iter().flat_map(read).collect()
}

fn read(asked: &Asked) -> Vec<Span> {
    let head = &asked.head;
    assert!(head.starts_with("post /v1/eir/v1/traces http/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/x-protobuf\r\n"), "{head}");
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(&asked.body[..]).read_to_end(&mut bytes).expect("gzip");
    let request = ExportTraceServiceRequest::decode(&bytes[..]).expect("a message");
    let resource = request.resource_spans[0].resource.clone().expect("a resource");
    assert_eq!(attribute(&resource.attributes, "service.name"), "eir");
    assert_eq!(attribute(&resource.attributes, "service.instance.id"), "test");
    let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

pub(crate) fn attribute(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.clone());
    match found.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(int)) => int.to_string(),
        other => format!("{other:?}"),
    }
}

/// The one that is called so, and its parts by name.
pub(crate) fn one<'a>(all: &'a [Span], name: &str) -> (&'a Span, BTreeMap<&'a str, &'a Span>) {
    let found: Vec<_> = all.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "{name}: {found:?}");
    let whole = found[0];
    let mut parts = BTreeMap::new();
    for part in all.iter().filter(|span| span.parent_span_id == whole.span_id) {
        assert_eq!((&part.trace_id, part.kind()), (&whole.trace_id, SpanKind::Internal));
        let (from, to) = (part.start_time_unix_nano, part.end_time_unix_nano);
        assert!(whole.start_time_unix_nano <= from && from <= to, "{part:?} in {whole:?}");
        assert!(to <= whole.end_time_unix_nano, "{part:?} in {whole:?}");
        parts.insert(part.name.as_str(), part);
    }
    (whole, parts)
}

pub(crate) fn hex(id: &[u8]) -> String {
    id.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn told(trace: &str, flags: &str) -> String {
    format!("00-{trace}-{SPAN}-{flags}")
}

/// A message that belongs to a trace.
fn traced(payload: &str, parent: &str) -> Publish {
    let properties = vec![(TraceParent::NAME.to_owned(), parent.to_owned())];
    let message = publish("plant/a/vibration", payload, QoS::AtLeastOnce);
    Publish { user_properties: properties, ..message }
}

/// A client that hears the alarms.
async fn client(broker: &Mosquitto) -> Client {
    let config = config(&format!("mqtt://127.0.0.1:{}", broker.port()), Version::V5);
    Client::up("client", &config, &[("plant/+/alarm", QoS::AtLeastOnce)]).await
}

/// The next alarm: its JSON, and which trace it says it belongs to.
async fn alarm(client: &mut Client) -> (serde_json::Value, Option<String>) {
    let message = client.next().await;
    message.ack.ack();
    (serde_json::from_slice(&message.payload).expect("json"), message.traceparent)
}

async fn start(broker: &Mosquitto, collector: &Cloud, more: &[&str]) -> App {
    let to = to(collector);
    let set: Vec<_> = to.iter().map(String::as_str).chain(more.iter().copied()).collect();
    site::start(site::BEARING, broker.port(), &set).await
}

/// Waits until the spans are so.
async fn until(app: &App, met: impl Fn(&TraceStatus) -> bool) -> TraceStatus {
    let wait = async {
        loop {
            let status = app.traces().expect("it traces");
            if met(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within("the spans", wait).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_a_span_of_its_trace_and_its_decision_belongs_to_that() {
    let (broker, collector) = (Mosquitto::start(), Cloud::start(|_| TAKEN).await);
    let before = SystemClock.wall().as_nanosecond();
    let app = start(&broker, &collector, &[]).await;
    let mut client = client(&broker).await;
    let window = site::window("outer_race", 1);
    client.link.publish(traced(&window, &told(TRACE, "01"))).await.expect("published");
    let (decision, handed_on) = alarm(&mut client).await;
    within("the end", app.drain()).await;
    let after = SystemClock.wall().as_nanosecond();

    let all = spans(&collector);
    let (whole, parts) = one(&all, "bearing process");
    assert_eq!((hex(&whole.trace_id), hex(&whole.parent_span_id)), (TRACE.into(), SPAN.into()));
    assert_eq!(handed_on, Some(format!("00-{TRACE}-{}-01", hex(&whole.span_id))));
    assert_eq!((whole.kind(), &whole.status), (SpanKind::Consumer, &None));
    let names: Vec<_> = parts.keys().copied().collect();
    assert_eq!(names, ["decode", "inference", "preprocess", "queue", "rules", "wait"]);
    assert_eq!(all.len(), 7);
    let ids: BTreeSet<_> = all.iter().map(|span| &span.span_id).collect();
    assert_eq!(ids.len(), 7);
    let (from, to) = (whole.start_time_unix_nano, whole.end_time_unix_nano);
    assert!(before <= from.into() && i128::from(to) <= after, "{before} {from} {to} {after}");
    let order = ["queue", "decode", "preprocess", "wait", "inference", "rules"];
    let starts = order.map(|name| parts[name].start_time_unix_nano);
    assert!(starts.is_sorted(), "{starts:?}");
    let of = |key| attribute(&whole.attributes, key);
    for (key, value) in [
        ("messaging.system", "mqtt"),
        ("messaging.operation.type", "process"),
        ("messaging.destination.name", "plant/a/vibration"),
        ("eir.pipeline", "bearing"),
        ("eir.stream", "a"),
        ("eir.model", "bearing"),
        ("eir.version", "1"),
    ] {
        assert_eq!(of(key), value, "{key}");
    }
    assert!(["ort", "tract"].contains(&of("eir.engine").as_str()), "{}", of("eir.engine"));
    let [event] = &whole.events[..] else { panic!("{whole:?}") };
    assert_eq!(
        (event.name.as_str(), attribute(&event.attributes, "eir.rule")),
        ("decision", "fault".into())
    );
    assert_eq!(attribute(&event.attributes, "eir.decision"), decision["id"]);
    client.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_that_a_trace_is_not_recorded_is_heard() {
    let (broker, collector) = (Mosquitto::start(), Cloud::start(|_| TAKEN).await);
    let app = start(&broker, &collector, &["traces.ratio=0.0"]).await;
    let mut client = client(&broker).await;
    let window = site::window("outer_race", 1);
    let (quiet, loud) = (told(TRACE, "00"), told(&TRACE.replace('0', "1"), "01"));
    for (parent, is_traced, handed_on) in [
        (quiet.as_str(), false, Some(quiet.as_str())),
        // What is no traceparent is as if nothing was said, and of those none is traced.
        ("00-nonsense", false, None),
        (&loud, true, Some(&loud)),
    ] {
        client.link.publish(traced(&window, parent)).await.expect("published");
        let (_, found) = alarm(&mut client).await;
        if is_traced {
            let of = |told: &str| told.get(..36).map(str::to_owned);
            assert_eq!(found.as_deref().and_then(of), handed_on.and_then(of));
            assert_ne!(found.as_deref(), handed_on);
        } else {
            assert_eq!(found.as_deref(), handed_on);
        }
    }
    within("the end", app.drain()).await;
    let all = spans(&collector);
    assert_eq!(hex(&one(&all, "bearing process").0.trace_id), TRACE.replace('0', "1"));
    assert_eq!(all.len(), 7);
    client.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_a_trace_begins_one_and_what_fails_says_why() {
    let (broker, collector) = (Mosquitto::start(), Cloud::start(|_| TAKEN).await);
    let app = start(&broker, &collector, &[]).await;
    let mut client = client(&broker).await;
    client.publish("plant/a/vibration", "this is no json", QoS::AtLeastOnce).await;
    client.publish("plant/a/vibration", &site::window("outer_race", 1), QoS::AtLeastOnce).await;
    let (_, handed_on) = alarm(&mut client).await;
    let handed_on: TraceParent = handed_on.expect("a trace").parse().expect("a traceparent");
    within("the end", app.drain()).await;
    let (failed, good): (Vec<_>, Vec<_>) =
        spans(&collector).into_iter().partition(|span| span.trace_id != handed_on.trace_id());
    let (good, _) = one(&good, "bearing process");
    assert_eq!((&good.span_id[..], good.parent_span_id.len()), (&handed_on.span_id()[..], 0));
    let (failed, parts) = one(&failed, "bearing process");
    assert_eq!(parts.keys().copied().collect::<Vec<_>>(), ["decode", "queue"]);
    let status = failed.status.clone().expect("a status");
    assert_eq!(status.code(), StatusCode::Error);
    assert!(!status.message.is_empty());
    assert_eq!(attribute(&failed.attributes, "error.type"), "syntax");
    client.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_holds_nothing_up_and_is_found_again() {
    const BAD: usize = 600;
    let (broker, collector) = (Mosquitto::start(), Cloud::start(|_| Answer::Reset).await);
    let more = ["traces.queue=512", "api.listen=127.0.0.1:0"];
    let mut app = start(&broker, &collector, &more).await;
    let address = app.api_address().expect("it listens");
    let mut client = client(&broker).await;
    for _ in 0..BAD {
        client.publish("plant/a/vibration", "this is no json", QoS::AtLeastOnce).await;
    }
    client.publish("plant/a/vibration", &site::window("outer_race", 1), QoS::AtLeastOnce).await;
    alarm(&mut client).await;
    until(&app, |status| status.dropped > 0 && status.problem.is_some()).await;
    app.tick();
    let detail = crate::api::get(address, "/v2/health/detail").await.json();
    let parts = detail["parts"].as_array().expect("parts");
    let part = parts.iter().find(|part| part["kind"] == "traces").expect("a part");
    assert_eq!((&part["state"], &detail["ready"]), (&"degraded".into(), &true.into()));
    let page = crate::api::get(address, "/metrics").await.body;
    assert!(page.contains("\neir_traces_up 0\n"), "{page}");

    collector.change(|_| TAKEN);
    // Three of each bad message, and seven of the good one.
    let all = 3 * BAD as u64 + 7;
    let status = until(&app, |status| status.sent + status.dropped == all).await;
    assert!(status.sent > 0 && status.problem.is_none(), "{status:?}");
    app.tick();
    let page = crate::api::get(address, "/metrics").await.body;
    for (outcome, count) in [("sent", status.sent), ("dropped", status.dropped)] {
        let line = format!("eir_trace_spans_total{{outcome=\"{outcome}\"}} {count}");
        assert!(page.lines().any(|found| found == line), "no {line} in\n{page}");
    }
    within("the end", app.drain()).await;
    client.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_collector_refuses_is_counted_and_not_sent_again() {
    let two = Answer::Bytes(
        200,
        "Content-Type: application/x-protobuf\r\n".to_owned(),
        b"\n\x06\x08\x02\x12\x02no".to_vec(),
    );
    let (broker, collector) = (Mosquitto::start(), Cloud::start(move |_| two.clone()).await);
    let app = start(&broker, &collector, &[]).await;
    let client = client(&broker).await;
    client.publish("plant/a/vibration", "this is no json", QoS::AtLeastOnce).await;
    let status = until(&app, |status| status.sent + status.dropped == 3).await;
    assert_eq!((status.sent, status.dropped), (1, 2));
    assert!(status.problem.expect("a problem").contains("rejected 2: no"));
    collector.change(|_| Answer::Status(400, "", "no"));
    client.publish("plant/a/vibration", "this is no json", QoS::AtLeastOnce).await;
    until(&app, |status| status.dropped == 5).await;
    within("the end", app.drain()).await;
    assert_eq!(collector.asked().len(), 2);
    client.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_says_nothing_does_not_hold_up_the_end() {
    let (broker, collector) = (Mosquitto::start(), Cloud::start(|_| Answer::Silence).await);
    let app = start(&broker, &collector, &["traces.timeout=1d"]).await;
    let client = client(&broker).await;
    client.publish("plant/a/vibration", "this is no json", QoS::AtLeastOnce).await;
    collector.requests(1).await;
    within("the end", app.drain()).await;
    client.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_go_over_tls_with_a_token() {
    let broker = Mosquitto::start();
    let (collector, ca) = Cloud::start_tls(|_| TAKEN).await;
    let directory = tempfile::tempdir().expect("tempdir");
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        mosquitto::write(&path, text);
        path
    };
    let set = [
        format!("traces.url=otlp+{}", collector.tls_url()),
        format!("traces.ca_file={}", file("ca.pem", &ca).display()),
        format!("traces.token_file={}", file("token", "s3cret\n").display()),
    ];
    let set: Vec<_> = set.iter().map(String::as_str).collect();
    let app = site::start(site::BEARING, broker.port(), &set).await;
    let client = client(&broker).await;
    client.publish("plant/a/vibration", "this is no json", QoS::AtLeastOnce).await;
    until(&app, |status| status.sent == 3).await;
    let asked = collector.asked().remove(0);
    assert!(asked.raw.to_lowercase().contains("authorization: bearer s3cret\r\n"), "{}", asked.raw);
    assert_eq!(spans(&collector).len(), 3);
    within("the end", app.drain()).await;
    client.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_begins_and_ends_it() {
    let broker = Mosquitto::start();
    let (first, second) = (Cloud::start(|_| TAKEN).await, Cloud::start(|_| TAKEN).await);
    let mut app = site::start(site::BEARING, broker.port(), &[]).await;
    let mut client = client(&broker).await;
    let window = site::window("outer_race", 1);
    assert_eq!(app.traces(), None);
    for collector in [Some(&first), Some(&second), None] {
        let set = collector.map(to).map(Vec::from).unwrap_or_default();
        let set: Vec<_> = set.iter().map(String::as_str).collect();
        let config = site::parse(site::BEARING, broker.port(), &set).expect("config");
        app.reload(config).await.expect("reload");
        client.publish("plant/a/vibration", &window, QoS::AtLeastOnce).await;
        let (_, handed_on) = alarm(&mut client).await;
        assert_eq!(
            (handed_on.is_some(), app.traces().is_some()),
            (collector.is_some(), collector.is_some())
        );
        if collector.is_some() {
            until(&app, |status| status.sent == 7).await;
        }
    }
    within("the end", app.drain()).await;
    assert_eq!((spans(&first).len(), spans(&second).len()), (7, 7));
    client.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_model_is_asked_within_the_trace() {
    let (broker, collector) = (Mosquitto::start(), Cloud::start(|_| TAKEN).await);
    let remote = Cloud::start(|_| Answer::Status(500, "", "")).await;
    let escalate = format!(
        "{}\n[pipeline.bearing.escalate]\nuncertain = [0.0, 1.0]\nurl = \"{}\"\ndeadline = \"20s\"\n",
        site::BEARING,
        remote.url()
    );
    let to = to(&collector);
    let set: Vec<_> = to.iter().map(String::as_str).collect();
    let app = site::start(&escalate, broker.port(), &set).await;
    let client = client(&broker).await;
    let window = site::window("outer_race", 1);
    client.link.publish(traced(&window, &told(TRACE, "01"))).await.expect("published");
    remote.requests(1).await;
    within("the end", app.drain()).await;
    let all = spans(&collector);
    let own = hex(&one(&all, "bearing process").0.span_id);
    let header = format!("traceparent: 00-{TRACE}-{own}-01\r\n");
    let asked = remote.asked().remove(0).head;
    assert!(asked.contains(&header), "{header} in {asked}");
    client.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_a_span_of_its_trace() {
    let (broker, collector) = (Mosquitto::start(), Cloud::start(|_| TAKEN).await);
    let app = start(&broker, &collector, &["api.listen=127.0.0.1:0", "traces.ratio=0.0"]).await;
    let address = app.api_address().expect("it listens");
    let data = vec![0.0; 3 * 256];
    let input = serde_json::json!({ "name": "input", "shape": [1, 3, 256], "datatype": "FP32", "data": data });
    let body = serde_json::json!({ "inputs": [input] }).to_string();
    let ask = async |path: &str, headers: &str| {
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: eir\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
        );
        crate::api::ask(address, &request).await.status
    };
    let header = |flags: &str| format!("traceparent: {}\r\n", told(TRACE, flags));
    assert_eq!(ask("/v2/models/bearing/infer", "").await, 200);
    assert_eq!(ask("/v2/models/bearing/infer", &header("00")).await, 200);
    assert_eq!(ask("/v2/models/bearing/versions/1/infer", &header("01")).await, 200);
    assert_eq!(ask("/v2/models/nothing/predict", &header("01")).await, 404);
    within("the end", app.drain()).await;

    let all = spans(&collector);
    let (whole, parts) = one(&all, "infer bearing");
    assert_eq!((hex(&whole.trace_id), hex(&whole.parent_span_id)), (TRACE.into(), SPAN.into()));
    assert_eq!((whole.kind(), &whole.status), (SpanKind::Server, &None));
    assert_eq!(parts.keys().copied().collect::<Vec<_>>(), ["inference", "wait"]);
    for (key, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/v2/models/{model}/versions/{version}/infer"),
        ("url.path", "/v2/models/bearing/versions/1/infer"),
        ("http.response.status_code", "200"),
        ("eir.model", "bearing"),
        ("eir.version", "1"),
    ] {
        assert_eq!(attribute(&whole.attributes, key), value, "{key}");
    }
    let (absent, parts) = one(&all, "predict nothing");
    assert_eq!(attribute(&absent.attributes, "http.response.status_code"), "404");
    assert_eq!((&absent.status, parts.len(), all.len()), (&None, 0, 4));
}
