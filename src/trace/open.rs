//! A piece of work that goes on.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::{Event, Kind, Span, Tracer};
use crate::event::TraceParent;
use crate::task::Clock;

/// Parts of one piece of work, and things that happen meanwhile: of more than that nothing is told. A message may hold
/// thousands of windows.
const MOST: usize = 128;

/// Of a longer text the beginning is told, in bytes: topics come from others, and errors quote them.
const LONGEST: usize = 1024;

/// One moment on both clocks: what is measured with the one is told by the other, so that durations are right whatever
/// becomes of the time of day.
#[derive(Debug, Clone, Copy)]
pub struct Anchor {
    at: Instant,
    /// Nanoseconds since 1970.
    wall: i128,
}

/// A piece of work that is traced, with what was done for it so far.
#[derive(Debug)]
pub struct Open {
    tracer: Arc<Tracer>,
    own: TraceParent,
    parent: Option<TraceParent>,
    anchor: Anchor,
    from: Instant,
    to: Instant,
    attributes: Vec<(&'static str, Value)>,
    parts: Vec<Span>,
    events: Vec<Event>,
    /// Parts and events that were too many.
    beyond: usize,
    error: Option<String>,
}

impl Anchor {
    /// This moment.
    pub fn of(clock: &dyn Clock) -> Self {
        Self { at: clock.now(), wall: clock.wall().as_nanosecond() }
    }

    /// That moment, in nanoseconds since 1970.
    fn unix(&self, at: Instant) -> u64 {
        let nanos =
            |duration: std::time::Duration| i128::try_from(duration.as_nanos()).unwrap_or(0);
        let (after, before) =
            (at.saturating_duration_since(self.at), self.at.saturating_duration_since(at));
        u64::try_from(self.wall + nanos(after) - nanos(before)).unwrap_or(0)
    }
}

impl Open {
    /// Work that began then, on behalf of the parent where there is one; `None`: it is not traced.
    pub fn begin(
        tracer: &Arc<Tracer>,
        parent: Option<TraceParent>,
        anchor: Anchor,
        from: Instant,
    ) -> Option<Self> {
        tracer.wants(parent).then(|| Self {
            tracer: Arc::clone(tracer),
            own: parent.map_or_else(TraceParent::fresh, |parent| parent.child()),
            parent,
            anchor,
            from,
            to: from,
            attributes: Vec::new(),
            parts: Vec::new(),
            events: Vec::new(),
            beyond: 0,
            error: None,
        })
    }

    /// What is handed on to those who work because of this.
    pub const fn traceparent(&self) -> TraceParent {
        self.own
    }

    /// Something to be known of it.
    pub fn note(&mut self, key: &'static str, value: impl Into<Value>) {
        self.attributes.push((key, bounded(value.into())));
    }

    /// A part of it is over.
    pub fn part(&mut self, name: &'static str, from: Instant, to: Instant) {
        self.reach(to);
        if self.is_full() {
            return;
        }
        self.parts.push(Span {
            name: Cow::Borrowed(name),
            kind: Kind::Internal,
            own: self.own.child(),
            parent: Some(self.own.span_id()),
            from: self.anchor.unix(from),
            to: self.anchor.unix(to),
            attributes: Vec::new(),
            events: Vec::new(),
            error: None,
        });
    }

    /// Something happened.
    pub fn event(
        &mut self,
        name: &'static str,
        at: Instant,
        attributes: Vec<(&'static str, Value)>,
    ) {
        self.reach(at);
        if !self.is_full() {
            let bound = |(key, value)| (key, bounded(value));
            let attributes = attributes.into_iter().map(bound).collect();
            self.events.push(Event { name, at: self.anchor.unix(at), attributes });
        }
    }

    /// It failed, or a part of it: what kind of failure that is, and why it came to that. The first one counts.
    pub fn fail(&mut self, kind: impl Into<Value>, why: impl Into<String>) {
        if self.error.is_none() {
            self.note("error.type", kind);
            self.error = Some(shortened(why.into()));
        }
    }

    /// It goes on at least until then.
    pub fn reach(&mut self, at: Instant) {
        self.to = self.to.max(at);
    }

    /// It is over: has it wait to be sent.
    pub fn end(self, name: impl Into<Cow<'static, str>>, kind: Kind) {
        let tracer = Arc::clone(&self.tracer);
        tracer.add(self.close(name, kind));
    }

    /// It and its parts.
    pub(super) fn close(self, name: impl Into<Cow<'static, str>>, kind: Kind) -> Vec<Span> {
        let mut attributes = self.attributes;
        if self.beyond > 0 {
            attributes.push(("eir.left_out", self.beyond.into()));
        }
        let mut spans = self.parts;
        spans.push(Span {
            name: name.into(),
            kind,
            own: self.own,
            parent: self.parent.map(|parent| parent.span_id()),
            from: self.anchor.unix(self.from),
            to: self.anchor.unix(self.to),
            attributes,
            events: self.events,
            error: self.error,
        });
        spans
    }

    /// There is no more room; counts who asks for it.
    fn is_full(&mut self) -> bool {
        let full = self.parts.len() + self.events.len() >= MOST;
        self.beyond += usize::from(full);
        full
    }
}

fn bounded(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(shortened(text)),
        other => other,
    }
}

fn shortened(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(LONGEST));
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::task::SystemClock;

