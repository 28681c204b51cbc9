//! A collector of OpenTelemetry for a cloud. What it is sent is read with the messages of another hand.

use std::io::Read as _;

use eir::app::App;
use eir::sync::OtlpUplink;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data};
use prost::Message;

use super::*;
use crate::support::{Mosquitto, Peer, site};

/// Everything was taken.
const TAKEN: Answer = Answer::Status(200, "Content-Type: application/x-protobuf\r\n", "");

/// A partial success: one was rejected, "no".
const ONE_REJECTED: Answer =
    Answer::Status(200, "Content-Type: application/x-protobuf\r\n", "\n\x06\x08\x01\x12\x02no");

const SUMMARY: &str = r#"{"from":"2026-03-01T09:59:00Z","to":"2026-03-01T10:00:00Z","seconds":60.0,
    "late":false,"pipeline":"bearing","model":"bearing","version":1,"engine":"ort","messages":5,
    "bytes":50,"dropped":{},"errors":{"syntax":1},"inferences":4,"decisions":{"fault":1},
    "classes":{"healthy":4},"score":null,"latency":{"count":4,"min":0.001,"max":0.003,"mean":0.002,
    "p05":0.001,"p50":0.002,"p95":0.003,"p99":0.003,"sketch":"AA=="},"drift":null}"#;

impl Device {
    /// Starts to send logs and metrics.
    fn tell(&self, config: &CloudConfig) -> Sync {
        let uplink = OtlpUplink::new(config).expect("an uplink");
        Sync::start(config, uplink, self.outbox.reader(name("main")))
    }
}

fn url(cloud: &Cloud) -> String {
    format!("otlp+{}", cloud.url())
}

fn is_logs(asked: &Asked) -> bool {
    let head = &asked.head;
    assert!(head.contains("content-type: application/x-protobuf\r\n"), "{head}");
    assert!(head.contains("content-encoding: gzip\r\n"), "{head}");
    let is_logs = head.starts_with("post /v1/eir/v1/logs http/1.1\r\n");
    assert!(is_logs || head.starts_with("post /v1/eir/v1/metrics http/1.1\r\n"), "{head}");
    is_logs
}

fn decoded<T: Message + Default>(asked: &Asked) -> T {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(&asked.body[..]).read_to_end(&mut bytes).expect("gzip");
    T::decode(&bytes[..]).expect("a message")
}

/// The log records of a request; none where it is one of metrics.
fn logs(asked: &Asked) -> Vec<LogRecord> {
    if !is_logs(asked) {
        return Vec::new();
    }
    let request: ExportLogsServiceRequest = decoded(asked);
    let scopes = request.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
    scopes.flat_map(|scope| scope.log_records).collect()
}

/// The metrics of a request; none where it is one of logs.
fn metrics(asked: &Asked) -> Vec<Metric> {
    if is_logs(asked) {
        return Vec::new();
    }
    let request: ExportMetricsServiceRequest = decoded(asked);
    let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
    scopes.flat_map(|scope| scope.metrics).collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(int)) => int.to_string(),
        other => format!("{other:?}"),
    }
}

fn attribute(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|pair| pair.key == key);
    found.map_or_else(String::new, |pair| text(pair.value.clone()))
}

/// The word that `Device::put` made a record of is this.
fn says(asked: &Asked, word: &str) -> bool {
    logs(asked).into_iter().any(|log| text(log.body) == word)
}

