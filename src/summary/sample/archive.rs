//! A directory of samples that never holds more than it may.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::value::RawValue;
use uuid::Uuid;

use super::ArchiveConfig;
use crate::disk;
use crate::task::{Pushed, Queue, WhenFull};

/// Samples that may wait for the disk; one more is left out.
const WAITING: usize = 16;

/// The way into the directory; a thread of its own writes, so that a slow card keeps nobody waiting. It ends with
/// the last handle.
#[derive(Debug)]
pub struct Archive(Arc<Queue<Kept>>);

/// What is kept of one input.
#[derive(Debug)]
struct Kept {
    body: Box<RawValue>,
    /// Extension and bytes.
    picture: Option<(&'static str, Vec<u8>)>,
}

#[derive(Debug)]
struct Writer {
    config: ArchiveConfig,
    /// Oldest first; `None`: not looked at yet.
    held: Option<VecDeque<Held>>,
    failing: bool,
}

/// The files of one sample.
#[derive(Debug, Default)]
struct Held {
    files: Vec<PathBuf>,
    bytes: u64,
}

impl Archive {
    /// Starts the thread.
    pub fn start(config: &ArchiveConfig) -> io::Result<Self> {
        let queue = Arc::new(Queue::new(WAITING, WhenFull::DropNewest));
        let waiting = Arc::clone(&queue);
        let mut writer = Writer { config: config.clone(), held: None, failing: false };
        std::thread::Builder::new().name("archive".to_owned()).spawn(move || {
            let mut hand = Vec::new();
            while waiting.pop_into(&mut hand, 1) {
                hand.drain(..).for_each(|kept| writer.take(&kept));
            }
        })?;
        Ok(Self(queue))
    }

    /// Keeps a sample, if the disk keeps up. Never waits.
    pub(super) fn keep(&self, body: Box<RawValue>, picture: Option<(&'static str, Vec<u8>)>) {
        if !matches!(self.0.push(Kept { body, picture }), Pushed::Queued) {
            tracing::debug!("a sample was left out: the disk does not keep up");
        }
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Writer {
    fn take(&mut self, kept: &Kept) {
        let outcome = self.write(kept);
        let dir = self.config.dir.display();
        match (&outcome, self.failing) {
            (Ok(()), true) => tracing::info!(%dir, "samples are kept again"),
            (Err(error), false) => tracing::error!(%dir, "samples cannot be kept: {error}"),
            (Err(_), true) | (Ok(()), false) => {}
        }
        self.failing = outcome.is_err();
    }

    fn write(&mut self, kept: &Kept) -> io::Result<()> {
        fs::create_dir_all(&self.config.dir)?;
        let id = Uuid::now_v7();
        let body = kept.body.get().as_bytes();
        let picture = kept.picture.as_ref().map(|(extension, bytes)| (*extension, &bytes[..]));
        let parts: Vec<_> = picture.into_iter().chain([("json", body)]).collect();
        let needed: u64 = parts.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        self.make_room(needed)?;
        let mut held = Held { files: Vec::new(), bytes: needed };
        let mut write = |(extension, bytes)| {
            let path = self.config.dir.join(format!("{id}.{extension}"));
            held.files.push(path.clone());
            disk::replace(&path, bytes)
        };
        let outcome = parts.into_iter().try_for_each(&mut write);
        // Also what was written in part takes room.
        self.held.get_or_insert_default().push_back(held);
        outcome
    }

    fn make_room(&mut self, needed: u64) -> io::Result<()> {
        let held = match &mut self.held {
            Some(held) => held,
            None => self.held.insert(list(&self.config)?),
        };
        let mut bytes: u64 = held.iter().map(|held| held.bytes).sum();
        let most = self.config.max.0 as u64;
        if needed > most {
            return Err(io::Error::other(format!(
                "a sample of {needed} bytes is larger than `max`"
            )));
        }
        while bytes + needed > most {
            let Some(oldest) = held.front() else { break };
            oldest.remove()?;
            bytes -= oldest.bytes;
            held.pop_front();
        }
        Ok(())
    }
}

impl Held {
    /// Somebody may have done it already.
    fn remove(&self) -> io::Result<()> {
        let removed = self.files.iter().map(fs::remove_file);
        removed
            .filter(|removed| {
                removed.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::NotFound)
            })
            .collect()
    }
}

/// What lies there from before. Names begin with the time.
fn list(config: &ArchiveConfig) -> io::Result<VecDeque<Held>> {
    let mut samples = BTreeMap::<Uuid, Held>::new();
    for entry in fs::read_dir(&config.dir)? {
        let entry = entry?;
        let path = entry.path();
        // What is not ours is not counted, and never removed.
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let Some(id) = stem.and_then(|stem| Uuid::try_parse(stem).ok()) else { continue };
        let held = samples.entry(id).or_default();
        held.bytes += entry.metadata()?.len();
        held.files.push(path);
    }
    Ok(samples.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ByteSize;

    fn kept(bytes: usize) -> Kept {
        let body = RawValue::from_string("{}".to_owned()).expect("json");
        Kept { body, picture: Some(("jpg", vec![7; bytes])) }
    }

    fn held(config: &ArchiveConfig) -> (usize, u64) {
        let held = list(config).expect("samples");
        (held.len(), held.iter().map(|held| held.bytes).sum())
    }

    #[test]
    fn the_oldest_make_room_also_after_a_restart() {
        let directory = tempfile::tempdir().expect("directory");
        let config = ArchiveConfig { dir: directory.path().join("kept"), max: ByteSize(10_000) };
        let writer = || Writer { config: config.clone(), held: None, failing: false };
        let mut first = writer();
        for _ in 0..20 {
            first.write(&kept(2000)).expect("kept");
            assert!(held(&config).1 <= 10_000);
        }
        assert_eq!(held(&config), (4, 4 * 2002));
        let theirs = config.dir.join("notes.txt");
        disk::replace(&theirs, &[1; 9000]).expect("a file of somebody else");
        let before = list(&config).expect("files");
        let mut second = writer();
        second.write(&kept(2000)).expect("kept");
        assert_eq!(held(&config), (4, 4 * 2002));
        assert!(before[0].files.iter().all(|file| !file.exists()) && theirs.exists());
        let error = second.write(&kept(10_001)).expect_err("too large").to_string();
        assert!(error.contains("10003 bytes"), "{error}");
        assert_eq!(held(&config).0, 4, "nothing was removed for it");
    }
}
