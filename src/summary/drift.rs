//! How far what comes in, and what the model makes of it, is from what the model was made with: the population
//! stability index over the bins between the quantiles of the reference,
//! `Σ (found − expected) · ln(found / expected)`.

use serde::Serialize;

use super::sketch::short;
use crate::event::{Frame, Input};
use crate::package::{Quantile, Reference};

/// With fewer values the index says more of chance than of drift.
const LEAST: u64 = 100;

/// A bin that is empty counts as if this part were in it.
const FLOOR: f64 = 1e-4;

/// Of the values of a window one in so many is looked at; of the pixels of a picture one in so many across and
/// down.
const STRIDE: usize = 8;

/// What the scores and inputs of a model are compared with.
#[derive(Debug)]
pub struct Baseline {
    scores: Expected,
    input: Vec<Expected>,
}

/// Bins that a known part of the values is expected in.
#[derive(Debug, Default)]
struct Expected {
    /// Upper bounds, each included, of all bins but the last.
    bounds: Vec<f64>,
    parts: Vec<f64>,
}

/// How many values fell into each bin.
#[derive(Debug, Clone)]
pub(super) struct Found {
    scores: Vec<u64>,
    input: Vec<Vec<u64>>,
}

/// How far scores and inputs are from the reference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Drift {
    /// Of the scores; null where the reference knows nothing of them, or too few came.
    pub score: Option<Shift>,
    /// Of each input channel that the reference knows and enough came of.
    pub input: Vec<ChannelDrift>,
}

/// How far one channel is from the reference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChannelDrift {
    /// Which one, from 0.
    pub channel: usize,
    /// How far.
    #[serde(flatten)]
    pub shift: Shift,
}

/// A population stability index, and what it is usually taken for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Shift {
    /// 0: as expected.
    pub psi: f64,
    /// In a word.
    pub reading: Reading,
}

/// The usual reading of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// Below 0.1.
    Stable,
    /// Below 0.25: worth a look.
    Moderate,
    /// 0.25 or more: the model sees another world than the one it was made for.
    Large,
}

impl Baseline {
    /// The bins between the quantiles of a package's `reference.json`.
    pub fn new(reference: &Reference) -> Self {
        Self {
            scores: Expected::new(&reference.scores),
            input: reference.input.iter().map(|channel| Expected::new(channel)).collect(),
        }
    }

    pub(super) fn nothing_found(&self) -> Found {
        let empty = |expected: &Expected| vec![0; expected.parts.len()];
        Found { scores: empty(&self.scores), input: self.input.iter().map(empty).collect() }
    }

    pub(super) fn add_score(&self, found: &mut Found, score: f32) {
        self.scores.add(&mut found.scores, f64::from(score));
    }

    pub(super) fn add_input(&self, found: &mut Found, input: &Input) {
        for ((channel, expected), found) in self.input.iter().enumerate().zip(&mut found.input) {
            match input {
                Input::Samples(samples) if channel < samples.channels => {
                    for instant in (0..samples.len()).step_by(STRIDE) {
                        expected.add(found, f64::from(samples.at(instant, channel)));
                    }
                }
                Input::Frame(frame) => {
                    for pixel in pixels(frame) {
                        // A gray picture has in each channel what it has in its one.
                        if let Some(value) = pixel.get(channel).or(pixel.first()) {
                            expected.add(found, f64::from(*value));
                        }
                    }
                }
                Input::Samples(_) => {}
            }
        }
    }

    /// Which part of the values lies below the lowest or above the highest quantile of its channel, in the
    /// channel where that is most; `None` where the reference knows nothing of the input.
    pub(super) fn outside(&self, input: &Input) -> Option<f64> {
        let mut found = self.nothing_found();
        self.add_input(&mut found, input);
        let parts = found.input.iter().filter_map(|bins| {
            let all: u64 = bins.iter().sum();
            let ends = bins.first()? + bins.last()?;
            (all > 0).then(|| ends as f64 / all as f64)
        });
        parts.reduce(f64::max)
    }

    pub(super) fn drift(&self, found: &Found) -> Drift {
        let input = self.input.iter().zip(&found.input).enumerate();
        Drift {
            score: self.scores.shift(&found.scores),
            input: input
                .filter_map(|(channel, (expected, found))| {
                    Some(ChannelDrift { channel, shift: expected.shift(found)? })
                })
                .collect(),
        }
    }
}

fn pixels(frame: &Frame) -> impl Iterator<Item = &[u8]> {
    let channels = frame.pixels.channels();
    let rows = frame.data.chunks_exact(frame.width as usize * channels).step_by(STRIDE);
    rows.flat_map(move |row| row.chunks_exact(channels).step_by(STRIDE))
}

