//! A question and its answer as JSON of eir's own.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::event::{Name, Prediction, StreamKey};

/// What is posted: the body of a sample's record, but for the sampler.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Inquiry<'a> {
    /// The pipeline.
    pub pipeline: &'a Name,
    /// The stream within it.
    pub stream: &'a StreamKey,
    /// The local model.
    pub model: &'a Name,
    /// Its version.
    pub version: u64,
    /// What it said.
    pub prediction: &'a Prediction,
    /// What it was asked.
    pub input: &'a RawValue,
}

/// What an answer holds: a prediction, bare or under `prediction`, and who made it, if it says so.
#[derive(Debug, PartialEq)]
pub struct Told {
    /// What it says.
    pub prediction: Prediction,
    /// Who said it.
    pub model: Option<String>,
    /// In which version.
    pub version: Option<u64>,
}

#[derive(Deserialize)]
struct Around<'a> {
    #[serde(borrow, default)]
    prediction: Option<&'a RawValue>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    version: Option<u64>,
}

/// Reads an answer.
pub fn answer(body: &[u8]) -> Result<Told, serde_json::Error> {
    let Around { prediction, model, version } = serde_json::from_slice(body)?;
    let prediction = match prediction {
        Some(inside) => serde_json::from_str(inside.get())?,
        None => serde_json::from_slice(body)?,
    };
    Ok(Told { prediction, model, version })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_prediction_may_be_bare_or_have_a_name_beside_it() {
        let score = Prediction::Anomaly { score: 0.75 };
        let bare = answer(br#"{ "task": "anomaly", "score": 0.75 }"#).expect("an answer");
        assert_eq!(bare, Told { prediction: score.clone(), model: None, version: None });
        let around = br#"{ "prediction": { "task": "anomaly", "score": 0.75 },
                           "model": "big", "version": 4, "took_ms": 17 }"#;
        let around = answer(around).expect("an answer");
        let model = Some("big".to_owned());
        assert_eq!(around, Told { prediction: score, model, version: Some(4) });
    }

    #[test]
    fn a_prediction_of_each_task_survives_its_own_json() {
        let labels = |score: f32| vec![("a".into(), score), ("b".into(), 1.0 - score)];
        for prediction in [
            Prediction::Classification { label: "a".into(), score: 0.6, scores: labels(0.6) },
            Prediction::Detection { detections: vec![] },
            Prediction::Regression { values: vec![1.5] },
            Prediction::Tensor { shape: vec![2], values: vec![1.0, 2.0] },
        ] {
            let json = serde_json::to_vec(&prediction).expect("json");
            assert_eq!(answer(&json).expect("an answer").prediction, prediction);
        }
    }

    #[test]
    fn what_is_no_prediction_is_a_mistake() {
        for body in [
            &b""[..],
            b"<html>",
            b"[]",
            b"null",
            b"{}",
            b"{\"task\":\"guess\"}",
            b"{\"task\":\"anomaly\"}",
            b"{\"prediction\":3}",
            b"{\"task\":\"anomaly\",\"score\":\"high\"}",
        ] {
            assert!(answer(body).is_err(), "{}", String::from_utf8_lossy(body));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_a_mistake(bytes in any::<Vec<u8>>()) {
            let _answer = answer(&bytes);
        }
    }
}
