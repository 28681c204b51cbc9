//! What a disk may hold after its power went, at any point of a recording.
//!
//! What was synced is there. Of what was changed since, each file, and the directory with its names, keeps
//! any part in any order: a disk and its file system may write what waits as they like.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::recording::{Change, Recording};

/// What a disk writes whole.
const SECTOR: usize = 512;

/// By name: which file it is (it may have had another name), and what of the recording it is made of.
pub(super) type Image = BTreeMap<String, (usize, Vec<Piece>)>;

/// One change of a recording, or what is left of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Piece {
    change: usize,
    part: Part,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Whole,
    /// Torn: what comes before that byte of it.
    Head(usize),
    /// Torn: what comes after it.
    Tail(usize),
    /// The file is as long as it should be, and the bytes that are new read as zeros.
    Length,
}

/// What stays of the changes that are not synced.
#[derive(Debug, Clone, Copy)]
enum Kept {
    Nothing,
    All,
    First,
    Last,
    EveryOther,
    Lengths,
    /// All up to one that is torn, and what comes after it or not.
    Torn,
    Any,
}

/// These for all files alike.
const ALIKE: [Kept; 6] =
    [Kept::Nothing, Kept::All, Kept::First, Kept::Last, Kept::EveryOther, Kept::Lengths];

const ANY: [Kept; 8] = [
    Kept::Nothing,
    Kept::All,
    Kept::First,
    Kept::Last,
    Kept::EveryOther,
    Kept::Lengths,
    Kept::Torn,
    Kept::Any,
];

#[derive(Debug, Default)]
struct File {
    synced: Vec<Piece>,
    /// Numbers of changes.
    waiting: Vec<usize>,
}

#[derive(Debug, Clone)]
enum Naming {
    Name(String, usize),
    Rename { from: String, to: String, file: usize },
    Remove(String),
}

#[derive(Debug, Default)]
struct Disk {
    files: Vec<File>,
    /// The names as the process sees them.
    names: BTreeMap<String, usize>,
    synced: BTreeMap<String, usize>,
    waiting: Vec<Naming>,
}

/// Everything that may be left at any point, once each, with the last point at which it may be: what had
/// been promised by then is the most. `mixed` images a point choose for each file on its own.
pub(super) fn images(recording: &Recording, mixed: usize, seed: u64) -> BTreeMap<Image, usize> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut disk = Disk::holding(recording);
    let mut images = BTreeMap::new();
    for (number, change) in recording.changes.iter().enumerate() {
        disk.follow(number, change);
        for kept in ALIKE {
            images.insert(disk.image(recording, &mut random, |_| kept), number + 1);
        }
        for _ in 0..mixed {
            let any = |random: &mut StdRng| ANY[random.random_range(0..ANY.len())];
            images.insert(disk.image(recording, &mut random, any), number + 1);
        }
    }
    images
}

/// The image of a disk that was given the time to write everything.
pub(super) fn whole(recording: &Recording) -> Image {
    let mut disk = Disk::holding(recording);
    for (number, change) in recording.changes.iter().enumerate() {
        disk.follow(number, change);
    }
    disk.image(recording, &mut StdRng::seed_from_u64(0), |_| Kept::All)
}

/// The bytes of each file.
pub(super) fn contents(recording: &Recording, image: &Image) -> BTreeMap<String, Vec<u8>> {
    let before: Vec<_> = recording.before.values().collect();
    let made = image.iter().map(|(name, (file, pieces))| {
        let mut bytes = before.get(*file).map_or_else(Vec::new, |bytes| (*bytes).clone());
        for piece in pieces {
            piece.put(&recording.changes[piece.change], &mut bytes);
        }
        (name.clone(), bytes)
    });
    made.collect()
}

impl Disk {
    /// The files of before come first, in the order of their names.
    fn holding(recording: &Recording) -> Self {
        let names: BTreeMap<_, _> = recording.before.keys().cloned().zip(0..).collect();
        let files = names.iter().map(|_| File::default()).collect();
        Self { files, synced: names.clone(), names, waiting: Vec::new() }
    }

