//! Every change that a process makes to the files of one directory, in order, as `strace` tells it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Where a process writes down what the world outside has heard from it. Not one of the files that a power
/// loss takes something from.
pub(super) const NOTES: &str = "notes";

/// Everything that can change a file. What is not understood below must not go unseen.
const CALLS: &str = "open,openat,creat,write,writev,pwrite64,pwritev,pwritev2,truncate,ftruncate,\
                     fallocate,copy_file_range,fsync,fdatasync,rename,renameat,renameat2,link,linkat,\
                     unlink,unlinkat";

/// More than is ever written at once.
const LONGEST: &str = "4194304";

/// One step. Files go by the name that they have at that time.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Create(String),
    Write { file: String, at: usize, bytes: Vec<u8> },
    Resize { file: String, size: usize },
    Sync(String),
    SyncNames,
    Rename { from: String, to: String },
    Remove(String),
    Note(String),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(file) => write!(f, "{file} made"),
            Self::Write { file, at, bytes } => write!(f, "{} bytes to {file} at {at}", bytes.len()),
            Self::Resize { file, size } => write!(f, "{file} of {size} bytes"),
            Self::Sync(file) => write!(f, "{file} synced"),
            Self::SyncNames => f.write_str("names synced"),
            Self::Rename { from, to } => write!(f, "{from} renamed to {to}"),
            Self::Remove(file) => write!(f, "{file} removed"),
            Self::Note(note) => write!(f, "note: {note}"),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Recording {
    pub before: BTreeMap<String, Vec<u8>>,
    pub changes: Vec<Change>,
}

/// What is in the files of the directory.
pub(super) fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(directory).expect("directory").map(|entry| {
        let entry = entry.expect("entry");
        let bytes = std::fs::read(entry.path()).expect("file");
        (entry.file_name().into_string().expect("a plain name"), bytes)
    });
    entries.filter(|(name, _)| counts(name)).collect()
}

/// The index of the log is memory that is shared, and made anew by SQLite after a crash.
fn counts(name: &str) -> bool {
    name != NOTES && !name.ends_with("-shm")
}

/// Runs one test of this program, which finds the directory in the environment, and records it.
pub(super) fn record(directory: &Path, test: &str, variable: &str) -> Recording {
    let before = files(directory);
    let trace = tempfile::NamedTempFile::new().expect("file");
    let status = Command::new("strace")
        .args(["-f", "-qq", "-y", "-xx", "-s", LONGEST, "-e", &format!("trace={CALLS}"), "-o"])
        .arg(trace.path())
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", test])
        .env(variable, directory)
        .stdout(Stdio::null())
        .status()
        .expect("strace is needed: apt-get install strace");
    assert!(status.success());
    let trace = std::fs::read_to_string(trace.path()).expect("trace");
    Recording { before, changes: changes(&trace, directory) }
}

fn changes(trace: &str, directory: &Path) -> Vec<Change> {
    let mut begun = BTreeMap::new();
    let mut changes = Vec::new();
    for line in trace.lines() {
        let (thread, rest) = line.split_once(' ').expect("a thread");
        let rest = rest.trim_start();
        // Another thread's call came between; where this one ends is where it counts.
        if let Some(start) = rest.strip_suffix("<unfinished ...>") {
            begun.insert(thread, start.trim_end());
        } else if let Some(end) = rest.strip_prefix("<... ") {
            let (_, end) = end.split_once("resumed>").expect("an end");
            let start = begun.remove(thread).expect("a beginning");
            changes.extend(change(&format!("{start}{end}"), directory));
        } else {
            changes.extend(change(rest, directory));
        }
    }
    changes
}

fn change(call: &str, directory: &Path) -> Option<Change> {
    let (name, rest) = call.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    if result.starts_with('-') {
        return None;
    }
    let arguments: Vec<_> = arguments.trim_end().strip_suffix(')')?.split(", ").collect();
    // A file that is not the directory's, or that does not count, is none.
    let within = |bytes: Vec<u8>| {
        let path = String::from_utf8(bytes).expect("a plain path");
        let name = Path::new(&path).strip_prefix(directory).ok()?.to_str()?.to_owned();
        Some(name)
    };
    let path = |number: usize| within(text(arguments[number])).filter(|name| counts(name));
    let open = |value: &str| {
        let (_, path) = value.split_once('<')?;
        // What was written to a removed file is gone with it.
        within(hex(path.strip_suffix('>')?))
    };
    let file = |number: usize| open(arguments[number]).filter(|name| counts(name));
    let number = |number: usize| arguments[number].parse::<usize>().expect("a number");
    match name {
        "openat" | "open" if !call.contains("O_CREAT") => None,
        "openat" => {
            let file = open(result).filter(|name| counts(name))?;
            assert!(!call.contains("O_TRUNC"), "{file} is emptied by being opened");
            Some(Change::Create(file))
        }
        "write" if open(arguments[0])? == NOTES => {
            let note = String::from_utf8(text(arguments[1])).expect("a plain note");
            Some(Change::Note(note.trim().to_owned()))
        }
        "pwrite64" => {
            let (file, bytes) = (file(0)?, text(arguments[1]));
            assert_eq!(result.parse(), Ok(bytes.len()), "all of it");
            Some(Change::Write { file, at: number(3), bytes })
        }
        "ftruncate" => Some(Change::Resize { file: file(0)?, size: number(1) }),
        "fsync" | "fdatasync" => {
            let file = file(0)?;
            Some(if file.is_empty() { Change::SyncNames } else { Change::Sync(file) })
        }
        "rename" => Some(Change::Rename { from: path(0)?, to: path(1)? }),
        "renameat" | "renameat2" => Some(Change::Rename { from: path(1)?, to: path(3)? }),
        "unlink" => Some(Change::Remove(path(0)?)),
        "unlinkat" => Some(Change::Remove(path(1)?)),
        _ => {
            let seen = arguments.iter().any(|value| {
                open(value).is_some() || value.starts_with('"') && within(text(value)).is_some()
            });
            assert!(!seen, "{name} is not understood");
            None
        }
    }
}

/// What stands between quotes, all of it.
fn text(value: &str) -> Vec<u8> {
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    hex(inner.expect("the whole text"))
}

/// `\x2f\x74…`
fn hex(value: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("a digit");
    let byte = |four: &[u8]| u8::try_from(digit(four[2]) << 4 | digit(four[3])).expect("a byte");
    value.as_bytes().chunks(4).map(byte).collect()
}
