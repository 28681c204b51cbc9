//! Answers that are kept for when the same content comes again.

use super::Answer;
use crate::task;
pub use crate::task::ContentHash;

/// Answers by content, within a bound of bytes; who was asked for least lately makes room.
#[derive(Debug)]
pub struct Cache(task::Cache<Answer>);

impl Cache {
    /// Keeps about so many bytes.
    pub fn new(most: usize) -> Self {
        Self(task::Cache::new(most))
    }

    /// What was answered to this content.
    pub fn get(&mut self, content: &ContentHash) -> Option<Answer> {
        self.0.get(content)
    }

    /// Keeps an answer, unless it is larger than all that may be kept.
    pub fn put(&mut self, content: ContentHash, answer: Answer) {
        let bytes = answer.prediction.weight();
        self.0.put(content, answer, bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::{Name, Prediction};

    /// Where no labels are known here, the remote may call a class whatever it likes.
    #[test]
    fn the_name_of_the_best_class_takes_room_as_well() {
        let label = "x".repeat(1 << 20).into();
        let prediction = Prediction::Classification { label, score: 0.9, scores: vec![] };
        let large =
            Answer { prediction: Arc::new(prediction), model: Name::near("big"), version: 1 };
        let mut cache = Cache::new(1 << 20);
        let hash = task::content_hash(&[b"a"]);
        cache.put(hash, large);
        assert!(cache.get(&hash).is_none());
    }
}
