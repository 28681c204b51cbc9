//! The paths themselves: everything of eir's own on the way of a message or a request, without model, network and clock.

use std::hint::black_box;
use std::sync::mpsc::sync_channel;

use eir::event::{Ack, DType, Device, Input, Pixels, Prediction, StreamKey, Tensor, Topic};
use eir::oip::server;
use eir::outbox::{Outbox, OutboxConfig};
use eir::package::{Fit, InputKind, InputSpec, Layout, Signature, Spec, Task, TensorInfo};
use eir::pipeline::decode::{DecodeConfig, Decoder, ImageConfig, JsonConfig};
use eir::pipeline::postprocess::Interpreter;
use eir::pipeline::preprocess::{Batch, Placement, Preparer};
use eir::pipeline::rules::{Condition, Facts, RuleSet, StreamRules};
use eir::task::{Clock, SystemClock};
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use jiff::Timestamp;

use super::clock::Turned;
use super::draft::{draft, name};

/// Each with how often it runs.
pub(crate) const ALL: [(&str, u64); 6] = [
    ("sensor", 1_000),
    ("frame", 1),
    ("oip-json", 500),
    ("oip-binary", 500),
    ("rules", 1_000),
    ("outbox", 50),
];

const WIDTH: usize = 32;

pub(crate) fn run(path: &str, times: u64) {
    match path {
        "sensor" => sensor(times),
        "frame" => frame(times),
        "oip-json" => oip_json(times),
        "oip-binary" => oip_binary(times),
        "rules" => rules(times),
        "outbox" => outbox(times),
        other => unreachable!("no path {other}"),
    }
}

fn info(name: &str, shape: &[usize]) -> TensorInfo {
    let shape = shape.iter().map(|n| Some(*n).filter(|n| *n > 0)).collect();
    TensorInfo { name: name.to_owned(), dtype: DType::F32, shape }
}

fn wave(count: u16) -> Vec<f32> {
    (0..count).map(|at| ((f32::from(at) * 0.37).sin() * 1e3).round() / 1e3).collect()
}

/// Rules on regressions, and what judges them.
struct Judge {
    rules: RuleSet,
    states: StreamRules,
    topic: Topic,
    stream: StreamKey,
    device: Device,
}

impl Judge {
    fn new(rules: &[&str]) -> Self {
        let condition =
            |when: &&str| Condition { until: Some("true".to_owned()), ..Condition::new(when) };
        let named = rules.iter().enumerate();
        let named: Vec<_> =
            named.map(|(at, when)| (name(&format!("r{at}")), condition(when))).collect();
        Self {
            rules: RuleSet::compile(&named, Task::Regression, &[]).expect("rules"),
            states: StreamRules::default(),
            topic: Topic::new("plant/7/features"),
            stream: StreamKey::new("7"),
            device: Device { id: name("bench"), labels: [].into() },
        }
    }

    fn judge(&mut self, prediction: &Prediction) -> usize {
        let facts = Facts {
            prediction,
            stream: &self.stream,
            topic: &self.topic,
            device: &self.device,
            now: Timestamp::UNIX_EPOCH,
            model: &self.device.id,
            version: 1,
        };
        self.rules.evaluate(&facts, &mut self.states, SystemClock.now()).fired.len()
    }
}

/// From the bytes of a message to what its rules say, in batches of 32 around the model.
fn sensor(times: u64) {
    let payload = serde_json::json!({ "seq": 1_000_000_000, "x": wave(32) }).to_string();
    let json = JsonConfig { fields: vec!["/x".to_owned()] };
    let decoder = Decoder::new(&DecodeConfig::Json(json)).expect("pointers");
    let spec =
        InputSpec { kind: InputKind::Samples, layout: Some(Layout::T), ..InputSpec::default() };
    let mut preparer = Preparer::new(&spec, &info("x", &[0, WIDTH])).expect("a plan");
    let mut batch = Batch::new(&preparer);
    let meaning = Spec { task: Task::Regression, ..Spec::default() };
    let interpreter =
        Interpreter::new(&meaning, &[], &[], &[info("y", &[0, 4])]).expect("a meaning");
    let answer = [Tensor::new(vec![32, 4], wave(128)).expect("a tensor")];
    let mut judge = Judge::new(&["values[0] > 0.9"]);
    for number in 0..times {
        let input = decoder.decode(black_box(payload.as_bytes())).expect("numbers");
        preparer.push(&input, &mut batch).expect("fits");
        let item = usize::try_from(number % 32).expect("small");
        let prediction = interpreter.interpret(item, &[], &answer, &Placement::NONE);
        black_box(judge.judge(&prediction.expect("an answer")));
        if item == 31 {
            let tensor = batch.take_tensor();
            batch.recycle(black_box(tensor));
        }
    }
}

