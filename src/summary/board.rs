//! How the board is, as far as it tells: every value is null where it does not.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::sketch::short;
use crate::task::clock_synced;

/// Files of the kernel are short; what is longer is none.
const MOST: u64 = 64 << 10;

/// Bits of a Raspberry Pi's `get_throttled`:
/// <https://www.raspberrypi.com/documentation/computers/os.html#get_throttled>.
const THROTTLED: [(u32, &str); 8] = [
    (0, "under_voltage"),
    (1, "frequency_capped"),
    (2, "throttled"),
    (3, "soft_temperature_limit"),
    (16, "under_voltage_occurred"),
    (17, "frequency_capped_occurred"),
    (18, "throttled_occurred"),
    (19, "soft_temperature_limit_occurred"),
];

/// The board at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Board {
    /// Of the hottest sensor that names the processor, or of the hottest at all; in °C.
    pub temperature_celsius: Option<f64>,
    /// What holds the processor back, or (on a Raspberry Pi) has since the board was started, where it tells.
    pub throttled: Option<Vec<&'static str>>,
    /// Processes that want to run, on average over 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
    /// Memory.
    pub memory: Option<Memory>,
    /// The file system of the outbox.
    pub disk: Option<Disk>,
    /// Whether the clock is kept right by a time server.
    pub clock_synced: Option<bool>,
    /// How long the board has been up.
    pub uptime_seconds: Option<f64>,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// All that the board has.
    pub total_bytes: u64,
    /// What could still be had.
    pub available_bytes: u64,
    /// What eir holds.
    pub resident_bytes: Option<u64>,
}

/// A file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// All of it.
    pub total_bytes: u64,
    /// What could still be written.
    pub available_bytes: u64,
}

impl Board {
    /// Looks at it; `data` lies on the file system that counts.
    pub fn read(data: &Path) -> Self {
        Self { disk: disk(data), clock_synced: clock_synced(), ..Self::below(Path::new("/")) }
    }

    /// Something holds the processor back at this moment.
    pub fn is_throttled(&self) -> bool {
        let mut words = self.throttled.iter().flatten();
        words.any(|word| *word != "under_voltage" && !word.ends_with("_occurred"))
    }

    /// What files below `root` tell.
    fn below(root: &Path) -> Self {
        let numbers = |file: &str| -> Option<Vec<f64>> {
            let text = text(&root.join(file))?;
            Some(text.split_whitespace().map_while(|word| word.parse().ok()).collect())
        };
        Self {
            temperature_celsius: temperature(&root.join("sys/class/thermal")),
            throttled: throttled(&root.join("sys/devices/platform/soc/soc:firmware/get_throttled"))
                .or_else(|| cooled(&root.join("sys/class/thermal"))),
            load: numbers("proc/loadavg").and_then(|found| found.first_chunk().copied()),
            memory: memory(root),
            disk: None,
            clock_synced: None,
            uptime_seconds: numbers("proc/uptime").and_then(|found| found.first().copied()),
        }
    }
}

fn text(path: &Path) -> Option<String> {
    let bytes = crate::disk::read_bounded(path, MOST).ok()?;
    String::from_utf8(bytes).ok()
}

fn temperature(zones: &Path) -> Option<f64> {
    let zones = fs::read_dir(zones).ok()?.filter_map(|zone| Some(zone.ok()?.path()));
    let read = |zone: PathBuf| {
        let of = text(&zone.join("type"))?.to_lowercase();
        let millidegrees: f64 = text(&zone.join("temp"))?.trim().parse().ok()?;
        let names_processor = ["cpu", "soc", "pkg"].iter().any(|name| of.contains(name));
        Some((names_processor, millidegrees / 1e3))
    };
    let hottest = zones
        .filter_map(read)
        .max_by(|a, b| (a.0, a.1).partial_cmp(&(b.0, b.1)).unwrap_or(std::cmp::Ordering::Equal));
    hottest.map(|(_, celsius)| short(celsius))
}

fn throttled(path: &Path) -> Option<Vec<&'static str>> {
    let text = text(path)?;
    let bits = u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()?;
    Some(
        THROTTLED
            .into_iter()
            .filter(|(bit, _)| bits >> bit & 1 == 1)
            .map(|(_, word)| word)
            .collect(),
    )
}

/// Where the kernel itself can hold the processor back, whether it does: the states of its cooling devices
/// (<https://docs.kernel.org/driver-api/thermal/cpu-cooling-api.html>).
fn cooled(devices: &Path) -> Option<Vec<&'static str>> {
    let devices = fs::read_dir(devices).ok()?.filter_map(|device| Some(device.ok()?.path()));
    let state = |device: PathBuf| {
        let of = text(&device.join("type"))?.to_lowercase();
        let slows_processor = of == "processor" || of.contains("cpufreq") || of.contains("cpuidle");
        slows_processor.then_some(text(&device.join("cur_state"))?.trim().parse::<u64>().ok()?)
    };
    let slowest = devices.filter_map(state).max()?;
    Some(if slowest > 0 { vec!["frequency_capped"] } else { Vec::new() })
}

