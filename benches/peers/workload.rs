//! What is sent, what is looked at, and when that is a decision.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use eir::event::{Input, Order, Prediction, Samples};
use eir::model::{Models, ModelsConfig};
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::model;

/// Machines that send, each on a topic of its own.
const SENDERS: usize = 8;

/// Different messages; they come again in the same order.
const VECTORS: usize = 1_000;
const PICTURES: u32 = 25;

const WIDTH: u32 = 640;
const HEIGHT: u32 = 480;
const QUALITY: u8 = 85;

/// The first number of a message, with room for all: ten digits, whatever is counted.
pub(crate) const FIRST: u64 = 1_000_000_000;

/// The name of the network that looks at pictures.
pub(crate) const NETWORK: &str = "mobilenet";

/// Every second 25 pictures, as a camera has it.
pub(crate) const CAMERA_RATE: u32 = 25;
pub(crate) const SENSOR_RATE: u32 = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sensor,
    Camera,
}

/// One way to use the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) kind: Kind,
    pub(crate) qos: u8,
    /// One message in so many is a decision.
    pub(crate) share: u64,
}

impl Case {
    pub(crate) const ALL: [Self; 4] = [
        Self { kind: Kind::Sensor, qos: 0, share: 10 },
        Self { kind: Kind::Sensor, qos: 0, share: 1 },
        Self { kind: Kind::Sensor, qos: 1, share: 10 },
        Self { kind: Kind::Camera, qos: 0, share: 1 },
    ];

    /// How the command line names it.
    pub(crate) fn word(self) -> &'static str {
        match (self.kind, self.qos, self.share) {
            (Kind::Camera, ..) => "camera",
            (Kind::Sensor, 0, 1) => "every",
            (Kind::Sensor, 0, _) => "sensor",
            (Kind::Sensor, ..) => "durable",
        }
    }

    pub(crate) fn model(self) -> &'static str {
        match self.kind {
            Kind::Sensor => model::NAME,
            Kind::Camera => NETWORK,
        }
    }

    /// Messages a second, where the time of each is measured.
    pub(crate) fn rate(self) -> u32 {
        match self.kind {
            Kind::Sensor => SENSOR_RATE,
            Kind::Camera => CAMERA_RATE,
        }
    }

    /// Its messages have numbers, by which decisions are known; those of a camera are known by their order.
    pub(crate) fn is_numbered(self) -> bool {
        self.kind == Kind::Sensor
    }

    /// CPU time is given for so many messages.
    pub(crate) fn unit(self) -> f64 {
        match self.kind {
            Kind::Sensor => 1e5,
            Kind::Camera => 1e3,
        }
    }

    /// Messages on their way at a time, where it is measured how many go through.
    pub(crate) fn window(self) -> u64 {
        match self.kind {
            Kind::Sensor => 2_000,
            Kind::Camera => 4,
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.word() {
            "camera" => "camera: JPEG of 640 × 480, MobileNetV2-shaped int8, every frame decides",
            "every" => "sensor: 32 numbers in JSON, QoS 0, every message decides",
            "durable" => "sensor: 32 numbers in JSON, QoS 1, one in 10 decides (eir: each decision on the disk first)",
            _ => "sensor: 32 numbers in JSON, QoS 0, one in 10 decides",
        })
    }
}

/// What is sent again and again: the level of the topic behind the subject's, and the payload.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) messages: Vec<(String, Vec<u8>)>,
    /// Above it, the first number that the model gives is a decision.
    pub(crate) threshold: f32,
}

impl Workload {
    /// `models` holds the models.
    pub(crate) fn new(case: Case, models: &Path) -> Self {
        match case.kind {
            Kind::Sensor => sensor(case.share, models),
            Kind::Camera => Self { messages: pictures(), threshold: f32::MIN },
        }
    }
}