/// From a JPEG of 640 × 480 to what a model of 224 × 224 is given.
fn frame(times: u64) {
    let pixels = (0..480_u32)
        .flat_map(|y| (0..640_u32).flat_map(move |x| [x / 3 + y / 8, (x ^ y) / 4, (x * y) >> 10]))
        .map(|level| u8::try_from(level & 0xFF).unwrap_or_default());
    let pixels: Vec<u8> = pixels.collect();
    let mut jpeg = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut jpeg, 85);
    encoder.encode(&pixels, 640, 480, ExtendedColorType::Rgb8).expect("a JPEG");
    let decoder = Decoder::new(&DecodeConfig::Image(ImageConfig::default())).expect("limits");
    let spec = InputSpec {
        kind: InputKind::Image,
        fit: Fit::Stretch,
        mean: vec![127.5; 3],
        scale: vec![1.0 / 127.5; 3],
        ..InputSpec::default()
    };
    let mut preparer = Preparer::new(&spec, &info("x", &[1, 3, 224, 224])).expect("a plan");
    let mut batch = Batch::new(&preparer);
    for _ in 0..times {
        let input = decoder.decode(black_box(&jpeg)).expect("a picture");
        assert!(matches!(&input, Input::Frame(frame) if frame.pixels == Pixels::Rgb));
        preparer.push(&input, &mut batch).expect("fits");
        let tensor = batch.take_tensor();
        batch.recycle(black_box(tensor));
    }
}

fn signature() -> Signature {
    Signature {
        inputs: vec![info("input", &[0, WIDTH])],
        outputs: vec![info("output", &[0, 4])],
        ..Signature::default()
    }
}

fn oip_json(times: u64) {
    let numbers: Vec<f64> = wave(32).into_iter().map(f64::from).collect();
    let data = serde_json::json!(numbers);
    let body = format!(
        r#"{{"inputs":[{{"name":"input","shape":[1,32],"datatype":"FP32","data":{data}}}]}}"#
    );
    let signature = signature();
    for _ in 0..times {
        let asked = server::asked(None, black_box(body.as_bytes()), &signature);
        black_box(asked.expect("a request"));
    }
}

fn oip_binary(times: u64) {
    let tensor = Tensor::new(vec![1, WIDTH], wave(32)).expect("a tensor");
    let asked = eir::oip::client::request(&[("input", &tensor)], &["output"]);
    let header = asked.json.to_string();
    let signature = signature();
    for _ in 0..times {
        let asked = server::asked(Some(&header), black_box(&asked.body), &signature);
        black_box(asked.expect("a request"));
    }
}

/// Two of the kind that most are, and one that needs the interpreter.
fn rules(times: u64) {
    let mut judge = Judge::new(&[
        "values[0] > 0.9 && stream != 'x'",
        "values[1] < -0.9",
        "values[2] * 2.0 > 9.0",
    ]);
    let prediction = Prediction::Regression { values: wave(4) };
    for _ in 0..times {
        black_box(judge.judge(black_box(&prediction)));
    }
}

/// One record after the other, each durable before the next. Its clock is not the system's: valgrind cannot read how
/// long a board is up.
fn outbox(times: u64) {
    let directory = tempfile::tempdir().expect("a directory");
    let config = OutboxConfig { path: directory.path().join("o.db"), ..OutboxConfig::default() };
    let outbox = Outbox::start(&config, name("bench"), vec![name("main")], Turned::new());
    let (settled, durable) = sync_channel(1);
    for number in 0..usize::try_from(times).expect("64 bits") {
        let settled = settled.clone();
        let ack = Ack::new(move || settled.send(()).expect("waited for"));
        outbox.append(draft(number), ack);
        durable.recv().expect("settled");
    }
}
