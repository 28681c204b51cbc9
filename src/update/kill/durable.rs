//! What a power cut takes that a kill does not: what was written and not synced. Here all calls of a device that takes
//! releases are written down, and it is looked whether anything is relied on before it is on the disk for good.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::{SITE, drive, prepare};

const CALLS: &str =
    "openat,write,copy_file_range,fsync,fdatasync,rename,renameat,renameat2,mkdir,mkdirat";

/// Nothing is read from there that was not looked at again, or it is thrown away anyway.
const LEFT_OUT: [&str; 5] = ["/trash/", "/wishes/", "/lock", "/ended", "/status.json"];

/// What is written down of a device's files, in order.
#[derive(Debug, Default)]
struct Disk {
    /// Files whose bytes may be lost.
    bytes: BTreeSet<String>,
    /// Names that may be lost: made or moved, and their directory not synced since.
    names: BTreeSet<String>,
    /// Renames that were looked at.
    moved: usize,
    wrong: Vec<String>,
}

impl Disk {
    fn take(&mut self, line: &str) {
        let Some((call, rest)) = line.split_once('(') else { return };
        let call = call.rsplit(' ').next().unwrap_or_default();
        match call {
            "write" => self.bytes.extend(opened(rest)),
            // From one into the other.
            "copy_file_range" => {
                self.bytes.extend(rest.split_once('>').and_then(|(_, rest)| opened(rest)));
            }
            "fsync" | "fdatasync" => {
                let Some(path) = opened(rest) else { return };
                self.bytes.remove(&path);
                self.names.retain(|name| parent(name) != path);
            }
            "openat" if rest.contains("O_CREAT") => self.names.extend(quoted(rest).pop()),
            "mkdir" | "mkdirat" => self.names.extend(quoted(rest).pop()),
            "rename" | "renameat" | "renameat2" if rest.contains("= 0") => {
                if let [from, to] = &quoted(rest)[..] {
                    self.rename(from, to);
                }
            }
            _ => {}
        }
    }

    fn rename(&mut self, from: &str, to: &str) {
        let below = |path: &String| path == from || path.starts_with(&format!("{from}/"));
        let is_left_out = |path: &str| LEFT_OUT.iter().any(|part| path.contains(part));
        if !is_left_out(to) {
            self.moved += 1;
            let lost: Vec<_> = self.bytes.iter().filter(|path| below(path)).cloned().collect();
            self.wrong.extend(lost.iter().map(|path| format!("{path} moves to {to}, not synced")));
            // Names within a directory that moves; its own name is what the rename is about.
            let lost = self.names.iter().filter(|name| below(name) && *name != from);
            let lost: Vec<_> =
                lost.map(|name| format!("{name} moves to {to}, its name not synced")).collect();
            self.wrong.extend(lost);
        }
        if to.contains("/journal/") {
            // The next state begins where all of the one before is there for good.
            let counts = |name: &&String| {
                ["/models/", "/slots/", "/config/", "/journal/", "/slots.json"]
                    .iter()
                    .any(|part| name.contains(part))
            };
            let own = |name: &&String| name.as_str() == from;
            let lost =
                self.names.iter().filter(counts).filter(|name| !own(name) && !is_left_out(name));
            let lost: Vec<_> =
                lost.map(|name| format!("{to} is saved before the name {name} is")).collect();
            self.wrong.extend(lost);
        }
        self.bytes.retain(|path| !below(path));
        self.names.retain(|path| !below(path));
        self.names.insert(to.to_owned());
    }
}

/// The file behind the first descriptor: `5</a/b>, …`.
fn opened(rest: &str) -> Option<String> {
    let (_, path) = rest.split_once('<')?;
    let (path, _) = path.split_once('>')?;
    path.starts_with('/').then(|| path.to_owned())
}

/// The paths in quotation marks.
fn quoted(rest: &str) -> Vec<String> {
    rest.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// What is wrong with what a device did, and how many renames that were.
fn look(site: &Path) -> (Vec<String>, usize) {
    let log = site.join("strace.log");
    let status = Command::new("strace")
        .args(["-f", "-y", "-s", "4096", "-qq", "-o"])
        .arg(&log)
        .args(["-e", &format!("trace={CALLS}")])
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", "update::kill::child", "--test-threads=1", "--nocapture"])
        .env(SITE, site)
        .stdout(std::process::Stdio::null())
        .status()
        .expect("strace is needed: apt-get install strace");
    assert!(status.success());
    let log = std::fs::read(&log).expect("what was done");
    let device = site.join("update").display().to_string();
    let mut disk = Disk::default();
    for line in String::from_utf8_lossy(&log).lines().filter(|line| line.contains(&device)) {
        disk.take(line);
    }
    (disk.wrong, disk.moved)
}

#[tokio::test]
async fn nothing_is_relied_on_before_it_is_on_the_disk() {
    let place = tempfile::tempdir().expect("tempdir");
    prepare(place.path()).await;
    let (wrong, moved) = look(place.path());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(moved > 20, "only {moved} renames were seen");
    // And the way back, from where everything serves.
    drive(place.path(), false).await;
    crate::disk::replace(&place.path().join("undo"), b"").expect("noted");
    let (wrong, moved) = look(place.path());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(moved > 6, "only {moved} renames were seen");
}

#[test]
fn what_is_not_synced_is_noticed() {
    let said = |lines: &[&str]| {
        let mut disk = Disk::default();
        for line in lines {
            disk.take(line);
        }
        disk.wrong
    };
    let written = "7 write(5</u/staging/a/x>, \"1\", 1) = 1";
    let moved = "7 rename(\"/u/staging/a\", \"/u/models/a/1\") = 0";
    assert_eq!(said(&[written, moved]).len(), 1);
    assert_eq!(said(&[written, "7 fsync(5</u/staging/a/x>) = 0", moved]).len(), 0);
    let journal = "7 rename(\"/u/journal/j.json.new\", \"/u/journal/j.json\") = 0";
    assert_eq!(said(&[moved, journal]).len(), 1);
    assert_eq!(said(&[moved, "7 fsync(6</u/models/a>) = 0", journal]).len(), 0);
    let made =
        "7 openat(AT_FDCWD</>, \"/u/staging/a/y\", O_WRONLY|O_CREAT, 0666) = 5</u/staging/a/y>";
    assert_eq!(said(&[made, moved]).len(), 1);
}
