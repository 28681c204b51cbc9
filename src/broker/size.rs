//! Messages that a client has said are too large for it.

use async_trait::async_trait;
use rmqtt::hook::{Handler, HookResult, Parameter, ReturnType};
use rmqtt::types::Publish;

/// What the fixed header takes, and properties that the broker may add: topic alias, expiry, lengths.
const OVERHEAD: usize = 24;

/// Drops a message for a client to whom it is too large, as MQTT 5.0 §3.1.2.11.4 asks for. rmqtt 0.24
/// ends the client's connection instead, and the message is lost all the same.
pub(super) struct Fits;

#[async_trait]
impl Handler for Fits {
    #[expect(elided_lifetimes_in_paths, reason = "the trait elides it, and so must this")]
    async fn hook(&self, parameter: &Parameter, so_far: Option<HookResult>) -> ReturnType {
        let Parameter::MessageExpiryCheck(session, _, publish) = parameter else {
            return (true, so_far);
        };
        let Ok(client) = session.connect_info().await else { return (true, so_far) };
        let limit = client.max_packet_size().and_then(|most| usize::try_from(most.get()).ok());
        let bytes = size(publish);
        match limit {
            Some(limit) if bytes > limit => {
                let topic = format_args!("{:.200}", &*publish.topic);
                let client = &*session.id.client_id;
                tracing::warn!(
                    %client, %topic, bytes, limit,
                    "broker: a message was dropped, the client takes none so large"
                );
                (false, Some(HookResult::MessageExpiry))
            }
            _ => (true, so_far),
        }
    }
}

/// The length of its packet, up to [`OVERHEAD`] too much.
fn size(publish: &Publish) -> usize {
    let mut bytes = OVERHEAD + publish.topic.len() + publish.payload.len();
    if let Some(properties) = &publish.properties {
        let optional = |length: Option<usize>| length.map_or(0, |length| 3 + length);
        bytes += optional(properties.correlation_data.as_ref().map(bytes::Bytes::len));
        bytes += optional(properties.content_type.as_ref().map(|text| text.len()));
        bytes += optional(properties.response_topic.as_ref().map(|text| text.len()));
        bytes += properties.subscription_ids.len() * 5;
        let pair = |(key, value): &(_, _)| 5 + length(key) + length(value);
        bytes += properties.user_properties.iter().map(pair).sum::<usize>();
    }
    bytes
}

fn length(text: &impl AsRef<str>) -> usize {
    text.as_ref().len()
}