impl Expected {
    fn new(quantiles: &[Quantile]) -> Self {
        let mut expected = Self::default();
        let mut below = 0.0;
        for (place, quantile) in quantiles.iter().enumerate() {
            // Of equal values the last tells which part is not larger.
            if quantiles.get(place + 1).is_some_and(|next| next.value <= quantile.value) {
                continue;
            }
            expected.bounds.push(quantile.value);
            expected.parts.push(quantile.part - below);
            below = quantile.part;
        }
        if !expected.bounds.is_empty() {
            expected.parts.push(1.0 - below);
        }
        expected
    }

    fn add(&self, found: &mut [u64], value: f64) {
        let bin = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = found.get_mut(bin) {
            *count += 1;
        }
    }

    fn shift(&self, found: &[u64]) -> Option<Shift> {
        let all: u64 = found.iter().sum();
        if all < LEAST {
            return None;
        }
        let index = self.parts.iter().zip(found).map(|(expected, found)| {
            let (expected, found) = (expected.max(FLOOR), (*found as f64 / all as f64).max(FLOOR));
            (found - expected) * (found / expected).ln()
        });
        let psi = short(index.sum());
        let reading = match psi {
            psi if psi < 0.1 => Reading::Stable,
            psi if psi < 0.25 => Reading::Moderate,
            _ => Reading::Large,
        };
        Some(Shift { psi, reading })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Order, Pixels, Samples};

    fn quantiles(told: &[(f64, f64)]) -> Vec<Quantile> {
        told.iter().map(|(part, value)| Quantile { part: *part, value: *value }).collect()
    }

    fn quarters() -> Expected {
        Expected::new(&quantiles(&[(0.25, 1.0), (0.5, 2.0), (0.75, 3.0)]))
    }

    #[test]
    fn the_index_is_the_usual_one() {
        let expected = quarters();
        assert_eq!(expected.shift(&[25, 25, 25, 24]), None, "too few");
        let shift = |found: [u64; 4]| expected.shift(&found).expect("enough");
        assert_eq!(shift([50, 50, 50, 50]), Shift { psi: 0.0, reading: Reading::Stable });
        // (0.40 − 0.25) ln 1.6 + 2 · (0.20 − 0.25) ln 0.8 + (0.20 − 0.25) ln 0.8
        let moderate = shift([40, 20, 20, 20]);
        let by_hand = 0.15 * 1.6_f64.ln() + 3.0 * -0.05 * 0.8_f64.ln();
        assert!((moderate.psi - by_hand).abs() < 1e-5, "{moderate:?}");
        assert_eq!(moderate.reading, Reading::Moderate);
        let gone = shift([0, 0, 0, 100]);
        assert!(gone.psi.is_finite() && gone.reading == Reading::Large, "{gone:?}");
    }

    #[test]
    fn a_value_on_a_bound_is_below_it_and_equal_bounds_are_one() {
        let expected = quarters();
        let mut found = [0; 4];
        for value in [1.0, 1.5, 3.0, 9.0] {
            expected.add(&mut found, value);
        }
        assert_eq!(found, [1, 1, 1, 1]);
        let one = Expected::new(&quantiles(&[(0.25, 0.5), (0.5, 1.0), (0.75, 1.0), (0.99, 1.0)]));
        assert_eq!(one.bounds, [0.5, 1.0]);
        assert_eq!(one.parts, [0.25, 0.74, 1.0 - 0.99]);
    }

    #[test]
    fn without_a_reference_nothing_is_said() {
        let baseline = Baseline::new(&Reference::default());
        let mut found = baseline.nothing_found();
        for _ in 0..1000 {
            baseline.add_score(&mut found, 0.5);
        }
        assert_eq!(baseline.drift(&found), Drift { score: None, input: vec![] });
    }

    #[test]
    fn each_channel_is_looked_at_by_itself() {
        let channel = quantiles(&[(0.5, 10.0)]);
        let reference = Reference { scores: vec![], input: vec![channel.clone(), channel] };
        let baseline = Baseline::new(&reference);
        let mut found = baseline.nothing_found();
        // The first channel is half below and half above, the second always above.
        let values: Vec<_> =
            (0..1600).flat_map(|n| [f32::from(n / 8 % 2 == 0) * 20.0, 20.0]).collect();
        let samples = Samples { channels: 2, order: Order::Interleaved, values };
        baseline.add_input(&mut found, &Input::Samples(samples));
        let drift = baseline.drift(&found);
        let readings: Vec<_> = drift.input.iter().map(|c| (c.channel, c.shift.reading)).collect();
        assert_eq!(readings, [(0, Reading::Stable), (1, Reading::Large)]);

        let mut found = baseline.nothing_found();
        let (width, height) = (80, 80);
        let frame = Frame::new(width, height, Pixels::Gray, vec![20; (width * height) as usize]);
        baseline.add_input(&mut found, &Input::Frame(frame));
        assert_eq!(found.input, [[0, 100], [0, 100]]);
    }
}
