//! What a model said, in the words of its task.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The meaning of a model's output, after postprocessing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "task")]
pub enum Prediction {
    /// One of several classes.
    Classification {
        /// The class with the largest score.
        label: Arc<str>,
        /// Its score; a probability when the package says `softmax` or `sigmoid`.
        score: f32,
        /// Every class with its score, in the order of the labels file.
        #[serde(with = "scores_map")]
        #[schemars(with = "std::collections::BTreeMap<String, f32>")]
        scores: Vec<(Arc<str>, f32)>,
    },
    /// Objects in a picture, best first.
    Detection {
        /// What was found, in pixels of the source image.
        detections: Vec<Detection>,
    },
    /// How unusual the input is; 0 is as usual as can be.
    Anomaly {
        /// The score in the units that the package's card states.
        score: f32,
    },
    /// Numbers with a meaning of their own.
    Regression {
        /// The model's output, flattened.
        values: Vec<f32>,
    },
    /// A direction in feature space, of Euclidean length 1.
    Embedding {
        /// The normalised vector.
        values: Vec<f32>,
    },
    /// The first output of a model of which nothing else is known.
    Tensor {
        /// The dimensions, row-major.
        shape: Vec<usize>,
        /// The elements as f32.
        values: Vec<f32>,
    },
}

impl Prediction {
    /// The scores that it has: of the best class, of the whole input, or of each detection.
    pub fn scores(&self) -> impl Iterator<Item = f32> {
        let (one, many) = match self {
            Self::Classification { score, .. } | Self::Anomaly { score } => (Some(*score), &[][..]),
            Self::Detection { detections } => (None, &detections[..]),
            Self::Regression { .. } | Self::Embedding { .. } | Self::Tensor { .. } => {
                (None, &[][..])
            }
        };
        one.into_iter().chain(many.iter().map(|detection| detection.score))
    }

    /// About what it takes in memory, in bytes. A label may be one of its own.
    pub fn weight(&self) -> usize {
        let label = |label: &str| label.len() + size_of::<(usize, usize, f32, usize)>();
        match self {
            Self::Classification { label: best, scores, .. } => {
                label(best) + scores.iter().map(|(name, _)| label(name)).sum::<usize>()
            }
            Self::Detection { detections } => {
                detections.iter().map(|found| label(&found.label) + 5 * size_of::<f32>()).sum()
            }
            Self::Anomaly { .. } => 0,
            Self::Regression { values }
            | Self::Embedding { values }
            | Self::Tensor { values, .. } => size_of_val(&**values),
        }
    }

    /// Two models say the same of an input: the same class; nine boxes in ten on the same objects, by class and half of
    /// their area; a score within a fifth; numbers within a tenth of their length; a direction within 26° (cosine 0.9).
    pub fn agrees(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Classification { label, .. }, Self::Classification { label: other, .. }) => {
                label == other
            }
            (Self::Detection { detections }, Self::Detection { detections: others }) => {
                let mut left: Vec<_> = others.iter().collect();
                let mut shared = 0;
                for found in detections {
                    let same = left
                        .iter()
                        .position(|other| other.label == found.label && other.iou(found) >= 0.5);
                    if let Some(place) = same {
                        left.swap_remove(place);
                        shared += 1;
                    }
                }
                20 * shared >= 9 * (detections.len() + others.len())
            }
            (Self::Anomaly { score: a }, Self::Anomaly { score: b }) => {
                (a - b).abs() <= 0.2 * a.abs().max(b.abs())
            }
            (Self::Embedding { values: a }, Self::Embedding { values: b }) => {
                let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
                a.len() == b.len() && dot(a, b) >= 0.9 * (dot(a, a) * dot(b, b)).sqrt()
            }
            (Self::Regression { values: a }, Self::Regression { values: b })
            | (Self::Tensor { values: a, .. }, Self::Tensor { values: b, .. }) => {
                let length = |values: &mut dyn Iterator<Item = f32>| {
                    values.map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt()
                };
                let apart = length(&mut a.iter().zip(b).map(|(a, b)| a - b));
                let longer = length(&mut a.iter().copied()).max(length(&mut b.iter().copied()));
                a.len() == b.len() && apart <= 0.1 * longer
            }
            _ => false,
        }
    }

    /// One of its scores lies in the band, its ends included: neither yes nor no.
    pub fn is_uncertain(&self, [low, high]: [f32; 2]) -> bool {
        self.scores().any(|score| (low..=high).contains(&score))
    }
}

/// One object in a picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Detection {
    /// The class.
    pub label: Arc<str>,
    /// 0 to 1.
    pub score: f32,
    /// Left edge in source pixels.
    pub x: f32,
    /// Top edge in source pixels.
    pub y: f32,
    /// Width in source pixels.
    pub w: f32,
    /// Height in source pixels.
    pub h: f32,
}

impl Detection {
    /// Intersection over union of the two boxes, 0 to 1.
    pub fn iou(&self, other: &Self) -> f32 {
        let w = (self.x + self.w).min(other.x + other.w) - self.x.max(other.x);
        let h = (self.y + self.h).min(other.y + other.h) - self.y.max(other.y);
        let shared = w.max(0.0) * h.max(0.0);
        let all = self.w * self.h + other.w * other.h - shared;
        if all > 0.0 { shared / all } else { 0.0 }
    }
}

/// Scores are a JSON object by label, kept in the order of the labels.
mod scores_map {
    use std::fmt;
    use std::sync::Arc;

    use serde::de::{MapAccess, Visitor};
    use serde::{Deserializer, Serializer};

    type Scores = Vec<(Arc<str>, f32)>;

    pub(super) fn serialize<S: Serializer>(scores: &Scores, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(scores.iter().map(|(label, score)| (label, score)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Scores, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Scores;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from label to score")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scores, A::Error> {
                let mut scores = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    scores.push(entry);
                }
                Ok(scores)
            }
        }
        from.deserialize_map(InOrder)
    }
}
