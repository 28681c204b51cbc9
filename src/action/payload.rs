//! What an action sends.

use std::sync::Arc;

use super::Failure;
use crate::event::Decision;

/// The largest body that an action sends, in bytes.
const MAX_PAYLOAD: usize = 256 << 10;

/// The body of a message: the decision itself unless the configuration has a template.
#[derive(Debug, Clone)]
pub(super) enum Payload {
    /// As JSON, which is made only when it is sent, away from the pipeline's thread.
    Decision(Arc<Decision>),
    /// As rendered.
    Text(String),
}

impl Payload {
    pub(super) fn bytes(&self) -> Result<Vec<u8>, Failure> {
        let bytes = match self {
            Self::Text(text) => text.as_bytes().to_vec(),
            Self::Decision(decision) => serde_json::to_vec(&**decision)
                .map_err(|error| Failure::Refused(format!("no JSON: {error}")))?,
        };
        if bytes.len() > MAX_PAYLOAD {
            let problem = format!("{} bytes; at most {MAX_PAYLOAD} are sent", bytes.len());
            return Err(Failure::Refused(problem));
        }
        Ok(bytes)
    }
}
