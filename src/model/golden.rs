//! Golden samples: does this engine, on this device, give the answers that the package promises?

use std::fmt::Debug;
use std::time::Duration;

use super::translate::Translator;
use super::{PredictError, Prepared};
use crate::engine::{InferError, Session};
use crate::event::{Detection, Input, Prediction, Tensor};
use crate::package::{Expectation, GoldenSample, Package};
use crate::pipeline::decode::{DecodeConfig, Decoder, ImageConfig};
use crate::task::{Clock, SystemClock};

/// Boxes that overlap less mean different things.
const SAME_BOX: f32 = 0.7;
/// Anomaly scores below this are compared with it instead of with themselves.
const SMALL: f32 = 1e-6;

/// What became of one golden sample.
#[derive(Debug, Clone, PartialEq)]
pub struct GoldenResult {
    /// The sample's name.
    pub sample: String,
    /// Preparation, run and interpretation.
    pub elapsed: Duration,
    /// What the model said, if it said anything.
    pub found: Option<Prediction>,
    /// What is wrong with it: found, expected, tolerance.
    pub mistake: Option<String>,
}

/// Runs every golden sample.
pub(super) fn verify(
    session: &mut dyn Session,
    translator: &mut Translator,
    package: &Package,
) -> Vec<GoldenResult> {
    let clock = SystemClock;
    let run = |sample: &GoldenSample| {
        let start = clock.now();
        let answer = load(sample).and_then(|input| {
            answer(session, translator, &input).map_err(|error| error.to_string())
        });
        let elapsed = clock.now() - start;
        let (found, mistake) = match answer {
            Ok(found) => {
                let mistake = compare(&sample.expect, &found, package).err();
                (Some(found), mistake)
            }
            Err(error) => (None, Some(error)),
        };
        GoldenResult { sample: sample.name.clone(), elapsed, found, mistake }
    };
    package.golden.iter().map(run).collect()
}

/// The prepared tensor of one sample.
pub(super) fn prepared(sample: &GoldenSample, translator: &mut Translator) -> Option<Tensor> {
    Some(translator.prepare(&load(sample).ok()?).ok()?.tensor)
}

fn load(sample: &GoldenSample) -> Result<Input, String> {
    let loaded = sample
        .input
        .load(|bytes| Decoder::new(&DecodeConfig::Image(ImageConfig::default()))?.decode(bytes));
    loaded.map_err(|error| error.to_string())
}

fn answer(
    session: &mut dyn Session,
    translator: &mut Translator,
    input: &Input,
) -> Result<Prediction, PredictError> {
    let Prepared { tensor, placement } = translator.prepare(input)?;
    let inputs = [tensor];
    let mut outputs = Vec::new();
    session
        .run(&inputs, &mut outputs)
        .map_err(|error| PredictError::Infer(InferError::Engine(error).into()))?;
    translator.interpret((0, &placement), &inputs, &outputs)
}

/// Is the answer the expected one, within the package's tolerance?
pub(super) fn compare(
    expect: &Expectation,
    found: &Prediction,
    package: &Package,
) -> Result<(), String> {
    let tolerance = package.spec.tolerance;
    match (expect, found) {
        (Expectation::Scores(expected), Prediction::Classification { scores, .. }) => {
            let listed = package.spec.output.values().all(|output| output.top_k == 0);
            for (label, expected) in expected {
                match scores.iter().find(|(known, _)| **known == **label) {
                    Some((_, score)) => near(label, *score, *expected, tolerance)?,
                    None if listed => return Err(format!("there is no class `{label}`")),
                    None => {}
                }
            }
            Ok(())
        }
        (Expectation::Score(expected), Prediction::Anomaly { score }) => {
            near("the score", *score, *expected, tolerance * expected.abs().max(SMALL))
        }
        (Expectation::Detections(expected), Prediction::Detection { detections }) => {
            let threshold = package.spec.output.values().map(|output| output.score_threshold);
            let sure = threshold.fold(0.0, f32::max) + tolerance;
            same_objects(expected, detections, sure, tolerance)
        }
        (
            Expectation::Values(expected),
            Prediction::Regression { values }
            | Prediction::Embedding { values }
            | Prediction::Tensor { values, .. },
        ) => {
            if expected.len() != values.len() {
                return Err(format!("{} values, expected {}", values.len(), expected.len()));
            }
            let mut pairs = values.iter().zip(expected).enumerate();
            pairs.try_for_each(|(i, (v, e))| near(&format!("value {i}"), *v, *e, tolerance))
        }
        _ => Err(format!(
            "the sample expects {}, which the package's task does not give",
            match expect {
                Expectation::Scores(_) => "scores",
                Expectation::Score(_) => "a score",
                Expectation::Detections(_) => "detections",
                Expectation::Values(_) => "values",
            }
        )),
    }
}

