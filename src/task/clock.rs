//! Time, as a seam: tests turn it, the program reads the system's.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// Where time comes from. Durations are measured with [`Clock::now`] alone; wall time is for people.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Monotonic time.
    fn now(&self) -> Instant;

    /// Wall-clock time; it may jump.
    fn wall(&self) -> Timestamp;

    /// The moment as a board knows it whose clock may not be set; `None` where it does not tell.
    fn uptime(&self) -> Option<Uptime> {
        None
    }
}

/// A moment without a wall clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uptime {
    /// Names the start of the board: no two have the same.
    pub boot: Arc<str>,
    /// How long ago that was, sleep included.
    pub since: Duration,
    /// The wall clock is right: a time server keeps it so.
    pub synced: bool,
}

/// The clocks of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is where it is allowed")]
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }

    fn uptime(&self) -> Option<Uptime> {
        static BOOT: OnceLock<Option<Arc<str>>> = OnceLock::new();
        let boot = BOOT.get_or_init(|| {
            let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
            Some(id.trim().into())
        });
        let since = clock_gettime(ClockId::Boottime);
        let since = Duration::new(since.tv_sec.try_into().ok()?, since.tv_nsec.try_into().ok()?);
        Some(Uptime { boot: boot.clone()?, since, synced: clock_synced()? })
    }
}

/// Whether a time server keeps the wall clock right, where the system tells: the kernel knows, whoever does it.
/// Where it may not be asked (`ProtectClock=` of a systemd unit forbids it), systemd's own time service leaves a
/// file.
pub fn clock_synced() -> Option<bool> {
    // SAFETY: all fields are integers, for which zero is a value; `modes` = 0 asks and changes nothing.
    #[expect(unsafe_code, reason = "there is no safe call for it")]
    let state = unsafe {
        let mut asked: libc::timex = std::mem::zeroed();
        libc::adjtimex(&raw mut asked)
    };
    if state >= 0 {
        return Some(state != libc::TIME_ERROR);
    }
    let service = Path::new("/run/systemd/timesync");
    service.is_dir().then(|| service.join("synchronized").exists())
}
