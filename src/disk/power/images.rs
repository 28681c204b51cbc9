//! What a disk may hold after its power went, at any point of a recording.
//!
//! What was synced is there. Of what was changed since, each file, and the directories with their names, keep
//! any part in any order: a disk and its file system may write what waits as they like. A rename alone is
//! written in both its directories or in none.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::recording::{Change, Files, Recording};

/// What a disk writes whole.
const SECTOR: usize = 512;

/// By path, as [`Files`]: which file it is (it may have had another name), and what of the recording it is made of.
pub(crate) type Image = BTreeMap<String, (usize, Vec<Piece>)>;

/// One change of a recording, or what is left of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Piece {
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

/// A file, or a directory, which has only names.
#[derive(Debug, Default)]
struct Node {
    is_directory: bool,
    synced: Vec<Piece>,
    /// Numbers of changes.
    waiting: Vec<usize>,
}

/// The number of a directory, and a name in it.
type Place = (usize, String);

/// What all names stand for.
type Names = BTreeMap<Place, usize>;

#[derive(Debug, Clone)]
enum Naming {
    Name(Place, usize),
    Rename { from: Place, to: Place, node: usize },
    Remove(Place),
}

#[derive(Debug, Default)]
struct Disk {
    /// The directory itself, then those of before in the order of their names, then what was made.
    nodes: Vec<Node>,
    /// The names as the process sees them.
    names: Names,
    synced: Names,
    waiting: Vec<Naming>,
}

/// Everything that may be left at any point, once each, with the last point at which it may be: what had
/// been promised by then is the most. `mixed` images a point choose for each file on its own.
pub(crate) fn images(recording: &Recording, mixed: usize, seed: u64) -> BTreeMap<Image, usize> {
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
pub(crate) fn whole(recording: &Recording) -> Image {
    let mut disk = Disk::holding(recording);
    for (number, change) in recording.changes.iter().enumerate() {
        disk.follow(number, change);
    }
    disk.image(recording, &mut StdRng::seed_from_u64(0), |_| Kept::All)
}

/// The bytes of each file.
pub(crate) fn contents(recording: &Recording, image: &Image) -> Files {
    let before: Vec<_> = recording.before.values().collect();
    let made = image.iter().map(|(name, (node, pieces))| {
        let mut bytes = before.get(*node - 1).map_or_else(Vec::new, |bytes| (*bytes).clone());
        for piece in pieces {
            piece.put(&recording.changes[piece.change], &mut bytes);
        }
        (name.clone(), bytes)
    });
    made.collect()
}

impl Disk {
    fn holding(recording: &Recording) -> Self {
        let mut disk = Self::default();
        disk.add(true);
        for path in recording.before.keys() {
            let place = disk.place(path.trim_end_matches('/'));
            let node = disk.add(path.ends_with('/'));
            disk.names.insert(place, node);
        }
        disk.synced = disk.names.clone();
        disk
    }

    fn add(&mut self, is_directory: bool) -> usize {
        self.nodes.push(Node { is_directory, ..Node::default() });
        self.nodes.len() - 1
    }

    fn place(&self, path: &str) -> Place {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        (self.node(directory), name.to_owned())
    }

    fn node(&self, path: &str) -> usize {
        if path.is_empty() { 0 } else { self.names[&self.place(path)] }
    }

    fn follow(&mut self, number: usize, change: &Change) {
        match change {
            Change::Create(path) if self.names.contains_key(&self.place(path)) => {}
            Change::Create(path) | Change::MakeDirectory(path) => {
                let node = self.add(matches!(change, Change::MakeDirectory(_)));
                self.rename(Naming::Name(self.place(path), node));
            }
            Change::Note(_) => {}
            Change::Write { file, .. } | Change::Resize { file, .. } => {
                let node = self.node(file);
                self.nodes[node].waiting.push(number);
            }
            Change::Sync(path) => {
                let node = self.node(path);
                let Node { is_directory, synced, waiting } = &mut self.nodes[node];
                synced.extend(waiting.drain(..).map(whole_piece));
                if *is_directory {
                    self.sync_names(node);
                }
            }
            Change::Rename { from, to } => {
                let (node, from, to) = (self.node(from), self.place(from), self.place(to));
                self.rename(Naming::Rename { from, to, node });
            }
            Change::Remove(path) => self.rename(Naming::Remove(self.place(path))),
        }
    }

    fn rename(&mut self, naming: Naming) {
        naming.put(&mut self.names);
        self.waiting.push(naming);
    }

    /// What waits in a directory is written, and before that what waits where something came from.
    fn sync_names(&mut self, directory: usize) {
        let mut directories = BTreeSet::from([directory]);
        let mut written = Vec::new();
        for (number, naming) in self.waiting.iter().enumerate().rev() {
            if naming.directories().any(|one| directories.contains(&one)) {
                directories.extend(naming.directories());
                written.push(number);
            }
        }
        for number in written.iter().rev() {
            self.waiting[*number].put(&mut self.synced);
        }
        let mut number = 0;
        self.waiting.retain(|_| {
            number += 1;
            !written.contains(&(number - 1))
        });
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
        let mut image = Image::new();
        let mut reached = vec![(String::new(), 0)];
        while let Some((path, directory)) = reached.pop() {
            let within = (directory, String::new())..(directory + 1, String::new());
            for ((_, name), number) in names.range(within) {
                let node = &self.nodes[*number];
                let path = format!("{path}{name}{}", if node.is_directory { "/" } else { "" });
                let mut pieces = node.synced.clone();
                pieces.extend(keep(choose(random), &node.waiting, extent, random));
                if node.is_directory {
                    reached.push((path.clone(), *number));
                }
                image.insert(path, (*number, pieces));
            }
        }
        image
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
    fn put(&self, names: &mut Names) {
        match self {
            Self::Name(place, node) => {
                names.insert(place.clone(), *node);
            }
            Self::Rename { from, to, node } => {
                if names.get(from) == Some(node) {
                    names.remove(from);
                }
                names.insert(to.clone(), *node);
            }
            Self::Remove(place) => {
                names.remove(place);
            }
        }
    }

    fn directories(&self) -> impl Iterator<Item = usize> {
        let (one, other) = match self {
            Self::Rename { from, to, .. } => (from.0, to.0),
            Self::Name(place, _) | Self::Remove(place) => (place.0, place.0),
        };
        [one, other].into_iter()
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
