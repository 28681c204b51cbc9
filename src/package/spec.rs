//! `model.toml`: what a model wants and what its answer means.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::DType;

/// The contents of `model.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spec {
    /// What kind of answer the model gives.
    pub task: Task,
    /// One line for people.
    pub description: Option<String>,
    /// SPDX expression.
    pub license: Option<String>,
    /// Overrides `[models].engine`.
    pub engine: Option<EngineChoice>,
    /// Allowed absolute difference of a score to the golden samples and between engines; for an
    /// anomaly score, relative to it.
    pub tolerance: f32,
    /// Preparation by input name; the only input may go by the empty name.
    pub input: BTreeMap<String, InputSpec>,
    /// Meaning by output name; the only output may go by the empty name.
    pub output: BTreeMap<String, OutputSpec>,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            task: Task::Tensor,
            description: None,
            license: None,
            engine: None,
            tolerance: 0.01,
            input: BTreeMap::new(),
            output: BTreeMap::new(),
        }
    }
}

/// What kind of answer a model gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each is described at the Prediction of its name")]
pub enum Task {
    Classification,
    Detection,
    Anomaly,
    Regression,
    Embedding,
    #[default]
    Tensor,
}

/// Which engine runs a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EngineChoice {
    /// ONNX Runtime if it is there and accepts the model, otherwise tract.
    #[default]
    Auto,
    /// Both are loaded and timed on this device; the faster serves.
    Fastest,
    /// ONNX Runtime or nothing.
    Ort,
    /// tract or nothing.
    Tract,
}

/// How one input is made from what was decoded.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InputSpec {
    /// What it is made from.
    pub kind: InputKind,
    /// Order of the axes behind the batch; by default `TC` for samples and `NCHW` for images.
    pub layout: Option<Layout>,
    /// Width and height in pixels; by default what the ONNX file says.
    pub size: Option<[u32; 2]>,
    /// How a picture of another shape is fitted.
    pub fit: Fit,
    /// The gray level (0 to 255) around a letterboxed picture.
    pub pad: u8,
    /// The channels and their order.
    pub color: Color,
    /// Subtracted first, per channel; one value serves all. Empty: 0.
    pub mean: Vec<f32>,
    /// Multiplied next, per channel: `(raw - mean) * scale`. Empty: 1.
    pub scale: Vec<f32>,
}

/// What an input is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputKind {
    /// Instants of channels, usually a window of them.
    Samples,
    /// A picture.
    Image,
    /// Numbers in the order in which the message gave them.
    #[default]
    Tensor,
}

/// Order of axes: `C` channel, `T` time; `N` batch, `H` height, `W` width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "each spells its axes")]
pub enum Layout {
    T,
    Tc,
    Ct,
    Nchw,
    Nhwc,
}

impl Layout {
    /// Where the channels stand, the batch being axis 0; `T` has none.
    pub const fn channel_axis(self) -> Option<usize> {
        match self {
            Self::T => None,
            Self::Ct | Self::Nchw => Some(1),
            Self::Tc => Some(2),
            Self::Nhwc => Some(3),
        }
    }
}

/// How a picture is brought to the model's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// Each axis by itself; shapes are distorted.
    #[default]
    Stretch,
    /// The whole picture, centred, with bars of `pad`.
    Letterbox,
    /// The middle of the picture, as large as fits.
    Crop,
}

/// The channels of a picture and their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each spells its channels")]
pub enum Color {
    #[default]
    Rgb,
    Bgr,
    Gray,
}

/// What one output means.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutputSpec {
    /// A file beside `model.toml`, one label a line.
    pub labels: Option<String>,
    /// What turns the numbers into scores.
    pub activation: Activation,
    /// Classification: keep only so many best classes in `scores`; 0 keeps all.
    pub top_k: usize,
    /// Detection: how boxes and scores lie in the tensor.
    pub layout: Option<DetectionLayout>,
    /// Detection: boxes below are not reported.
    pub score_threshold: f32,
    /// Detection: of two boxes of one class that overlap more than this, the better stays.
    pub nms_iou: f32,
    /// Detection: at most so many boxes are reported.
    pub max_detections: usize,
    /// Anomaly: where the score comes from.
    pub score: AnomalyScore,
}

impl Default for OutputSpec {
    fn default() -> Self {
        Self {
            labels: None,
            activation: Activation::None,
            top_k: 0,
            layout: None,
            score_threshold: 0.25,
            nms_iou: 0.45,
            max_detections: 100,
            score: AnomalyScore::Output,
        }
    }
}

/// What turns a model's numbers into scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// They are scores.
    #[default]
    None,
    /// `exp(x) / Σ exp(x)`: exactly one class is meant.
    Softmax,
    /// `1 / (1 + exp(-x))`: each class stands for itself.
    Sigmoid,
}

/// How a detection model's output is laid out, named after the family that made the layout known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DetectionLayout {
    /// `[N, A, 5 + classes]`: cx, cy, w, h in input pixels, objectness, class scores.
    Yolov5,
    /// `[N, 4 + classes, A]`: cx, cy, w, h in input pixels, class scores.
    Yolov8,
    /// Two outputs: boxes `[N, A, 4]` (x1, y1, x2, y2 as a share of the input, 0 to 1) and scores
    /// `[N, A, classes + 1]`, class 0 the background.
    Ssd,
    /// `[N, A, 6]`: x1, y1, x2, y2 in input pixels, score, class; suppression is in the graph.
    Nms,
}

/// Where an anomaly score comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnomalyScore {
    /// The model's single number.
    #[default]
    Output,
    /// Mean squared difference of the prepared input and the output of the same shape.
    Reconstruction,
}

/// An input or output as the ONNX file declares it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TensorInfo {
    /// Its name in the graph.
    pub name: String,
    /// Its element type.
    pub dtype: DType,
    /// Its dimensions; `None` where the file leaves one open.
    pub shape: Vec<Option<usize>>,
}
