//! ONNX Runtime's builds report to their makers unless an environment variable forbids it before
//! the library is loaded.

use std::env;

const VARIABLE: &str = "ORT_DISABLE_TELEMETRY";

/// Forbids the report. To be called first in `main`, while the process has one thread; later it does
/// nothing, and ONNX Runtime is not loaded. True: it is forbidden.
pub fn disable_telemetry() -> bool {
    if !is_disabled() && is_single_threaded() {
        // SAFETY: the environment may be changed while nobody else can read it. The system has just
        // said that this thread is the only one of the process, and only this thread could start
        // another.
        #[expect(unsafe_code, reason = "the library reads its environment and offers no other way")]
        unsafe {
            env::set_var(VARIABLE, "1");
        }
    }
    is_disabled()
}

/// The report is forbidden.
pub(super) fn is_disabled() -> bool {
    env::var_os(VARIABLE).is_some_and(|value| value == "1")
}

fn is_single_threaded() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_starts_reports_nothing() {
        assert!(disable_telemetry(), ".cargo/config.toml sets {VARIABLE}");
        assert!(!is_single_threaded(), "a test has a thread of its own");
    }
}
