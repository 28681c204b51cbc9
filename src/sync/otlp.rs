//! The uplink over OTLP/HTTP, the protocol of OpenTelemetry: an OpenTelemetry Collector, or whatever else takes
//! logs and metrics, is a cloud. Protobuf and gzip, after <https://opentelemetry.io/docs/specs/otlp/>.
//!
//! What a record becomes:
//!
//! | record | becomes |
//! |---|---|
//! | `decision`, `sample`, `update`, `gap` | a log record |
//! | `health` | a log record, and gauges |
//! | `summary` | metrics |
//! | anything that cannot be read as what it should be | a log record with all of it |
//!
//! **Resource**: `service.name` = `eir`, `service.version`; `service.instance.id` and `host.name` = the device.
//!
//! **Log records**: time = `at`; event name = `eir.` and the kind; severity INFO, of a gap WARN; body = the
//! record's body, in which a picture stays base64. The attributes `eir.id`, `eir.origin`, `eir.epoch`, `eir.seq`
//! and `eir.kind` tell duplicates and what is missing.
//!
//! **Metrics** of a `summary`, all with `pipeline`, and `model`, `version` and `engine` where there are some:
//!
//! - sums of the window (delta, monotonic): `eir.messages`, `eir.bytes`, `eir.dropped` by `reason`, `eir.errors`
//!   by `kind`, `eir.inferences`, `eir.decisions` by `rule`, `eir.classes` by `class`;
//! - summary points: `eir.score`, and `eir.latency` in seconds; the quantiles 0 and 1 are the extremes. The sketch
//!   has no place in OTLP and stays here;
//! - a gauge: `eir.drift.psi` by `of` = `score` or `input`, and `channel`.
//!
//! What a group of streams had of it is in metrics of its own, `eir.group.inferences` and so on, with the attribute
//! `group`: it is a part of the whole and must not be added to it. A window goes from `from` to `to`; its
//! first part, where eir ended within it, goes to that end.
//!
//! **Gauges** of a `health` record: `eir.temperature`, `eir.load` by `minutes`, `eir.memory.total`, `.available`
//! and `.resident`, `eir.disk.total` and `.available`, `eir.uptime`.
//!
//! A batch is delivered when both requests are accepted, or the one that has something in it. Where the logs are
//! accepted and the metrics are not, the verdict on the metrics is that on the batch, and all of it is sent again:
//! log records that come twice have the same `eir.id`, points the same time. A partial success is a no: to say
//! which record is meant it would have to be alone, and the search goes on until it is.

mod export;
mod health;
mod log;
mod message;
mod metric;
mod spans;
mod summary;
mod value;

use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use jiff::Timestamp;
use prost::Message as _;

pub(super) use self::spans::SpanUplink;

use self::message::{ExportResponse, PartialSuccess, Status};
use super::courier::{Answer, Courier};
use super::verdict::printable;
use super::{Batch, CloudConfig, Encoding, Uplink, Verdict};
use crate::net::Url;

const PROTOBUF: &str = "application/x-protobuf";

/// Posts batches as logs and metrics.
#[derive(Debug)]
pub struct OtlpUplink {
    courier: Courier,
    logs: Url,
    metrics: Url,
}

impl OtlpUplink {
    /// An uplink as configured; the files are read when they are needed. An error says what is wrong and
    /// what would be right; [`CloudConfig::check`] finds it beforehand.
    pub fn new(config: &CloudConfig) -> Result<Self, String> {
        let url = |signal| {
            let url = below(config.address(), signal);
            Url::parse(&url, config.insecure).map_err(|error| format!("url: {error}"))
        };
        let (logs, metrics) = (url("v1/logs")?, url("v1/metrics")?);
        Ok(Self { courier: Courier::new(config, &logs)?, logs, metrics })
    }

    async fn post(&self, url: &Url, signal: &str, body: Bytes) -> Verdict {
        let peer = format!("{url} ({signal})");
        match post(&self.courier, url, &peer, body).await {
            Ok(None) => Verdict::Delivered,
            Ok(Some(partial)) => Verdict::Rejected { why: no(&peer, &partial) },
            Err(verdict) => verdict,
        }
    }
}

/// Asks once. A yes may have a no to some in it.
async fn post(
    courier: &Courier,
    url: &Url,
    peer: &str,
    body: Bytes,
) -> Result<Option<PartialSuccess>, Verdict> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    let answer = in_words(courier.request(Method::POST, url, headers, body).await?);
    match (courier.judge(peer, "", &answer), answer) {
        (Verdict::Delivered, Ok(reply)) => believe(peer, reply.body.as_deref().ok()),
        (verdict, _) => Err(verdict),
    }
}

impl Uplink for OtlpUplink {
    const ENCODING: Encoding = Encoding::Plain;

