//! What a server costs: CPU time and memory of its process and all that it started, as the kernel counts them.

use std::time::Duration;

/// A tick of `/proc/PID/stat`, which Linux fixes at a hundredth of a second for programs (`USER_HZ`, proc(5)).
const TICK: Duration = Duration::from_millis(10);

/// Memory of some processes, in MB; what they share is counted for each.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    pub(crate) resident: f64,
    pub(crate) peak: f64,
}

/// A process and its children, theirs included.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("/proc").filter_map(|entry| {
        let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
        Some((pid, u32::try_from(*fields(pid)?.get(1)?).ok()?))
    });
    let processes: Vec<(u32, u32)> = processes.collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(processes.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| pid));
        next += 1;
    }
    found
}

/// The CPU time that these took so far, and those of their children that ended and were waited for.
pub(crate) fn cpu(processes: &[u32]) -> Duration {
    // utime, stime, cutime and cstime are the fields 14 to 17 of proc(5).
    let one = |&pid: &u32| Some(fields(pid)?.get(11..15)?.iter().sum::<u64>());
    let ticks: u64 = processes.iter().filter_map(one).sum();
    TICK * u32::try_from(ticks).expect("less than a year")
}

pub(crate) fn memory(processes: &[u32]) -> Memory {
    let mut sum = Memory::default();
    for pid in processes {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
            kib.unwrap_or_default() * 1024.0 / 1e6
        };
        sum.resident += of("VmRSS:");
        sum.peak += of("VmHWM:");
    }
    sum
}

/// Threads whose name begins so.
pub(crate) fn threads(pid: u32, name: &str) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a process");
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|found| found.starts_with(name)).count()
}

/// The fields of `/proc/PID/stat` from the third on; the state, which is a letter, reads as 0, and so does what is
/// negative.
fn fields(pid: u32) -> Option<Vec<u64>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before may hold anything, brackets and blanks included.
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect())
}
