//! The vocabulary: what travels from a source to an action, and nothing that does work.
//!
//! A stage knows these words and nothing of its neighbours. Data goes down the list and never up:
//! [`Envelope`] → [`Samples`] or [`Frame`] → [`Tensor`] → [`Prediction`] → [`Decision`].

mod ack;
mod decision;
mod device;
mod envelope;
mod frequency;
mod level;
mod limits;
mod name;
mod prediction;
mod sample;
mod template;
mod tensor;
mod topic;
mod trace_parent;

pub use ack::Ack;
pub use decision::{Amendment, Decision};
pub use device::Device;
pub use envelope::Envelope;
pub use frequency::Frequency;
pub use level::LogLevel;
pub use limits::{ByteSize, Count, HumanDuration};
pub use name::{InvalidName, ModelName, Name, StreamKey};
pub use prediction::{Detection, Prediction};
pub use sample::{Frame, Input, Order, Pixels, Samples};
pub use template::{
    ForKey, ForText, ForTopic, KeyTemplate, MAX_TEXT, RenderError, Scope, Template, TemplateError,
    TextTemplate, TopicTemplate,
};
pub use tensor::{DType, Data, Element, Tensor, TensorError};
pub use topic::{Topic, Topics};
pub use trace_parent::{NoTraceParent, TraceParent};
