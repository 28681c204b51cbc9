//! Boxes that may be objects, and which of them stay.

use std::cmp::Ordering;

/// Only so many best boxes are compared with each other: n² of them take a millisecond.
const MAX_CANDIDATES: usize = 1000;

/// A box in the model's input (left, top, right, bottom, in pixels).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub(super) score: f32,
    pub(super) class: usize,
    pub(super) corners: [f32; 4],
}

impl Candidate {
    /// From centre and size.
    pub(super) fn centred(score: f32, class: usize, [cx, cy, w, h]: [f32; 4]) -> Self {
        let corners = [cx - w / 2.0, cy - h / 2.0, cx + w / 2.0, cy + h / 2.0];
        Self { score, class, corners }
    }

    fn area(&self) -> f32 {
        let [x1, y1, x2, y2] = self.corners;
        (x2 - x1).max(0.0) * (y2 - y1).max(0.0)
    }

    /// Intersection over union, 0 to 1.
    fn overlap(&self, other: &Self) -> f32 {
        let ([a1, b1, a2, b2], [c1, d1, c2, d2]) = (self.corners, other.corners);
        let shared = (a2.min(c2) - a1.max(c1)).max(0.0) * (b2.min(d2) - b1.max(d1)).max(0.0);
        let all = self.area() + other.area() - shared;
        if all > 0.0 { shared / all } else { 0.0 }
    }
}

/// Best first; equal scores in an order that does not depend on how they were found.
fn better(a: &Candidate, b: &Candidate) -> Ordering {
    let corners = || {
        let pairs = a.corners.iter().zip(&b.corners);
        pairs.map(|(a, b)| a.total_cmp(b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    };
    b.score.total_cmp(&a.score).then(a.class.cmp(&b.class)).then_with(corners)
}

/// The best candidates, best first, at most [`MAX_CANDIDATES`].
pub(super) fn best(mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    if candidates.len() > MAX_CANDIDATES {
        candidates.select_nth_unstable_by(MAX_CANDIDATES, better);
        candidates.truncate(MAX_CANDIDATES);
    }
    candidates.sort_unstable_by(better);
    candidates
}

/// Greedy suppression class by class: a box goes when it overlaps a better one of its class by more
/// than `iou`. At most `max` stay.
pub(super) fn suppress(sorted: &[Candidate], iou: f32, max: usize) -> Vec<Candidate> {
    let mut kept: Vec<Candidate> = Vec::new();
    for candidate in sorted {
        if kept.len() == max {
            break;
        }
        let rivals = kept.iter().filter(|rival| rival.class == candidate.class);
        if rivals.into_iter().all(|rival| rival.overlap(candidate) <= iou) {
            kept.push(*candidate);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(score: f32, class: usize, x: f32) -> Candidate {
        Candidate { score, class, corners: [x, 0.0, x + 10.0, 10.0] }
    }

    #[test]
    fn only_its_own_class_suppresses_a_box() {
        let all = best(vec![at(0.5, 0, 1.0), at(0.9, 0, 0.0), at(0.7, 1, 0.0), at(0.6, 0, 20.0)]);
        let kept = suppress(&all, 0.45, 100);
        assert_eq!(kept, [at(0.9, 0, 0.0), at(0.7, 1, 0.0), at(0.6, 0, 20.0)]);
        assert_eq!(suppress(&all, 0.45, 2), kept[..2]);
        assert_eq!(suppress(&all, 0.95, 100).len(), 4);
    }

    #[test]
    fn ten_thousand_boxes_are_cut_to_the_best() {
        let all = (0..10_000_u16).map(|i| at(f32::from(i) / 10_000.0, 0, 0.0)).collect();
        let sorted = best(all);
        assert_eq!(sorted.len(), MAX_CANDIDATES);
        assert!((sorted[0].score - 0.9999).abs() < 1e-6 && sorted[999].score >= 0.8999);
    }

    proptest! {
        #[test]
        fn what_stays_neither_overlaps_nor_rises(
            boxes in prop::collection::vec((0.0_f32..1.0, 0_usize..3, -50.0_f32..50.0), 0..60)
        ) {
            let all = boxes.iter().map(|(s, c, x)| at(*s, *c, *x)).collect();
            let kept = suppress(&best(all), 0.3, 20);
            for (i, a) in kept.iter().enumerate() {
                for b in &kept[i + 1..] {
                    prop_assert!(a.score >= b.score);
                    prop_assert!(a.class != b.class || a.overlap(b) <= 0.3);
                }
            }
        }
    }
}