    async fn send(&self, batch: &Batch) -> (Verdict, usize) {
        let lines = batch.body().clone();
        let packed = tokio::task::spawn_blocking(move || export::pack(&lines)).await;
        let [logs, metrics] = match packed.map_err(std::io::Error::other).flatten() {
            Ok(packed) => packed,
            Err(error) => {
                let why = format!("failed to pack records: {error}");
                return (Verdict::Wait { why, after: None }, 0);
            }
        };
        let mut sent = 0;
        let requests = [(&self.logs, "logs", logs), (&self.metrics, "metrics", metrics)];
        for (url, signal, body) in requests {
            let Some(body) = body else { continue };
            sent += body.len();
            let verdict = self.post(url, signal, body.into()).await;
            if verdict != Verdict::Delivered {
                return (verdict, sent);
            }
        }
        (Verdict::Delivered, sent)
    }
}

/// The address of a signal: its path below that of `address`, whose query stays where it belongs.
fn below(address: &str, signal: &str) -> String {
    let address = address.split('#').next().unwrap_or_default();
    let (path, query) = address.split_once('?').map_or((address, None), |(p, q)| (p, Some(q)));
    let path = path.trim_end_matches('/');
    query.map_or_else(|| format!("{path}/{signal}"), |query| format!("{path}/{signal}?{query}"))
}

/// What is wrong is told by a message of protobuf; of it, what a person can read.
fn in_words(answer: Answer) -> Answer {
    let mut reply = answer?;
    let is_protobuf = reply.headers.get(CONTENT_TYPE).is_some_and(|kind| kind == PROTOBUF);
    if !reply.status.is_success()
        && is_protobuf
        && let Ok(body) = &reply.body
        && let Ok(status) = Status::decode(&body[..])
    {
        reply.body = Ok(status.message.into());
    }
    Ok(reply)
}

/// A yes is one of the protocol: a message, which may be empty, or have a no to some in it.
fn believe(peer: &str, body: Option<&[u8]>) -> Result<Option<PartialSuccess>, Verdict> {
    let Some(Ok(response)) = body.map(ExportResponse::decode) else {
        let why = format!("{peer} answered with success, but not as OTLP does; see url");
        return Err(Verdict::Wait { why, after: None });
    };
    Ok(response.partial_success.filter(|partial| partial.rejected > 0))
}

/// That no in words.
fn no(peer: &str, partial: &PartialSuccess) -> String {
    let words = printable(partial.error_message.as_bytes());
    format!("{peer} rejected {}: {words}", partial.rejected)
}

/// Since 1970; what was before is 0.
fn nanoseconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_nanosecond()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Reply;

    #[test]
    fn a_signal_has_its_path_below_the_address() {
        for (address, wanted) in [
            ("https://c.example:4318", "https://c.example:4318/v1/logs"),
            ("https://c.example/", "https://c.example/v1/logs"),
            ("https://c.example/otlp/#x", "https://c.example/otlp/v1/logs"),
            ("https://c.example/otlp?tenant=a/b", "https://c.example/otlp/v1/logs?tenant=a/b"),
        ] {
            assert_eq!(below(address, "v1/logs"), wanted);
            assert!(Url::parse(wanted, false).is_ok(), "{wanted}");
        }
    }

    #[test]
    fn a_yes_is_one_of_the_protocol() {
        let word = |body: &[u8]| believe("c:4318 (logs)", Some(body));
        assert_eq!(word(b""), Ok(None));
        // A partial success of nothing rejected is a word of warning.
        assert_eq!(word(b"\x0a\x05\x12\x03old"), Ok(None));
        assert_eq!(word(b"\x0a\x00"), Ok(None));
        let rejected = word(b"\x0a\x06\x08\x02\x12\x02no").expect("a yes").expect("and a no");
        assert_eq!(no("c:4318 (logs)", &rejected), "c:4318 (logs) rejected 2: no");
        for body in [&b"{}"[..], b"{\"partialSuccess\":{}}", b"ok", b"success", b"\x0a\xff"] {
            assert!(matches!(word(body), Err(Verdict::Wait { .. })), "{body:?}");
        }
        assert!(matches!(believe("c:4318 (logs)", None), Err(Verdict::Wait { .. })));
    }

    #[test]
    fn a_no_is_shown_as_a_person_reads_it() {
        let status = Status { message: "no such tenant".to_owned() }.encode_to_vec();
        let with = |kind: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            let (status_code, body) = (hyper::StatusCode::BAD_REQUEST, Ok(status.clone().into()));
            let reply = Reply { status: status_code, retry_after: None, headers, body };
            in_words(Ok(reply)).expect("an answer").body.expect("a body")
        };
        assert_eq!(&with(PROTOBUF)[..], b"no such tenant");
        assert_eq!(with("text/plain"), status);
    }
}