fn near(what: &str, found: f32, expected: f32, tolerance: f32) -> Result<(), String> {
    // A NaN is near nothing.
    if (found - expected).abs() <= tolerance {
        Ok(())
    } else {
        Err(format!("{what} is {found}, expected {expected} ± {tolerance}"))
    }
}

/// Everything sure on either side has its counterpart on the other; what is near the threshold may be
/// on one side only.
fn same_objects(
    expected: &[Detection],
    found: &[Detection],
    sure: f32,
    tolerance: f32,
) -> Result<(), String> {
    let same = |a: &Detection, b: &Detection| {
        a.label == b.label && a.iou(b) >= SAME_BOX && (a.score - b.score).abs() <= tolerance
    };
    let mut free: Vec<&Detection> = found.iter().collect();
    for object in expected {
        match free.iter().position(|other| same(object, other)) {
            Some(index) => drop(free.swap_remove(index)),
            None if object.score >= sure => {
                return Err(format!("{} is missing; found {}", shown(object), list(found)));
            }
            None => {}
        }
    }
    match free.iter().find(|object| object.score > sure || !object.score.is_finite()) {
        Some(extra) => {
            Err(format!("{} is not expected; expected {}", shown(extra), list(expected)))
        }
        None => Ok(()),
    }
}

fn shown(Detection { label, score, x, y, w, h }: &Detection) -> String {
    format!("{label} {score:.3} at {x:.0},{y:.0} {w:.0}×{h:.0}")
}

fn list(objects: &[Detection]) -> String {
    if objects.is_empty() {
        return "nothing".into();
    }
    objects.iter().take(8).map(shown).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(label: &str, score: f32, x: f32) -> Detection {
        Detection { label: label.into(), score, x, y: 0.0, w: 10.0, h: 10.0 }
    }

    #[test]
    fn objects_are_matched_by_label_place_and_score() {
        let same = |expected: &[Detection], found: &[Detection]| {
            same_objects(expected, found, 0.35, 0.1).is_ok()
        };
        let dent = object("dent", 0.9, 0.0);
        assert!(same(&[], &[]));
        assert!(same(std::slice::from_ref(&dent), &[object("dent", 0.85, 1.0)]));
        assert!(!same(std::slice::from_ref(&dent), &[object("dent", 0.75, 0.0)]), "another score");
        assert!(!same(std::slice::from_ref(&dent), &[object("dent", 0.9, 5.0)]), "another place");
        assert!(
            !same(std::slice::from_ref(&dent), &[object("scratch", 0.9, 0.0)]),
            "another class"
        );
        assert!(!same(std::slice::from_ref(&dent), &[dent.clone(), dent.clone()]), "one too many");
        assert!(!same(&[dent.clone(), dent.clone()], std::slice::from_ref(&dent)), "one too few");
        assert!(same(&[object("dent", 0.3, 0.0)], &[]), "near the threshold");
        assert!(same(&[], &[object("dent", 0.3, 0.0)]), "near the threshold");
        assert!(!same(&[], &[object("dent", f32::NAN, 0.0)]));
    }

    #[test]
    fn a_nan_is_near_nothing() {
        assert!(near("x", 1.0, 1.05, 0.1).is_ok());
        assert!(near("x", f32::NAN, 1.0, 0.1).is_err());
        assert!(near("x", 2.0, 1.0, 0.1).expect_err("far").contains("expected 1 ± 0.1"));
    }
}