    #[test]
    fn parts_lie_within_the_whole_and_last_as_long_as_was_measured() {
        let tracer = Arc::new(Tracer::new(1.0, 8, 8));
        let from = SystemClock.now();
        let wall = SystemClock.wall().as_nanosecond();
        let anchor = Anchor { at: from + Duration::from_millis(5), wall };
        let at = |millis| anchor.at + Duration::from_millis(millis);
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().ok();
        let mut open = Open::begin(&tracer, parent, anchor, from).expect("it is traced");
        open.part("queue", from, at(0));
        open.event("decision", at(7), vec![("rule", "fault".into())]);
        open.part("rules", at(1), at(9));
        open.fail("syntax", "no JSON");
        open.fail("late", "another");
        let own = open.traceparent();
        let spans = open.close("p process", Kind::Consumer);
        let [queue, rules, whole] = &spans[..] else { panic!("{spans:?}") };
        let wall = u64::try_from(anchor.wall).expect("after 1970");
        let ms = |span: &Span| [span.from, span.to].map(|at| (at + 5_000_000 - wall) / 1_000_000);
        assert_eq!((ms(queue), ms(rules), ms(whole)), ([0, 5], [6, 14], [0, 14]));
        assert_eq!((whole.own, whole.parent), (own, parent.map(|parent| parent.span_id())));
        for part in [queue, rules] {
            assert_eq!((part.parent, part.kind), (Some(own.span_id()), Kind::Internal));
            assert_eq!(part.own.trace_id(), own.trace_id());
        }
        assert_eq!(whole.error.as_deref(), Some("no JSON"));
        assert_eq!(whole.attributes, [("error.type", "syntax".into())]);
        assert_eq!(whole.events[0].at, wall + 7_000_000);
    }

    #[test]
    fn of_a_long_text_the_beginning_is_told() {
        let tracer = Arc::new(Tracer::new(1.0, 8, 8));
        let anchor = Anchor::of(&SystemClock);
        let mut open = Open::begin(&tracer, None, anchor, anchor.at).expect("it is traced");
        let long = format!("a{}", "é".repeat(5000));
        open.note("topic", long.as_str());
        open.event("decision", anchor.at, vec![("rule", long.as_str().into())]);
        open.fail("syntax", long.as_str());
        let spans = open.close("p process", Kind::Consumer);
        let whole = spans.last().expect("the whole");
        let short = format!("a{}", "é".repeat(511));
        assert_eq!(whole.attributes[0].1, short.as_str());
        assert_eq!(
            (whole.error.as_ref(), &whole.events[0].attributes[0].1),
            (Some(&short), &short.as_str().into())
        );
    }

    #[test]
    fn of_a_message_with_a_thousand_windows_not_all_is_told() {
        let tracer = Arc::new(Tracer::new(1.0, 8, 8));
        let anchor = Anchor::of(&SystemClock);
        let mut open = Open::begin(&tracer, None, anchor, anchor.at).expect("it is traced");
        for _ in 0..1000 {
            open.part("rules", anchor.at, anchor.at);
            open.event("decision", anchor.at, Vec::new());
        }
        let spans = open.close("p process", Kind::Consumer);
        let whole = spans.last().expect("the whole");
        assert_eq!(spans.len() - 1 + whole.events.len(), MOST);
        assert_eq!(whole.attributes, [("eir.left_out", 1872.into())]);
    }
}