/// The ids of the log records that a request of which `taken` says so brought.
fn ids(cloud: &Cloud, taken: impl Fn(&Asked) -> bool) -> BTreeSet<String> {
    let asked = cloud.asked();
    let logs = asked.iter().filter(|asked| taken(asked)).flat_map(logs);
    logs.map(|log| attribute(&log.attributes, "eir.id")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn otlp_is_logs_and_metrics() {
    let device = Device::new(&["main"]);
    let cloud = Cloud::start(|_| TAKEN).await;
    let decision = device.take(Kind::Decision, r#"{"rule":"fault","score":0.5,"n":3}"#).await;
    device.take(Kind::Summary, SUMMARY).await;
    device.take(Kind::Health, r#"{"uptime_seconds":5.0,"load":[0.5,1,2]}"#).await;
    device.take(Kind::Gap, r#"{"reason":"full","count":2}"#).await;
    let sync = device.tell(&config(&url(&cloud)));
    device.holds(0).await;

    let asked = cloud.asked();
    let found: Vec<_> = asked.iter().flat_map(logs).collect();
    let names: Vec<_> = found.iter().map(|log| log.event_name.as_str()).collect();
    assert_eq!(names, ["eir.decision", "eir.health", "eir.gap"]);
    let first = &found[0];
    assert_eq!((first.time_unix_nano, first.severity_number), (1_772_359_200_000_000_000, 9));
    assert_eq!((found[2].severity_number, found[2].severity_text.as_str()), (13, "WARN"));
    let of = |key| attribute(&first.attributes, key);
    assert_eq!(
        (of("eir.id"), of("eir.seq"), of("eir.kind")),
        (decision, "1".into(), "decision".into())
    );
    assert_eq!(of("eir.origin"), "12:bearing");
    let Some(Value::KvlistValue(body)) = first.body.clone().and_then(|body| body.value) else {
        panic!("{first:?}");
    };
    assert_eq!(
        (attribute(&body.values, "rule"), attribute(&body.values, "n")),
        ("fault".into(), "3".into())
    );

    let found: Vec<_> = asked.iter().flat_map(metrics).collect();
    let names: BTreeSet<_> = found.iter().map(|metric| metric.name.as_str()).collect();
    let wanted = [
        "eir.bytes",
        "eir.classes",
        "eir.decisions",
        "eir.errors",
        "eir.inferences",
        "eir.latency",
        "eir.load",
        "eir.messages",
        "eir.uptime",
    ];
    assert_eq!(names, wanted.into());
    let data = |name| found.iter().find(|metric| metric.name == name).and_then(|m| m.data.clone());
    let Some(Data::Sum(errors)) = data("eir.errors") else { panic!("{found:?}") };
    let point = &errors.data_points[0];
    assert_eq!((errors.aggregation_temporality, errors.is_monotonic), (1, true));
    assert_eq!(attribute(&point.attributes, "kind"), "syntax");
    assert_eq!(attribute(&point.attributes, "pipeline"), "bearing");
    assert_eq!(point.time_unix_nano - point.start_time_unix_nano, 60_000_000_000);
    let Some(Data::Summary(latency)) = data("eir.latency") else { panic!("{found:?}") };
    assert_eq!(
        (latency.data_points[0].count, latency.data_points[0].quantile_values[2].value),
        (4, 0.002)
    );

    let request: ExportLogsServiceRequest =
        decoded(asked.iter().find(|a| is_logs(a)).expect("logs"));
    let resource = request.resource_logs[0].resource.clone().expect("a resource").attributes;
    assert_eq!(attribute(&resource, "service.name"), "eir");
    assert_eq!(attribute(&resource, "host.name"), "press-07");

    // What is told of the size is what went over the wire.
    let status = until(&sync, "all", |status| status.records == 4).await;
    let bytes: usize = asked.iter().map(|asked| asked.body.len()).sum();
    assert_eq!((status.sent_bytes, status.problem), (bytes as u64, None));
    sync.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_otlp_receiver_that_rejects_one_record_keeps_the_others() {
    let device = Device::new(&["main"]);
    let answer = |asked: &Asked| if says(asked, "poison") { ONE_REJECTED } else { TAKEN };
    let cloud = Cloud::start(answer).await;
    device.put(["poison".to_owned()]).await;
    let sync = device.tell(&config(&url(&cloud)));
    // Alone it waits for another to be accepted.
    cloud.requests(4).await;
    assert_eq!((device.stored(), device.outbox.status().refused), (1, 0));
    let status = until(&sync, "a problem", |status| status.problem.is_some()).await;
    assert!(status.problem.expect("a problem").contains("(logs) rejected 1: no"));
    let sent = device.some(30).await;
    device.holds(0).await;
    assert_eq!(device.outbox.status().refused, 1);
    assert_eq!(ids(&cloud, |asked| !says(asked, "poison")), sent);
    sync.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_otlp_yes_that_is_none_takes_nothing_out_of_the_outbox() {
    const PROTOBUF: &str = "Content-Type: application/x-protobuf\r\n";
    let strange = [
        Answer::Status(200, "Content-Type: text/html\r\n", "<html>Log in</html>"),
        Answer::Status(200, "", "<!doctype html><title>Log in</title>"),
        Answer::Status(200, "Content-Type: application/json\r\n", "{}"),
        Answer::Status(200, PROTOBUF, "certainly"),
        Answer::Status(404, PROTOBUF, ""),
        Answer::Status(503, PROTOBUF, ""),
        Answer::Endless,
    ];
    let device = Device::new(&["main"]);
    let sent = device.some(10).await;
    device.take(Kind::Summary, SUMMARY).await;
    let (count, busy) = (strange.len(), Answer::Status(503, "", ""));
    let mut left = strange.into_iter();
    let cloud = Cloud::start(move |_| left.next().unwrap_or(busy.clone())).await;
    let sync = device.tell(&config(&url(&cloud)));
    cloud.requests(count + 1).await;
    assert_eq!((device.stored(), device.outbox.status().refused), (11, 0));
    // The logs are taken, the metrics are not: all of it waits, and comes again.
    cloud.change(|asked| if is_logs(asked) { TAKEN } else { Answer::Status(404, "", "") });
    let no_metrics = |status: &CloudStatus| {
        status.problem.as_ref().is_some_and(|why| why.contains("(metrics) answered 404"))
    };
    let status = until(&sync, "a person", no_metrics).await;
    assert!(status.needs_a_person && device.stored() == 11, "{status:?}");
    cloud.change(|_| TAKEN);
    device.holds(0).await;
    assert_eq!(ids(&cloud, |_| true), sent);
    sync.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_an_otlp_receiver_is_halved() {
    let device = Device::new(&["main"]);
    let large = |asked: &Asked| logs(asked).len() > 7;
    let answer =
        move |asked: &Asked| if large(asked) { Answer::Status(413, "", "") } else { TAKEN };
    let cloud = Cloud::start(answer).await;
    let sent = device.some(100).await;
    let sync = device.tell(&config(&url(&cloud)));
    device.holds(0).await;
    assert_eq!(ids(&cloud, |asked| !large(asked)), sent);
    assert_eq!(device.outbox.status().refused, 0);
    sync.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_tells_an_otlp_receiver_of_its_decisions_and_its_windows() {
    let broker = Mosquitto::start();
    let directory = tempfile::tempdir().expect("tempdir");
    let cloud = Cloud::start(|_| TAKEN).await;
    let path = format!("outbox.path={}", directory.path().join("outbox.db").display());
    let url = format!("cloud.main.url={}", url(&cloud));
    let set = [path.as_str(), url.as_str(), "cloud.main.max_delay=10ms"];
    let app: App = site::start(site::BEARING, broker.port(), &set).await;
    let mut peer = Peer::connect("peer", broker.port()).await;
    peer.publish("plant/a/vibration", site::window("outer_race", 1)).await;
    let decision =
        || cloud.asked().iter().flat_map(logs).find(|log| log.event_name == "eir.decision");
    crate::outbox::until("a decision", || decision().is_some()).await;
    let log = decision();
    assert_eq!(attribute(&log.expect("a decision").attributes, "eir.origin"), "1:bearing:fault");
    within("the end", app.drain()).await;
    // The window that the end cut short.
    let asked = cloud.asked();
    let found = asked.iter().flat_map(metrics).find(|metric| metric.name == "eir.decisions");
    let Some(Data::Sum(decisions)) = found.and_then(|metric| metric.data) else { panic!("none") };
    assert_eq!(attribute(&decisions.data_points[0].attributes, "rule"), "fault");
}
