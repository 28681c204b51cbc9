//! `reference.json`: how scores and inputs were distributed when the model was made, to tell drift from.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::PackageError;
use crate::disk;

/// Far more than any model's channels take.
const MAX_BYTES: u64 = 1 << 20;

/// What the scores and the inputs of a model were like.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reference {
    /// Of the best class, of each detection, or of the anomaly score.
    pub scores: Vec<Quantile>,
    /// Of the raw values of each channel; empty where nothing is known of one.
    pub input: Vec<Vec<Quantile>>,
}

/// A value, and which part of all values is not larger.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantile {
    /// 0 to 1, both excluded.
    pub part: f64,
    /// The value.
    pub value: f64,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    scores: Option<Told>,
    #[serde(default)]
    input: Vec<Channel>,
}

#[derive(Deserialize)]
struct Told {
    quantiles: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Channel {
    channel: usize,
    #[serde(flatten)]
    told: Told,
}

impl Reference {
    /// `None`: the package has none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, PackageError> {
        if !path.is_file() {
            return Ok(None);
        }
        let bytes = disk::read_bounded(path, MAX_BYTES)
            .map_err(|error| PackageError::read(path, &error))?;
        let wrong = |reason| PackageError::Reference { path: path.to_owned(), reason };
        Self::parse(&bytes).map(Some).map_err(wrong)
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let file: File = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let scores = file.scores.map_or_else(|| Ok(Vec::new()), |told| told.quantiles("scores"))?;
        let mut input = vec![Vec::new(); file.input.len()];
        for (place, channel) in file.input.into_iter().enumerate() {
            let named = format!("input.{place}");
            let Some(slot) = input.get_mut(channel.channel) else {
                return Err(format!("{named}: there is no channel {}", channel.channel));
            };
            *slot = channel.told.quantiles(&named)?;
        }
        Ok(Self { scores, input })
    }
}

impl Told {
    fn quantiles(self, named: &str) -> Result<Vec<Quantile>, String> {
        let mut quantiles = Vec::with_capacity(self.quantiles.len());
        for (part, value) in self.quantiles {
            let number = part.parse().ok().filter(|part| *part > 0.0 && *part < 1.0);
            let part = number.ok_or_else(|| {
                format!("{named}.quantiles: `{part}` is no part of the whole, like \"0.95\"")
            })?;
            quantiles.push(Quantile { part, value });
        }
        quantiles.sort_by(|a, b| a.part.total_cmp(&b.part));
        if quantiles.windows(2).any(|pair| pair[1].value < pair[0].value) {
            return Err(format!("{named}.quantiles: a larger part must not have a smaller value"));
        }
        Ok(quantiles)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quantiles_come_in_order() {
        let text = br#"{"scores": {"quantiles": {"0.95": 3, "0.05": 1, "0.5": 2}},
                        "input": [{"channel": 0, "mean": 1, "quantiles": {"0.5": 7}}]}"#;
        let reference = Reference::parse(text).expect("a reference");
        let values: Vec<_> = reference.scores.iter().map(|q| q.value).collect();
        assert_eq!(values, [1.0, 2.0, 3.0]);
        assert_eq!(reference.input, [[Quantile { part: 0.5, value: 7.0 }]]);
        assert_eq!(Reference::parse(b"{}"), Ok(Reference::default()));
    }

    #[test]
    fn a_mistake_is_named() {
        for (text, named) in [
            ("7", "invalid type"),
            (r#"{"scores": {"quantiles": {"95%": 3}}}"#, "scores.quantiles: `95%`"),
            (r#"{"scores": {"quantiles": {"0.5": 3, "0.9": 2}}}"#, "a larger part"),
            (r#"{"input": [{"channel": 1, "quantiles": {}}]}"#, "input.0: there is no channel 1"),
        ] {
            let error = Reference::parse(text.as_bytes()).expect_err(text);
            assert!(error.contains(named), "{error}");
        }
    }
}
