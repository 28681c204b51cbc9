//! Objects in a picture.

use std::sync::Arc;

use super::InterpretError;
use super::activation::{apply, sigmoid};
use super::boxes::{self, Candidate};
use super::output::{Item, Labels, Place};
use crate::event::{Detection, Prediction, Tensor};
use crate::package::{Activation, DetectionLayout, OutputSpec};
use crate::pipeline::preprocess::Placement;

#[derive(Debug, Clone)]
pub(super) struct Detector {
    layout: Layout,
    pub(super) labels: Labels,
    activation: Activation,
    threshold: f32,
    iou: f32,
    pub(super) max: usize,
}

#[derive(Debug, Clone)]
enum Layout {
    Yolov5(Place),
    Yolov8(Place),
    Ssd { boxes: Place, scores: Place },
    Nms(Place),
}

impl Detector {
    pub(super) fn new(
        outputs: Vec<Place>,
        spec: &OutputSpec,
        labels: &[Arc<str>],
    ) -> Result<Self, InterpretError> {
        let Some(named) = spec.layout else {
            return Err(InterpretError::spec(
                "a detection needs a layout: \"yolov5\", \"yolov8\", \"ssd\" or \"nms\"",
            ));
        };
        let in_range = |share: f32| (0.0..=1.0).contains(&share);
        if !in_range(spec.score_threshold) || !in_range(spec.nms_iou) {
            return Err(InterpretError::spec("score_threshold and nms_iou are 0 to 1"));
        }
        let allowed = match named {
            DetectionLayout::Yolov5 | DetectionLayout::Yolov8 => {
                spec.activation != Activation::Softmax
            }
            DetectionLayout::Ssd => true,
            DetectionLayout::Nms => spec.activation == Activation::None,
        };
        if !allowed {
            return Err(InterpretError::spec(format!(
                "activation {:?} does not go with layout {named:?}",
                spec.activation
            )));
        }
        let layout = Layout::new(named, outputs)?;
        let (output, classes) = layout.classes();
        let labels = Labels::new(labels, spec, output, classes)?;
        Ok(Self {
            layout,
            labels,
            activation: spec.activation,
            threshold: spec.score_threshold,
            iou: spec.nms_iou,
            max: spec.max_detections,
        })
    }

    pub(super) fn interpret(
        &self,
        item: usize,
        outputs: &[Tensor],
        placement: &Placement,
    ) -> Result<Prediction, InterpretError> {
        let candidates = match &self.layout {
            Layout::Yolov5(output) => self.yolov5(output, &output.item(outputs, item)?)?,
            Layout::Yolov8(output) => self.yolov8(output, &output.item(outputs, item)?)?,
            Layout::Nms(output) => self.nms(output, &output.item(outputs, item)?)?,
            Layout::Ssd { boxes, scores } => {
                let found = (boxes.item(outputs, item)?, scores.item(outputs, item)?);
                self.ssd(scores, &found.0, &found.1, placement.input_size())?
            }
        };
        let mut kept = boxes::best(candidates);
        if !matches!(self.layout, Layout::Nms(_)) {
            kept = boxes::suppress(&kept, self.iou, self.max);
        }
        let detections = kept.iter().filter_map(|c| self.detection(c, placement));
        Ok(Prediction::Detection { detections: detections.take(self.max).collect() })
    }

    /// In pixels of the source; `None` for a box that lies beside it.
    fn detection(&self, candidate: &Candidate, placement: &Placement) -> Option<Detection> {
        let [x1, y1, x2, y2] = candidate.corners;
        let [x1, y1, x2, y2] = placement.to_source(x1, y1, x2, y2);
        let label = self.labels.get(candidate.class)?;
        let (x, y, w, h) = (x1, y1, x2 - x1, y2 - y1);
        let shown = w > 0.0 && h > 0.0 && w.is_finite() && h.is_finite();
        shown.then_some(Detection { label, score: candidate.score, x, y, w, h })
    }

