//! What of a new file is in the old one, be it roughly: pieces of both side by side whose difference is mostly zeros.
//!
//! Short pieces of the old file are found by their hash; where one is found, both files are followed from there, forwards
//! and backwards, as long as more bytes are equal than not (the way of Percival, *Naive differences of executable
//! code*, 2003, with an index in place of the sorted suffixes). That suits programs, whose addresses move, and weights
//! that were trained on: they all differ a little, in the same places.

/// Bytes that must be equal for two places to be compared at all: each piece has as many.
pub(super) const SEED: usize = 8;

/// Every so manieth place of the old file is found by its hash.
const STEP: usize = 4;

/// Places with the same hash that are looked at.
const TRIES: usize = 16;

/// Equal bytes by which another place must be better than going on where it is.
const BETTER: usize = 8;

/// Equal bytes that are counted when two places are compared.
const ENOUGH: usize = 4096;

/// A piece of the new file, and the place in the old one that is like it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) old: usize,
    pub(super) new: usize,
    pub(super) length: usize,
}

/// Pieces of the new file in their order, none over another. What lies between is in the new file alone. Neither file may
/// have more than 2^32 bytes.
pub(super) fn matches(old: &[u8], new: &[u8]) -> Vec<Match> {
    let (index, mut found) = (Index::of(old), Vec::new());
    // Files of the same layout begin side by side.
    let mut piece = Match { old: 0, new: 0, length: 0 };
    let (mut at, mut sure) = (0, 0);
    while at + SEED <= new.len() {
        let beside = piece.old + (at - piece.new);
        let goes_on = equal(tail(old, beside), &new[at..], usize::MAX);
        if goes_on >= SEED {
            (at, sure) = (at + goes_on, at + goes_on);
            continue;
        }
        let (place, length) = index.longest(old, &new[at..]);
        if length < SEED || length <= count(tail(old, beside), &new[at..at + length]) + BETTER {
            at += 1;
            continue;
        }
        // The last piece goes on from where it is sure, the next one begins before where it was found; they meet
        // where most is equal.
        let on = &new[sure..at];
        let forth = furthest(tail(old, piece.old + (sure - piece.new)).iter().zip(on));
        let back = furthest(old[..place].iter().rev().zip(on.iter().rev()));
        let (forth, back) = match (forth + back).checked_sub(on.len()) {
            None => (forth, back),
            Some(both) => {
                let from = on.len() - back;
                let shared = &on[from..from + both];
                let first = tail(old, piece.old + (sure - piece.new) + from);
                let stays = meeting(first, &old[place - back..], shared);
                (from + stays, back - stays)
            }
        };
        piece.length = sure + forth - piece.new;
        found.push(piece);
        piece = Match { old: place - back, new: at - back, length: 0 };
        at += length;
        sure = at;
    }
    let rest = tail(old, piece.old + (sure - piece.new)).iter().zip(&new[sure..]);
    piece.length = sure + furthest(rest) - piece.new;
    found.push(piece);
    found.retain(|piece| piece.length > 0);
    found
}

/// Places of the old file by the hash of what begins there.
struct Index {
    /// The last place with each hash, counted in [`STEP`]s from 1; 0: none.
    last: Vec<u32>,
    /// The one before each place, counted so too.
    before: Vec<u32>,
    shift: u32,
}

impl Index {
    fn of(old: &[u8]) -> Self {
        let places = (old.len() / STEP).max(1);
        let bits = places.next_power_of_two().trailing_zeros().clamp(10, 26);
        let mut index = Self {
            last: vec![0; 1 << bits],
            before: Vec::with_capacity(places),
            shift: u64::BITS - bits,
        };
        for (number, seed) in (1..).zip(old.windows(SEED).step_by(STEP)) {
            let slot = index.slot(seed);
            index.before.push(std::mem::replace(&mut index.last[slot], number));
        }
        index
    }

    fn slot(&self, seed: &[u8]) -> usize {
        let seed = seed.iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
        // Knuth's multiplicative hash.
        let slot = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift;
        usize::try_from(slot).unwrap_or(0)
    }

    /// Where most of what begins the new bytes is found, and how much of it: [`ENOUGH`] at most.
    fn longest(&self, old: &[u8], new: &[u8]) -> (usize, usize) {
        let (mut best, mut number) = ((0, 0), self.last[self.slot(&new[..SEED])]);
        for _ in 0..TRIES {
            let Some(index) = number.checked_sub(1) else { break };
            let place = index as usize * STEP;
            let length = equal(&old[place..], new, ENOUGH);
            if length > best.1 {
                best = (place, length);
            }
            number = self.before[index as usize];
        }
        best
    }
}

fn tail(bytes: &[u8], from: usize) -> &[u8] {
    bytes.get(from..).unwrap_or_default()
}

/// Bytes that are equal from the beginning on.
fn equal(a: &[u8], b: &[u8], most: usize) -> usize {
    let most = a.len().min(b.len()).min(most);
    let whole = a[..most].chunks_exact(8).zip(b[..most].chunks_exact(8));
    let equal = 8 * whole.take_while(|(a, b)| a == b).count();
    equal + a[equal..most].iter().zip(&b[equal..most]).take_while(|(a, b)| a == b).count()
}

/// Bytes that are equal at all.
fn count(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).filter(|(a, b)| a == b).count()
}

/// How far two files may be followed side by side: as far as the equal bytes outnumber the others most.
fn furthest<'a>(pairs: impl Iterator<Item = (&'a u8, &'a u8)>) -> usize {
    let (mut score, mut best, mut length) = (0_isize, 0, 0);
    for (number, (a, b)) in (1..).zip(pairs) {
        score += if a == b { 1 } else { -1 };
        if score > best {
            (best, length) = (score, number);
        }
    }
    length
}

/// How much of what two places could both give is to come from the first.
fn meeting(first: &[u8], second: &[u8], shared: &[u8]) -> usize {
    let (mut score, mut best, mut length) = (0_isize, 0, 0);
    for (number, byte) in (1..).zip(shared) {
        score += isize::from(first.get(number - 1) == Some(byte));
        score -= isize::from(second.get(number - 1) == Some(byte));
        if score > best {
            (best, length) = (score, number);
        }
    }
    length
}