/// Exactly one in each ten vectors is above the threshold.
fn sensor(share: u64, models: &Path) -> Workload {
    let mut random = StdRng::seed_from_u64(3);
    let mut vectors: Vec<(f32, Vec<f64>)> = Vec::new();
    let config = ModelsConfig { dir: models.to_owned(), ..ModelsConfig::default() };
    let models = Models::new(&config);
    let package = models.find(model::NAME).expect("the model");
    let mut caller = models.serve(package, None).expect("a session").caller().expect("a caller");
    for _ in 0..VECTORS {
        let levels: Vec<i16> =
            (0..model::WIDTH).map(|_| random.random_range(-1_000..1_000)).collect();
        let numbers = levels.iter().map(|level| f64::from(*level) / 1e3).collect();
        let values = levels.iter().map(|level| f32::from(*level) / 1e3).collect();
        let samples = Input::Samples(Samples { channels: 1, order: Order::Interleaved, values });
        let Prediction::Regression { values } = caller.predict_one(&samples).expect("an answer")
        else {
            unreachable!("the package says regression");
        };
        vectors.push((values[0], numbers));
    }
    vectors.sort_by(|a, b| a.0.total_cmp(&b.0));
    let from = VECTORS - VECTORS / 10;
    let threshold = f32::midpoint(vectors[from - 1].0, vectors[from].0);
    let above = vectors.split_off(from);
    let mut messages = Vec::new();
    for (few, (_, one)) in vectors.chunks(9).zip(above) {
        let ten = few.iter().map(|(_, numbers)| numbers).chain([&one]);
        for numbers in ten {
            let sender = format!("m{}", messages.len() % SENDERS);
            let told = serde_json::json!(numbers);
            messages.push((sender, format!(r#"{{"seq":{FIRST},"x":{told}}}"#).into_bytes()));
        }
    }
    Workload { messages, threshold: if share == 1 { f32::MIN } else { threshold } }
}

/// Pictures as a camera sends them: a smooth background, edges, something that moves, and the noise of the sensor.
fn pictures() -> Vec<(String, Vec<u8>)> {
    let mut random = StdRng::seed_from_u64(4);
    let picture = |at: u32| {
        let place = (at * 24, 100 + at * 4);
        let mut pixels = Vec::new();
        for (y, x) in (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (y, x))) {
            let inside =
                (place.0..place.0 + 60).contains(&x) && (place.1..place.1 + 90).contains(&y);
            let stripes = if (x / 40 + y / 60) % 2 == 0 { 30 } else { 0 };
            let base = if inside { 210 } else { 40 + x / 8 + y / 10 + stripes };
            let noise = random.random_range(0..8);
            pixels.extend(
                [base, base * 7 / 8, base * 6 / 8]
                    .map(|level| u8::try_from(level + noise).unwrap_or(255)),
            );
        }
        let mut jpeg = Vec::new();
        let mut encoder = JpegEncoder::new_with_quality(&mut jpeg, QUALITY);
        encoder.encode(&pixels, WIDTH, HEIGHT, ExtendedColorType::Rgb8).expect("a JPEG");
        ("one".to_owned(), jpeg)
    };
    (0..PICTURES).map(picture).collect()
}

/// Writes the models below `directory`; `python` has onnx and ONNX Runtime. False: the one for pictures is not there.
pub(crate) fn write_models(directory: &Path, python: Option<&PathBuf>) -> bool {
    model::write(directory);
    let Some(python) = python else { return false };
    let version = directory.join(NETWORK).join("1");
    std::fs::create_dir_all(&version).expect("a directory");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/models.py");
    let file = version.join("model.onnx");
    let written =
        Command::new(python).arg(script).arg(&file).env("ORT_DISABLE_TELEMETRY", "1").status();
    let meaning = "task = \"classification\"\n[input]\nkind = \"image\"\nlayout = \"NCHW\"\nsize = [224, 224]\n\
                   fit = \"stretch\"\ncolor = \"rgb\"\nmean = [127.5, 127.5, 127.5]\n\
                   scale = [0.00784313725, 0.00784313725, 0.00784313725]\n";
    eir::disk::replace(&version.join("model.toml"), meaning.as_bytes()).expect("its meaning");
    written.is_ok_and(|status| status.success())
}