    fn follow(&mut self, number: usize, change: &Change) {
        match change {
            Change::Create(name) if !self.names.contains_key(name) => {
                self.files.push(File::default());
                self.rename(Naming::Name(name.clone(), self.files.len() - 1));
            }
            Change::Create(_) | Change::Note(_) => {}
            Change::Write { file, .. } | Change::Resize { file, .. } => {
                self.files[self.names[file]].waiting.push(number);
            }
            Change::Sync(file) => {
                let File { synced, waiting } = &mut self.files[self.names[file]];
                synced.extend(waiting.drain(..).map(whole_piece));
            }
            Change::SyncNames => {
                self.synced.clone_from(&self.names);
                self.waiting.clear();
            }
            Change::Rename { from, to } => {
                let (from, to, file) = (from.clone(), to.clone(), self.names[from]);
                self.rename(Naming::Rename { from, to, file });
            }
            Change::Remove(name) => self.rename(Naming::Remove(name.clone())),
        }
    }

    fn rename(&mut self, naming: Naming) {
        naming.put(&mut self.names);
        self.waiting.push(naming);
    }

    fn image(
        &self,
        recording: &Recording,
        random: &mut StdRng,
        choose: impl Fn(&mut StdRng) -> Kept,
    ) -> Image {
        let mut names = self.synced.clone();
        let kept = choose(random);
        let numbers: Vec<_> = (0..self.waiting.len()).collect();
        // A name is written whole: torn is to be there or not.
        for piece in keep(kept, &numbers, |_| (0, 0), random) {
            if !matches!(piece.part, Part::Head(_) | Part::Tail(_)) {
                self.waiting[piece.change].put(&mut names);
            }
        }
        let extent = |number: usize| match &recording.changes[number] {
            Change::Write { at, bytes, .. } => (*at, bytes.len()),
            _ => (0, 0),
        };
        let made = names.into_iter().map(|(name, number)| {
            let file = &self.files[number];
            let mut pieces = file.synced.clone();
            pieces.extend(keep(choose(random), &file.waiting, extent, random));
            (name, (number, pieces))
        });
        made.collect()
    }
}

fn whole_piece(change: usize) -> Piece {
    Piece { change, part: Part::Whole }
}

fn keep(
    kept: Kept,
    waiting: &[usize],
    extent: impl Fn(usize) -> (usize, usize),
    random: &mut StdRng,
) -> Vec<Piece> {
    let all = waiting.iter().copied().map(whole_piece);
    match kept {
        Kept::Nothing => Vec::new(),
        Kept::All => all.collect(),
        Kept::First => all.take(1).collect(),
        Kept::Last => all.skip(waiting.len().saturating_sub(1)).collect(),
        Kept::EveryOther => all.skip(1).step_by(2).collect(),
        Kept::Lengths => all.map(|piece| Piece { part: Part::Length, ..piece }).collect(),
        Kept::Any => all.filter(|_| random.random()).collect(),
        Kept::Torn => {
            let mut pieces: Vec<_> = all.collect();
            if pieces.is_empty() {
                return pieces;
            }
            let torn = random.random_range(0..pieces.len());
            let (at, length) = extent(pieces[torn].change);
            // Sectors are the disk's, wherever in one the write begins.
            let ends = (at / SECTOR + 1..(at + length).div_ceil(SECTOR)).map(|n| n * SECTOR - at);
            let ends: Vec<_> = ends.collect();
            let end = if ends.is_empty() { 0 } else { ends[random.random_range(0..ends.len())] };
            pieces[torn].part = if random.random() { Part::Head(end) } else { Part::Tail(end) };
            if random.random() {
                pieces.truncate(torn + 1);
            }
            pieces
        }
    }
}

impl Naming {
    fn put(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Name(name, file) => {
                names.insert(name.clone(), *file);
            }
            Self::Rename { from, to, file } => {
                if names.get(from) == Some(file) {
                    names.remove(from);
                }
                names.insert(to.clone(), *file);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

impl Piece {
    fn put(self, change: &Change, into: &mut Vec<u8>) {
        let (at, bytes) = match change {
            Change::Write { at, bytes, .. } => (*at, bytes),
            Change::Resize { size, .. } => return into.resize(*size, 0),
            _ => return,
        };
        let range = match self.part {
            Part::Whole => 0..bytes.len(),
            Part::Head(end) => 0..end,
            Part::Tail(start) => start..bytes.len(),
            Part::Length => bytes.len()..bytes.len(),
        };
        into.resize(into.len().max(at + range.end), 0);
        into[at + range.start..at + range.end].copy_from_slice(&bytes[range]);
    }
}
