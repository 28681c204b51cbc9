//! Spans as OTLP has them.

use std::io;

use hyper::body::Bytes;

use super::export::{compress, resource, scope};
use super::message::{
    ExportTraces, KeyValue, ResourceSpans, ScopeSpans, Span, SpanEvent, SpanKind, SpanStatus,
    StatusCode,
};
use super::value::attribute;
use super::{below, no, post};
use crate::net::Url;
use crate::sync::courier::Courier;
use crate::sync::{CloudConfig, Verdict};
use crate::trace;

/// The flags of a `traceparent` are the lowest eight bits; of a span that is sent the first one is set.
const SAMPLED: u32 = 1;

/// Posts spans.
#[derive(Debug)]
pub(in crate::sync) struct SpanUplink {
    courier: Courier,
    url: Url,
    peer: String,
    device: String,
}

impl SpanUplink {
    /// To the address of that configuration, which was checked.
    pub(in crate::sync) fn new(config: &CloudConfig, device: &str) -> Result<Self, String> {
        let url = Url::parse(&below(config.address(), "v1/traces"), config.insecure);
        let url = url.map_err(|error| format!("url: {error}"))?;
        let courier = Courier::new(config, &url)?.believing();
        Ok(Self { courier, peer: format!("{url} (traces)"), url, device: device.to_owned() })
    }

    /// What is sent of these.
    pub(in crate::sync) fn pack(&self, spans: Vec<trace::Span>) -> io::Result<Bytes> {
        compress(&export(&self.device, spans)).map(Bytes::from)
    }

    /// Asks once; how many of them the receiver rejected, which need not be sent again, and why.
    pub(in crate::sync) async fn send(
        &self,
        packed: Bytes,
    ) -> Result<Option<(usize, String)>, Verdict> {
        let partial = post(&self.courier, &self.url, &self.peer, packed).await?;
        Ok(partial.map(|partial| {
            (usize::try_from(partial.rejected).unwrap_or(usize::MAX), no(&self.peer, &partial))
        }))
    }
}

fn export(device: &str, spans: Vec<trace::Span>) -> ExportTraces {
    let spans = spans.into_iter().map(span).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope()), spans }];
    let resource = Some(resource(Some(device)));
    ExportTraces { resource_spans: vec![ResourceSpans { resource, scope_spans }] }
}

fn span(span: trace::Span) -> Span {
    let trace::Span { name, kind, own, parent, from, to, attributes, events, error } = span;
    let kind = match kind {
        trace::Kind::Internal => SpanKind::Internal,
        trace::Kind::Server => SpanKind::Server,
        trace::Kind::Consumer => SpanKind::Consumer,
    };
    let event = |event: trace::Event| SpanEvent {
        time_unix_nano: event.at,
        name: event.name.to_owned(),
        attributes: pairs(event.attributes),
    };
    Span {
        trace_id: own.trace_id().into(),
        span_id: own.span_id().into(),
        parent_span_id: parent.map(Vec::from).unwrap_or_default(),
        flags: SAMPLED,
        name: name.into_owned(),
        kind: kind.into(),
        start_time_unix_nano: from,
        end_time_unix_nano: to,
        attributes: pairs(attributes),
        events: events.into_iter().map(event).collect(),
        status: error.map(|message| SpanStatus { message, code: StatusCode::Error.into() }),
    }
}

fn pairs(attributes: Vec<(&'static str, serde_json::Value)>) -> Vec<KeyValue> {
    attributes.into_iter().map(|(key, value)| attribute(key, value)).collect()
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::trace::v1::{span::SpanKind as TheirKind, status};
    use prost::Message as _;

    use super::*;
    use crate::event::TraceParent;

    #[test]
    fn spans_are_read_with_the_messages_of_another_hand() {
        let parent = TraceParent::fresh();
        let own = parent.child();
        let told = trace::Span {
            name: "p process".into(),
            kind: trace::Kind::Consumer,
            own,
            parent: Some(parent.span_id()),
            from: 5,
            to: 7,
            attributes: vec![("eir.version", 3.into())],
            events: vec![trace::Event { name: "decision", at: 6, attributes: vec![] }],
            error: Some("no JSON".to_owned()),
        };
        let quiet = trace::Span { parent: None, error: None, ..told.clone() };
        let bytes = export("press-07", vec![told, quiet]).encode_to_vec();
        let read = ExportTraceServiceRequest::decode(&bytes[..]).expect("a message");
        let spans = &read.resource_spans[0].scope_spans[0].spans;
        let [first, second] = &spans[..] else { panic!("{spans:?}") };
        assert_eq!(
            (&first.trace_id[..], &first.span_id[..]),
            (&own.trace_id()[..], &own.span_id()[..])
        );
        assert_eq!(&first.parent_span_id[..], &parent.span_id()[..]);
        assert_eq!((first.start_time_unix_nano, first.end_time_unix_nano), (5, 7));
        assert_eq!((first.kind(), first.flags), (TheirKind::Consumer, 1));
        assert_eq!(first.attributes[0].key, "eir.version");
        assert_eq!(
            (first.events[0].name.as_str(), first.events[0].time_unix_nano),
            ("decision", 6)
        );
        let status = first.status.clone().expect("a status");
        assert_eq!(
            (status.code(), status.message.as_str()),
            (status::StatusCode::Error, "no JSON")
        );
        assert_eq!((&second.parent_span_id[..], &second.status), (&[][..], &None));
        let known = read.encode_to_vec();
        assert_eq!(known.len(), bytes.len(), "every field is where they look for it");
    }
}
