//! Where in a trace something belongs: W3C Trace Context, level 1 (<https://www.w3.org/TR/trace-context-1/>).

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};
use std::str::FromStr;

use thiserror::Error;

/// The length of version 00, and of what any later version begins with.
const LENGTH: usize = 55;

/// The flag of a trace that is recorded.
const SAMPLED: u8 = 1;

/// A `traceparent`: a trace, and one span of it. Whoever works on behalf of that span names it as the parent of
/// its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace: NonZeroU128,
    span: NonZeroU64,
    flags: u8,
}

/// A text that is no `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("no traceparent; one is like 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]
pub struct NoTraceParent;

impl TraceParent {
    /// What the header of HTTP and the user property of MQTT are called.
    pub const NAME: &str = "traceparent";

    /// The first span of a new trace, which is recorded.
    pub fn fresh() -> Self {
        Self { trace: rand::random(), span: rand::random(), flags: SAMPLED }
    }

    /// A new span of the same trace, which is recorded.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { trace: self.trace, span: rand::random(), flags: SAMPLED }
    }

    /// Whoever began the trace has it recorded.
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The id of the trace.
    pub const fn trace_id(&self) -> [u8; 16] {
        self.trace.get().to_be_bytes()
    }

    /// The id of the span.
    pub const fn span_id(&self) -> [u8; 8] {
        self.span.get().to_be_bytes()
    }
}

/// Version 00, whichever came in: what a later one says besides is not known here.
impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, span, flags } = self;
        write!(f, "00-{trace:032x}-{span:016x}-{flags:02x}")
    }
}

impl FromStr for TraceParent {
    type Err = NoTraceParent;

    /// Section 3.2: lower case alone, no id of zeros; a version after 00 may say more behind another dash, and of its
    /// flags the first alone is known.
    fn from_str(text: &str) -> Result<Self, NoTraceParent> {
        let bytes = text.as_bytes();
        let (head, more) = bytes.split_at_checked(LENGTH).ok_or(NoTraceParent)?;
        let [version, trace, span, flags] = fields(head).ok_or(NoTraceParent)?;
        let ends = match version {
            0 => more.is_empty(),
            0xff => false,
            _ => matches!(more, [] | [b'-', ..]),
        };
        let known = if version == 0 { u8::MAX } else { SAMPLED };
        let (trace, span) =
            (NonZeroU128::new(trace), u64::try_from(span).ok().and_then(NonZeroU64::new));
        match (trace, span, u8::try_from(flags)) {
            (Some(trace), Some(span), Ok(flags)) if ends => {
                Ok(Self { trace, span, flags: flags & known })
            }
            _ => Err(NoTraceParent),
        }
    }
}

/// Version, trace, span and flags.
fn fields(head: &[u8]) -> Option<[u128; 4]> {
    let places = [(0, 2), (3, 35), (36, 52), (53, 55)];
    let dashes = places.iter().skip(1).all(|(from, _)| head.get(from - 1) == Some(&b'-'));
    let mut found = [0; 4];
    for (value, (from, to)) in found.iter_mut().zip(places) {
        *value = hex(head.get(from..to)?)?;
    }
    dashes.then_some(found)
}

fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |value: u128, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn what_is_right_is_read_and_written_again() {
        let text = format!("00-{TRACE}-{SPAN}-01");
        let parent: TraceParent = text.parse().expect("a traceparent");
        assert!(parent.is_sampled());
        assert_eq!(parent.to_string(), text);
        assert_eq!(parent.trace_id()[..2], [0x0a, 0xf7]);
        assert_eq!(parent.span_id()[6..], [0x33, 0x31]);
        let quiet = format!("00-{TRACE}-{SPAN}-00");
        let quiet: TraceParent = quiet.parse().expect("a traceparent");
        assert!(!quiet.is_sampled());
        let child = parent.child();
        assert!(child.is_sampled() && child.trace_id() == parent.trace_id());
        assert_ne!(child.span_id(), parent.span_id());
        assert_ne!(TraceParent::fresh().trace_id(), TraceParent::fresh().trace_id());
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        for (later, as_known) in [("cc", "01"), ("01-what-may-come", "01"), ("fe-", "01")] {
            let (version, more) = later.split_at(2);
            let text = format!("{version}-{TRACE}-{SPAN}-ff{more}");
            let parent: TraceParent = text.parse().expect("a traceparent");
            assert_eq!(parent.to_string(), format!("00-{TRACE}-{SPAN}-{as_known}"));
        }
    }

    #[test]
    fn what_is_wrong_is_none() {
        let (zeros, half) = ("0".repeat(32), "0".repeat(16));
        for wrong in [
            String::new(),
            format!("00-{TRACE}-{SPAN}-0"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}-011"),
            format!("01-{TRACE}-{SPAN}-01.more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-{half}-01"),
            format!("00_{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}_01"),
            format!("00-{TRACE}-{SPAN}-+1"),
            format!(" 00-{TRACE}-{SPAN}-01"),
            format!("é0-{TRACE}-{SPAN}-01"),
        ] {
            assert_eq!(wrong.parse::<TraceParent>(), Err(NoTraceParent), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_one_that_is_written_as_it_was_read_or_none(text in "\\PC*|[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?") {
            if let Ok(parent) = text.parse::<TraceParent>() {
                prop_assert_eq!(parent.to_string().parse(), Ok(parent));
            }
        }

        #[test]
        fn any_bytes_of_its_length_are_one_or_none(bytes in proptest::collection::vec(any::<u8>(), 50..60)) {
            let _read = String::from_utf8_lossy(&bytes).parse::<TraceParent>();
        }
    }
}
