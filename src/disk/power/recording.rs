//! Every change that a process makes to what is below one directory, in order, as `strace` tells it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::NOTES;

/// Everything that can change a file. What is not understood below must not go unseen.
const CALLS: &str = "open,openat,creat,write,writev,pwrite64,pwritev,pwritev2,truncate,ftruncate,\
                     fallocate,fsync,fdatasync,rename,renameat,renameat2,link,linkat,symlink,symlinkat,\
                     unlink,unlinkat,mkdir,mkdirat,rmdir,lseek,copy_file_range,sendfile,splice";

/// What moves bytes unseen. Without these they are read and written.
const UNSEEN: &str = "inject=copy_file_range,sendfile,splice:error=ENOSYS";

/// More than is ever written at once.
const LONGEST: &str = "4194304";

/// Files by their paths below the directory. That of a directory ends in `/`, and it has no bytes.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// One step. Files go by the path that they have at that time; the directory itself has none.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Create(String),
    MakeDirectory(String),
    Write {
        file: String,
        at: usize,
        bytes: Vec<u8>,
    },
    Resize {
        file: String,
        size: usize,
    },
    /// Of a directory: its names.
    Sync(String),
    Rename {
        from: String,
        to: String,
    },
    Remove(String),
    Note(String),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(file) | Self::MakeDirectory(file) => write!(f, "{file} made"),
            Self::Write { file, at, bytes } => write!(f, "{} bytes to {file} at {at}", bytes.len()),
            Self::Resize { file, size } => write!(f, "{file} of {size} bytes"),
            Self::Sync(file) => write!(f, "{file} synced"),
            Self::Rename { from, to } => write!(f, "{from} renamed to {to}"),
            Self::Remove(file) => write!(f, "{file} removed"),
            Self::Note(note) => write!(f, "note: {note}"),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Recording {
    pub before: Files,
    pub changes: Vec<Change>,
}

impl Recording {
    /// What was noted before a point.
    pub(crate) fn notes(&self, point: usize) -> impl Iterator<Item = &str> {
        self.changes[..point].iter().filter_map(|change| match change {
            Change::Note(note) => Some(note.as_str()),
            _ => None,
        })
    }
}

/// What is below the directory.
pub(crate) fn files(directory: &Path) -> Files {
    let mut files = Files::new();
    let mut gather = vec![String::new()];
    while let Some(within) = gather.pop() {
        for entry in std::fs::read_dir(directory.join(&within)).expect("directory") {
            let entry = entry.expect("entry");
            let name = entry.file_name().into_string().expect("a plain name");
            let name = format!("{within}{name}");
            if entry.file_type().expect("a type").is_dir() {
                gather.push(format!("{name}/"));
                files.insert(format!("{name}/"), Vec::new());
            } else if counts(&name) {
                files.insert(name, std::fs::read(entry.path()).expect("file"));
            }
        }
    }
    files
}

/// The index of the log is memory that is shared, and made anew by SQLite after a crash.
fn counts(name: &str) -> bool {
    name != NOTES && !name.ends_with("-shm")
}

/// Runs one test of this program, which finds the directory in the environment, and records it.
pub(crate) fn record(directory: &Path, test: &str, variable: &str) -> Recording {
    let before = files(directory);
    let trace = tempfile::NamedTempFile::new().expect("file");
    let status = Command::new("strace")
        .args(["-f", "-qq", "-y", "-xx", "-s", LONGEST, "-e", &format!("trace={CALLS}")])
        .args(["-e", UNSEEN, "-o"])
        .arg(trace.path())
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", test])
        .env(variable, directory)
        .stdout(Stdio::null())
        .status()
        .expect("strace is needed: apt-get install strace");
    assert!(status.success());
    let trace = std::fs::read_to_string(trace.path()).expect("trace");
    let mut reader = Reader { directory, positions: BTreeMap::new() };
    Recording { before, changes: reader.changes(&trace) }
}

struct Reader<'a> {
    directory: &'a Path,
    /// Where the next byte goes that is written to a file, by the number of its descriptor.
    positions: BTreeMap<String, usize>,
}