fn memory(root: &Path) -> Option<Memory> {
    let of_all = text(&root.join("proc/meminfo"))?;
    let own = text(&root.join("proc/self/status"));
    Some(Memory {
        total_bytes: kibibytes(&of_all, "MemTotal:")?,
        available_bytes: kibibytes(&of_all, "MemAvailable:")?,
        resident_bytes: own.and_then(|text| kibibytes(&text, "VmRSS:")),
    })
}

fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
}

/// Of the nearest directory that is there.
fn disk(data: &Path) -> Option<Disk> {
    let there = data.ancestors().find(|path| path.exists())?;
    let found = rustix::fs::statvfs(there).ok()?;
    Some(Disk {
        total_bytes: found.f_blocks * found.f_frsize,
        available_bytes: found.f_bavail * found.f_frsize,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().expect("a directory")).expect("directory");
        crate::disk::replace(&path, text.as_bytes()).expect("file");
    }

    #[test]
    fn a_raspberry_pi_tells_of_itself() {
        let root = tempfile::tempdir().expect("directory");
        let root = root.path();
        put(root, "sys/class/thermal/thermal_zone0/type", "cpu-thermal\n");
        put(root, "sys/class/thermal/thermal_zone0/temp", "48312\n");
        put(root, "sys/class/thermal/thermal_zone1/type", "nvme\n");
        put(root, "sys/class/thermal/thermal_zone1/temp", "61850\n");
        put(root, "sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n");
        put(root, "proc/loadavg", "0.52 0.58 0.59 1/467 12345\n");
        put(root, "proc/meminfo", "MemTotal:        3884956 kB\nMemAvailable:    3224616 kB\n");
        put(root, "proc/self/status", "Name:\teir\nVmRSS:\t   30720 kB\n");
        put(root, "proc/uptime", "350735.47 234388.90\n");
        let board = Board::below(root);
        assert_eq!(board.temperature_celsius, Some(48.312));
        let throttled =
            ["under_voltage", "throttled", "under_voltage_occurred", "throttled_occurred"];
        assert_eq!(board.throttled, Some(throttled.to_vec()));
        assert_eq!(board.load, Some([0.52, 0.58, 0.59]));
        let memory = board.memory.expect("memory");
        assert_eq!((memory.total_bytes, memory.available_bytes), (3_978_194_944, 3_302_006_784));
        assert_eq!(
            (memory.resident_bytes, board.uptime_seconds),
            (Some(31_457_280), Some(350_735.47))
        );
    }

    #[test]
    fn a_kernel_that_slows_the_processor_tells_of_it() {
        let root = tempfile::tempdir().expect("directory");
        let device = |number: u8, of: &str, state: &str| {
            let at = format!("sys/class/thermal/cooling_device{number}");
            put(root.path(), &format!("{at}/type"), of);
            put(root.path(), &format!("{at}/cur_state"), state);
        };
        device(0, "pwm-fan\n", "3\n");
        let board = Board::below(root.path());
        assert_eq!((board.is_throttled(), board.throttled), (false, None), "a fan slows nothing");
        device(1, "thermal-cpufreq-0\n", "0\n");
        let board = Board::below(root.path());
        assert_eq!((board.is_throttled(), board.throttled), (false, Some(vec![])));
        device(2, "thermal-cpufreq-1\n", "4\n");
        let board = Board::below(root.path());
        assert!(board.is_throttled());
        // What happened once, or the supply alone, slows nothing at the moment.
        for (bits, slows) in [("50000", false), ("1", false), ("2", true), ("4", true), ("8", true)]
        {
            put(root.path(), "sys/devices/platform/soc/soc:firmware/get_throttled", bits);
            assert_eq!(Board::below(root.path()).is_throttled(), slows, "{bits}");
        }
    }

    #[test]
    fn a_board_that_tells_nothing_is_no_error() {
        let root = tempfile::tempdir().expect("directory");
        let json = serde_json::to_value(Board::below(root.path())).expect("json");
        assert!(
            json.as_object().expect("a table").values().all(serde_json::Value::is_null),
            "{json}"
        );
    }

    #[test]
    fn this_machine_has_a_disk() {
        let board = Board::read(Path::new("/var/lib/there/is/no/such.db"));
        let disk = board.disk.expect("a disk");
        assert!(disk.total_bytes > disk.available_bytes && disk.available_bytes > 0, "{disk:?}");
    }
}