    fn score(&self, raw: f32) -> f32 {
        if self.activation == Activation::Sigmoid { sigmoid(raw) } else { raw }
    }

    fn yolov5(&self, output: &Place, item: &Item<'_>) -> Result<Vec<Candidate>, InterpretError> {
        let &[_, width @ 6..=usize::MAX] = item.shape else {
            return Err(output.wrong(&format!("{:?}", item.shape), WANTED_YOLOV5));
        };
        self.labels.check(output, width - 5)?;
        let candidates = item.values.chunks_exact(width).filter_map(|row| {
            let ([cx, cy, w, h, object], classes) = row.split_first_chunk()?;
            let (class, raw) = largest(classes)?;
            let score = self.score(*object) * self.score(raw);
            (score >= self.threshold).then(|| Candidate::centred(score, class, [*cx, *cy, *w, *h]))
        });
        Ok(candidates.collect())
    }

    /// Classes lie in rows, so the best class of all anchors is found row by row.
    fn yolov8(&self, output: &Place, item: &Item<'_>) -> Result<Vec<Candidate>, InterpretError> {
        let &[rows @ 5..=usize::MAX, anchors] = item.shape else {
            return Err(output.wrong(&format!("{:?}", item.shape), WANTED_YOLOV8));
        };
        self.labels.check(output, rows - 4)?;
        if anchors == 0 {
            return Ok(Vec::new());
        }
        let (places, classes) = item.values.split_at(4 * anchors);
        let mut best: Vec<(f32, usize)> = vec![(f32::NEG_INFINITY, 0); anchors];
        for (class, row) in classes.chunks_exact(anchors).enumerate() {
            for (best, raw) in best.iter_mut().zip(row) {
                if *raw > best.0 {
                    *best = (*raw, class);
                }
            }
        }
        let candidates = best.iter().enumerate().filter_map(|(anchor, (raw, class))| {
            let score = self.score(*raw);
            let place = || [0, 1, 2, 3].map(|row| places[row * anchors + anchor]);
            (score >= self.threshold).then(|| Candidate::centred(score, *class, place()))
        });
        Ok(candidates.collect())
    }

    fn ssd(
        &self,
        output: &Place,
        boxes: &Item<'_>,
        scores: &Item<'_>,
        [width, height]: [f32; 2],
    ) -> Result<Vec<Candidate>, InterpretError> {
        let (&[anchors, 4], &[same, classes @ 2..=usize::MAX]) = (boxes.shape, scores.shape) else {
            let found = format!("{:?} and {:?}", boxes.shape, scores.shape);
            return Err(output.wrong(&found, WANTED_SSD));
        };
        if same != anchors {
            let found = format!("for {same} boxes");
            return Err(output.wrong(&found, &format!("there are {anchors}")));
        }
        self.labels.check(output, classes - 1)?;
        let mut row = vec![0.0; classes];
        let rows = boxes.values.as_chunks::<4>().0.iter().zip(scores.values.chunks_exact(classes));
        let candidates = rows.filter_map(|([x1, y1, x2, y2], raw)| {
            row.copy_from_slice(raw);
            apply(self.activation, &mut row);
            let (class, score) = largest(&row[1..])?;
            let corners = [x1 * width, y1 * height, x2 * width, y2 * height];
            (score >= self.threshold).then_some(Candidate { score, class, corners })
        });
        Ok(candidates.collect())
    }

    fn nms(&self, output: &Place, item: &Item<'_>) -> Result<Vec<Candidate>, InterpretError> {
        let &[_, 6] = item.shape else {
            return Err(output.wrong(&format!("{:?}", item.shape), WANTED_NMS));
        };
        let mut candidates = Vec::new();
        for [x1, y1, x2, y2, score, class] in item.values.as_chunks::<6>().0 {
            // Rows below are padding as often as objects: whatever class they state is no error.
            if *score < self.threshold {
                continue;
            }
            let index = whole(*class).filter(|class| self.labels.get(*class).is_some());
            let Some(class) = index else {
                return Err(output.wrong(&format!("of class {class}"), "there is no such label"));
            };
            candidates.push(Candidate { score: *score, class, corners: [*x1, *y1, *x2, *y2] });
        }
        Ok(candidates)
    }
}