impl Reader<'_> {
    fn changes(&mut self, trace: &str) -> Vec<Change> {
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
                changes.extend(self.change(&format!("{start}{end}")));
            } else {
                changes.extend(self.change(rest));
            }
        }
        changes
    }

    fn change(&mut self, call: &str) -> Option<Change> {
        let (name, rest) = call.split_once('(')?;
        let (arguments, result) = rest.rsplit_once(" = ")?;
        if result.starts_with('-') {
            return None;
        }
        let arguments: Vec<_> = arguments.trim_end().strip_suffix(')')?.split(", ").collect();
        // A file that is not the directory's, or that does not count, is none.
        let file = |number: usize| self.opened(arguments[number]).filter(|name| counts(name));
        let path = |number: usize| self.within(text(arguments[number])).filter(|name| counts(name));
        let path_at = |number: usize| self.named(&arguments[number..]).filter(|name| counts(name));
        let number = |number: usize| arguments[number].parse::<usize>().expect("a number");
        match name {
            "openat" | "open" => {
                let file = self.opened(result).filter(|name| counts(name))?;
                assert!(!call.contains("O_TRUNC"), "{file} is emptied by being opened");
                self.positions.insert(descriptor(result).to_owned(), 0);
                call.contains("O_CREAT").then_some(Change::Create(file))
            }
            "lseek" => {
                file(0)?;
                let at = result.parse().expect("a number");
                self.positions.insert(descriptor(arguments[0]).to_owned(), at);
                None
            }
            "write" if self.opened(arguments[0])? == NOTES => {
                let note = String::from_utf8(text(arguments[1])).expect("a plain note");
                Some(Change::Note(note.trim().to_owned()))
            }
            "write" => {
                let (file, mut bytes) = (file(0)?, text(arguments[1]));
                bytes.truncate(result.parse().expect("a number"));
                let at = self.positions.get_mut(descriptor(arguments[0])).expect("it was made");
                *at += bytes.len();
                Some(Change::Write { file, at: *at - bytes.len(), bytes })
            }
            "pwrite64" => {
                let (file, bytes) = (file(0)?, text(arguments[1]));
                assert_eq!(result.parse(), Ok(bytes.len()), "all of it");
                Some(Change::Write { file, at: number(3), bytes })
            }
            "ftruncate" => Some(Change::Resize { file: file(0)?, size: number(1) }),
            "fsync" | "fdatasync" => Some(Change::Sync(file(0)?)),
            "rename" => Some(Change::Rename { from: path(0)?, to: path(1)? }),
            "renameat" | "renameat2" => Some(Change::Rename { from: path_at(0)?, to: path_at(2)? }),
            "mkdir" => Some(Change::MakeDirectory(path(0)?)),
            "mkdirat" => Some(Change::MakeDirectory(path_at(0)?)),
            "unlink" | "rmdir" => Some(Change::Remove(path(0)?)),
            "unlinkat" => Some(Change::Remove(path_at(0)?)),
            _ => {
                let seen = arguments.iter().any(|value| {
                    self.opened(value).is_some()
                        || value.starts_with('"') && self.within(text(value)).is_some()
                });
                assert!(!seen, "{name} is not understood");
                None
            }
        }
    }

    /// The path below the directory.
    fn within(&self, path: Vec<u8>) -> Option<String> {
        let path = String::from_utf8(path).expect("a plain path");
        Some(Path::new(&path).strip_prefix(self.directory).ok()?.to_str()?.to_owned())
    }

    /// That of an open file: `5<\x2f…>`. What was written to a removed file is gone with it.
    fn opened(&self, value: &str) -> Option<String> {
        let (_, path) = value.split_once('<')?;
        self.within(hex(path.strip_suffix('>')?))
    }

    /// That of a name in an open directory: `5<\x2f…>, "\x61…"`; a whole path counts from the root.
    fn named(&self, arguments: &[&str]) -> Option<String> {
        let name = text(arguments[1]);
        if name.starts_with(b"/") {
            return self.within(name);
        }
        let directory = self.opened(arguments[0])?;
        let name = String::from_utf8(name).expect("a plain name");
        Some(if directory.is_empty() { name } else { format!("{directory}/{name}") })
    }
}

/// `5` of `5<…>`.
fn descriptor(value: &str) -> &str {
    value.split_once('<').map_or(value, |(number, _)| number)
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
