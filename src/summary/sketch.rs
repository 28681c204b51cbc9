//! How values are spread, as records tell it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sketches_ddsketch::DDSketch;

/// A few quantiles for people, and a sketch that adds up with others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// How many values.
    pub count: usize,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// Their mean.
    pub mean: f64,
    /// Within 1 % of the value, like the other quantiles.
    pub p05: f64,
    /// The median.
    pub p50: f64,
    /// Of twenty, the largest but one.
    pub p95: f64,
    /// Of a hundred, the largest but one.
    pub p99: f64,
    /// All of it: a `DDSketch` of 1 % relative error, as the sketches-java library of Datadog writes one, in
    /// base64. Sketches of several windows or devices can be merged.
    pub sketch: String,
}

impl Spread {
    /// `None` without values.
    pub fn of(sketch: &DDSketch) -> Option<Self> {
        let (min, max, count) = (sketch.min()?, sketch.max()?, sketch.count());
        Self::with(sketch, (min, max), sketch.sum()? / count as f64)
    }

    /// What both tell of together; `None`: a sketch is none, or of another kind.
    pub(super) fn merge(&self, other: &Self) -> Option<Self> {
        let read =
            |spread: &Self| DDSketch::from_java_bytes(&STANDARD.decode(&spread.sketch).ok()?).ok();
        let mut sketch = read(self)?;
        sketch.merge(&read(other)?).ok()?;
        let sum = |spread: &Self| spread.mean * spread.count as f64;
        let mean = (sum(self) + sum(other)) / (self.count + other.count) as f64;
        Self::with(&sketch, (self.min.min(other.min), self.max.max(other.max)), mean)
    }

    fn with(sketch: &DDSketch, (min, max): (f64, f64), mean: f64) -> Option<Self> {
        let quantile = |q| sketch.quantile(q).ok().flatten().map(|v| short(v.clamp(min, max)));
        Some(Self {
            count: sketch.count(),
            min: short(min),
            max: short(max),
            mean: short(mean),
            p05: quantile(0.05)?,
            p50: quantile(0.5)?,
            p95: quantile(0.95)?,
            p99: quantile(0.99)?,
            sketch: STANDARD.encode(sketch.to_java_bytes()),
        })
    }
}

/// Six digits: more than the sketch knows, and a third of the bytes.
pub(super) fn short(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sketches_ddsketch::Config;

    #[test]
    fn quantiles_are_within_one_percent_and_the_sketch_is_read_back() {
        let mut sketch = DDSketch::new(Config::defaults());
        assert_eq!(Spread::of(&sketch), None);
        for value in 1..=1000 {
            sketch.add(f64::from(value) / 1e3);
        }
        let spread = Spread::of(&sketch).expect("values");
        assert_eq!((spread.count, spread.min, spread.max, spread.mean), (1000, 0.001, 1.0, 0.5005));
        for (found, wanted) in
            [(spread.p05, 0.05), (spread.p50, 0.5), (spread.p95, 0.95), (spread.p99, 0.99)]
        {
            assert!((found / wanted - 1.0_f64).abs() < 0.0101, "{found} for {wanted}");
        }
        let bytes = STANDARD.decode(&spread.sketch).expect("base64");
        let read = DDSketch::from_java_bytes(&bytes).expect("a sketch");
        assert_eq!(read.count(), 1000);
        assert!(
            (read.quantile(0.5).expect("quantile").expect("a value") - spread.p50).abs() < 1e-5
        );
    }
}
