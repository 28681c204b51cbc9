//! What is told of one piece of work.

use std::borrow::Cow;

use serde_json::Value;

use crate::event::TraceParent;

/// A piece of work that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// What was done.
    pub name: Cow<'static, str>,
    /// Who it was done for.
    pub kind: Kind,
    /// Which span of which trace it is.
    pub own: TraceParent,
    /// The span that it is a part of, where that is known.
    pub parent: Option<[u8; 8]>,
    /// Nanoseconds since 1970.
    pub from: u64,
    /// The same of its end.
    pub to: u64,
    /// What else is known of it.
    pub attributes: Vec<(&'static str, Value)>,
    /// What happened meanwhile.
    pub events: Vec<Event>,
    /// Why it failed.
    pub error: Option<String>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// What it was.
    pub name: &'static str,
    /// When, in nanoseconds since 1970.
    pub at: u64,
    /// What else is known of it.
    pub attributes: Vec<(&'static str, Value)>,
}

/// Who work is done for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Oneself: a part of other work.
    Internal,
    /// A client that waits for an answer.
    Server,
    /// Whoever published a message.
    Consumer,
}
