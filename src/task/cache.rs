//! What was made of a content once, kept for when the same content comes again.

use std::collections::{BTreeMap, HashMap};

use sha2::{Digest, Sha256};

/// The hash of what something depends on.
pub type ContentHash = [u8; 32];

/// What an entry takes beside what is kept: both maps, the hash, the counts.
const OVERHEAD: usize = 256;

/// The hash of some bytes and of others that belong to them.
pub fn content_hash(parts: &[&[u8]]) -> ContentHash {
    let mut hasher = Sha256::new();
    for part in parts {
        // The length of each keeps them apart.
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// Values by content, within a bound of bytes; who was asked for least lately makes room.
#[derive(Debug)]
pub struct Cache<T> {
    most: usize,
    bytes: usize,
    /// Counts up with every use.
    uses: u64,
    kept: HashMap<ContentHash, Kept<T>>,
    /// By their last use.
    order: BTreeMap<u64, ContentHash>,
}

#[derive(Debug)]
struct Kept<T> {
    value: T,
    bytes: usize,
    used: u64,
}

impl<T: Clone> Cache<T> {
    /// Keeps about so many bytes.
    pub fn new(most: usize) -> Self {
        Self { most, bytes: 0, uses: 0, kept: HashMap::new(), order: BTreeMap::new() }
    }

    /// What is kept of this content.
    pub fn get(&mut self, content: &ContentHash) -> Option<T> {
        let kept = self.kept.get_mut(content)?;
        self.order.remove(&kept.used);
        self.uses += 1;
        kept.used = self.uses;
        self.order.insert(self.uses, *content);
        Some(kept.value.clone())
    }

    /// Keeps a value of so many bytes, unless it is larger than all that may be kept.
    pub fn put(&mut self, content: ContentHash, value: T, bytes: usize) {
        let bytes = OVERHEAD.saturating_add(bytes);
        if bytes > self.most {
            return;
        }
        self.remove(&content);
        while self.bytes + bytes > self.most {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.remove(&oldest);
        }
        self.uses += 1;
        self.bytes += bytes;
        self.order.insert(self.uses, content);
        self.kept.insert(content, Kept { value, bytes, used: self.uses });
    }

    fn remove(&mut self, content: &ContentHash) {
        if let Some(gone) = self.kept.remove(content) {
            self.order.remove(&gone.used);
            self.bytes -= gone.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_least_lately_makes_room() {
        let mut cache = Cache::new(3 * (OVERHEAD + 4));
        let hash = |n: u8| content_hash(&[&[n]]);
        for n in 0..3 {
            cache.put(hash(n), n, 4);
        }
        assert!(cache.get(&hash(0)).is_some(), "used again");
        cache.put(hash(3), 3, 4);
        assert!(cache.get(&hash(1)).is_none(), "the oldest");
        assert_eq!([0, 2, 3].map(|n| cache.get(&hash(n))), [Some(0), Some(2), Some(3)]);
        // One that takes the room of two.
        cache.put(hash(4), 4, OVERHEAD + 8);
        assert_eq!((cache.kept.len(), cache.order.len()), (2, 2));
        assert!(cache.get(&hash(3)).is_some());
    }

    #[test]
    fn one_content_is_kept_once_and_what_never_fits_not_at_all() {
        let mut cache = Cache::new(2 * (OVERHEAD + 4));
        let hash = content_hash(&[b"a"]);
        for n in 0..9_u8 {
            cache.put(hash, n, 4);
        }
        assert_eq!((cache.bytes, cache.kept.len(), cache.order.len()), (OVERHEAD + 4, 1, 1));
        cache.put(content_hash(&[b"b"]), 0, 40_000);
        assert!(cache.get(&content_hash(&[b"b"])).is_none());
        let mut none = Cache::new(0);
        none.put(hash, 0, 0);
        assert!(none.get(&hash).is_none());
    }

    #[test]
    fn parts_are_told_apart() {
        assert_ne!(content_hash(&[b"ab", b"c"]), content_hash(&[b"a", b"bc"]));
        assert_eq!(content_hash(&[b"ab"]), content_hash(&[b"ab"]));
    }
}