const WANTED_YOLOV5: &str = "yolov5 is [N, boxes, 5 + classes]";
const WANTED_YOLOV8: &str = "yolov8 is [N, 4 + classes, boxes]";
const WANTED_SSD: &str = "ssd is boxes [N, A, 4] and scores [N, A, classes + 1]";
const WANTED_NMS: &str = "nms is [N, boxes, 6]";

impl Layout {
    fn new(named: DetectionLayout, outputs: Vec<Place>) -> Result<Self, InterpretError> {
        if named == DetectionLayout::Ssd {
            return Self::ssd(outputs);
        }
        let count = outputs.len();
        let Ok([output]) = <[Place; 1]>::try_from(outputs) else {
            return Err(InterpretError::spec(format!(
                "layout {named:?} is one output; name which of the {count} as [output.NAME]"
            )));
        };
        match named {
            DetectionLayout::Yolov5 => {
                output.check_rank(3, WANTED_YOLOV5)?;
                output.check_least(2, 6, WANTED_YOLOV5)?;
                Ok(Self::Yolov5(output))
            }
            DetectionLayout::Yolov8 => {
                output.check_rank(3, WANTED_YOLOV8)?;
                output.check_least(1, 5, WANTED_YOLOV8)?;
                Ok(Self::Yolov8(output))
            }
            _ => {
                output.check_rank(3, WANTED_NMS)?;
                if output.declared(2).is_some_and(|n| n != 6) {
                    return Err(output.wrong(&output.describe(), WANTED_NMS));
                }
                Ok(Self::Nms(output))
            }
        }
    }

    /// The boxes are the output of four columns; of two such, the one that is named so.
    fn ssd(outputs: Vec<Place>) -> Result<Self, InterpretError> {
        let Ok([first, second]) = <[Place; 2]>::try_from(outputs) else {
            return Err(InterpretError::spec(
                "layout Ssd is two outputs, boxes and scores; name both as [output.NAME]",
            ));
        };
        for output in [&first, &second] {
            output.check_rank(3, WANTED_SSD)?;
        }
        let may_be = |output: &Place| output.declared(2).is_none_or(|n| n == 4);
        let (boxes, scores) = match (may_be(&first), may_be(&second)) {
            (false, true) => (second, first),
            (true, true) if second.name.to_lowercase().contains("box") => (second, first),
            (true, _) => (first, second),
            (false, false) => return Err(first.wrong(&first.describe(), WANTED_SSD)),
        };
        scores.check_least(2, 2, WANTED_SSD)?;
        Ok(Self::Ssd { boxes, scores })
    }

    /// The output that has the classes, and how many where the model says it.
    fn classes(&self) -> (&Place, Option<usize>) {
        match self {
            Self::Yolov5(output) => (output, output.declared(2).map(|n| n - 5)),
            Self::Yolov8(output) => (output, output.declared(1).map(|n| n - 4)),
            Self::Ssd { scores, .. } => (scores, scores.declared(2).map(|n| n - 1)),
            Self::Nms(output) => (output, None),
        }
    }
}

/// The largest value and where it is; the first of equals.
fn largest(values: &[f32]) -> Option<(usize, f32)> {
    let pairs = values.iter().copied().enumerate();
    pairs.reduce(|best, next| if next.1 > best.1 { next } else { best })
}

/// A class index as models give it: a whole number in a float.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked before")]
fn whole(class: f32) -> Option<usize> {
    let fits = (0.0..65_536.0).contains(&class) && class.fract() == 0.0;
    fits.then_some(class as usize)
}
