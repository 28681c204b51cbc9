//! Spans on their way out.

use super::{Outcome, Page, flag};
use crate::trace::TraceStatus;

impl Page {
    pub(super) fn traces(&self, traces: &TraceStatus) -> Outcome {
        let up = flag(traces.problem.is_none());
        self.gauge("eir_traces_up", "Whether spans leave.", [], [([], up)])?;
        let waiting = traces.waiting as f64;
        self.gauge("eir_traces_waiting", "Spans that wait.", [], [([], waiting)])?;
        self.counter(
            "eir_trace_spans_total",
            "What became of the spans: sent, or dropped because they did not fit or were refused.",
            ["outcome"],
            [(["sent"], traces.sent), (["dropped"], traces.dropped)],
        )
    }
}
