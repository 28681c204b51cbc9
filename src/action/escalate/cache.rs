//! Answers that are kept for when the same content comes again.

use std::collections::{BTreeMap, HashMap};

use sha2::{Digest, Sha256};

use super::Answer;
use crate::event::Prediction;

/// The hash of what an answer depends on.
pub type ContentHash = [u8; 32];

/// What an entry takes beside its words: both maps, the hash, the counts.
const OVERHEAD: usize = 256;

/// The hash of some bytes and of others that belong to them.
pub(super) fn content_hash(parts: &[&[u8]]) -> ContentHash {
    let mut hasher = Sha256::new();
    for part in parts {
        // The length of each keeps them apart.
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// Answers by content, within a bound of bytes; who was asked for least lately makes room.
#[derive(Debug)]
pub struct Cache {
    most: usize,
    bytes: usize,
    /// Counts up with every use.
    uses: u64,
    kept: HashMap<ContentHash, Kept>,
    /// By their last use.
    order: BTreeMap<u64, ContentHash>,
}

#[derive(Debug)]
struct Kept {
    answer: Answer,
    bytes: usize,
    used: u64,
}

impl Cache {
    /// Keeps about so many bytes.
    pub fn new(most: usize) -> Self {
        Self { most, bytes: 0, uses: 0, kept: HashMap::new(), order: BTreeMap::new() }
    }

    /// What was answered to this content.
    pub fn get(&mut self, content: &ContentHash) -> Option<Answer> {
        let kept = self.kept.get_mut(content)?;
        self.order.remove(&kept.used);
        self.uses += 1;
        kept.used = self.uses;
        self.order.insert(self.uses, *content);
        Some(kept.answer.clone())
    }

    /// Keeps an answer, unless it is larger than all that may be kept.
    pub fn put(&mut self, content: ContentHash, answer: Answer) {
        let bytes = OVERHEAD + weight(&answer.prediction);
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
        self.kept.insert(content, Kept { answer, bytes, used: self.uses });
    }

    fn remove(&mut self, content: &ContentHash) {
        if let Some(gone) = self.kept.remove(content) {
            self.order.remove(&gone.used);
            self.bytes -= gone.bytes;
        }
    }
}

/// About what a prediction takes in memory, in bytes. A label may be one of its own.
fn weight(prediction: &Prediction) -> usize {
    let label = |label: &str| label.len() + size_of::<(usize, usize, f32, usize)>();
    match prediction {
        Prediction::Classification { label: best, scores, .. } => {
            label(best) + scores.iter().map(|(name, _)| label(name)).sum::<usize>()
        }
        Prediction::Detection { detections } => {
            detections.iter().map(|found| label(&found.label) + 5 * size_of::<f32>()).sum()
        }
        Prediction::Anomaly { .. } => 0,
        Prediction::Regression { values }
        | Prediction::Embedding { values }
        | Prediction::Tensor { values, .. } => size_of_val(&**values),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::Name;

    fn answer(score: f32, more: usize) -> Answer {
        let values = vec![score; 1 + more];
        let prediction = Arc::new(Prediction::Regression { values });
        Answer { prediction, model: Name::near("big"), version: 1 }
    }

    #[test]
    fn what_was_used_least_lately_makes_room() {
        let mut cache = Cache::new(3 * (OVERHEAD + 4));
        let hash = |n: u8| content_hash(&[&[n]]);
        for n in 0..3 {
            cache.put(hash(n), answer(f32::from(n), 0));
        }
        assert!(cache.get(&hash(0)).is_some(), "used again");
        cache.put(hash(3), answer(3.0, 0));
        assert!(cache.get(&hash(1)).is_none(), "the oldest");
        let there = [0, 2, 3].map(|n| cache.get(&hash(n)).map(|found| found.prediction));
        assert_eq!(there, [0, 2, 3].map(|n: u8| Some(answer(f32::from(n), 0).prediction)));
        // One that takes the room of two.
        cache.put(hash(4), answer(4.0, (OVERHEAD + 4) / 4));
        assert_eq!((cache.kept.len(), cache.order.len()), (2, 2));
        assert!(cache.get(&hash(3)).is_some());
    }

    #[test]
    fn one_content_is_kept_once_and_what_never_fits_not_at_all() {
        let mut cache = Cache::new(2 * (OVERHEAD + 4));
        let hash = content_hash(&[b"a"]);
        for n in 0..9_u8 {
            cache.put(hash, answer(f32::from(n), 0));
        }
        assert_eq!((cache.bytes, cache.kept.len(), cache.order.len()), (OVERHEAD + 4, 1, 1));
        cache.put(content_hash(&[b"b"]), answer(0.0, 10_000));
        assert!(cache.get(&content_hash(&[b"b"])).is_none());
        let mut none = Cache::new(0);
        none.put(hash, answer(0.0, 0));
        assert!(none.get(&hash).is_none());
    }

    /// Where no labels are known here, the remote may call a class whatever it likes.
    #[test]
    fn the_name_of_the_best_class_takes_room_as_well() {
        let label = "x".repeat(1 << 20).into();
        let prediction = Prediction::Classification { label, score: 0.9, scores: vec![] };
        let large = Answer { prediction: Arc::new(prediction), ..answer(0.0, 0) };
        let mut cache = Cache::new(1 << 20);
        let hash = content_hash(&[b"a"]);
        cache.put(hash, large);
        assert!(cache.get(&hash).is_none());
    }

    #[test]
    fn parts_are_told_apart() {
        assert_ne!(content_hash(&[b"ab", b"c"]), content_hash(&[b"a", b"bc"]));
        assert_eq!(content_hash(&[b"ab"]), content_hash(&[b"ab"]));
    }
}
