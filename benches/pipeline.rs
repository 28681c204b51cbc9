//! What a message costs on its way to the model and back, without the model.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use eir::event::{DType, Frame, Input, Order, Pixels, Samples, Tensor};
use eir::package::{
    Activation, DetectionLayout, Fit, InputKind, InputSpec, Layout, OutputSpec, Spec, Task,
    TensorInfo,
};
use eir::pipeline::decode::{DecodeConfig, Decoder, ImageConfig, JsonConfig};
use eir::pipeline::postprocess::Interpreter;
use eir::pipeline::preprocess::{Batch, Placement, Preparer};
use eir::pipeline::window::{Window, WindowConfig};
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;

fn info(name: &str, shape: &[usize]) -> TensorInfo {
    let shape = shape.iter().map(|n| Some(*n).filter(|n| *n > 0)).collect();
    TensorInfo { name: name.to_owned(), dtype: DType::F32, shape }
}

fn wave(count: u16) -> Vec<f32> {
    (0..count).map(|i| (f32::from(i) * 0.37).sin()).collect()
}

/// 640 x 480 with edges and gradients, so that the JPEG is of an ordinary size.
fn picture() -> Frame {
    let data = (0..480_u32)
        .flat_map(|y| (0..640_u32).flat_map(move |x| [x / 3 + y / 8, (x ^ y) / 4, (x * y) >> 10]))
        .map(|level| u8::try_from(level & 0xFF).unwrap_or_default())
        .collect();
    Frame::new(640, 480, Pixels::Rgb, data)
}

fn decode(c: &mut Criterion) {
    // Three decimals, as a sensor of 12 bits gives them.
    let channel: Vec<_> =
        wave(64).iter().map(|v| f64::from((v * 1000.0).round()) / 1000.0).collect();
    let payload =
        serde_json::json!({ "seq": 1, "x": channel, "y": channel, "z": channel }).to_string();
    let fields = ["/x", "/y", "/z"].map(str::to_owned).to_vec();
    let json = Decoder::new(&DecodeConfig::Json(JsonConfig { fields })).expect("pointers");
    c.bench_function("decode json 3x64", |b| b.iter(|| json.decode(black_box(payload.as_bytes()))));
    let scalars = r#"{"seq":1,"x":0.25,"y":-1.5,"z":9.81}"#;
    c.bench_function("decode json 3x1", |b| b.iter(|| json.decode(black_box(scalars.as_bytes()))));

    let frame = picture();
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, 85)
        .encode(&frame.data, frame.width, frame.height, ExtendedColorType::Rgb8)
        .expect("a JPEG");
    let image = Decoder::new(&DecodeConfig::Image(ImageConfig::default())).expect("limits");
    c.bench_function("decode jpeg 640x480", |b| b.iter(|| image.decode(black_box(&jpeg))));
    // What a frame costs that a gate keeps out.
    c.bench_function("glance jpeg 640x480", |b| b.iter(|| image.glance(black_box(&jpeg))));
}

fn window(c: &mut Criterion) {
    let config = WindowConfig { samples: 256, step: Some(64) };
    let mut window = Window::new(&config).expect("a window");
    let values = wave(192);
    let samples = Samples { channels: 3, order: Order::Planar, values };
    c.bench_function("window 256 by 64 of 3", |b| {
        b.iter(|| {
            let mut position = 0;
            while let Ok(Some(full)) = window.next(black_box(&samples), &mut position) {
                drop(black_box(full));
            }
        });
    });
}

fn prepare(c: &mut Criterion, name: &str, spec: &InputSpec, shape: &[usize], input: &Input) {
    let mut preparer = Preparer::new(spec, &info("x", shape)).expect("a plan");
    let mut batch = Batch::new(&preparer);
    c.bench_function(name, |b| {
        b.iter(|| {
            preparer.push(black_box(input), &mut batch).expect("fits");
            let tensor = batch.take_tensor();
            batch.recycle(black_box(tensor));
        });
    });
}

fn preprocess(c: &mut Criterion) {
    let spec = InputSpec {
        kind: InputKind::Image,
        fit: Fit::Letterbox,
        mean: vec![114.0; 3],
        scale: vec![0.015_625; 3],
        ..InputSpec::default()
    };
    let frame = Input::Frame(picture());
    prepare(c, "prepare 640x480 as 320x240", &spec, &[0, 3, 240, 320], &frame);
    prepare(c, "prepare 640x480 as it is", &spec, &[0, 3, 480, 640], &frame);
    let spec =
        InputSpec { kind: InputKind::Samples, layout: Some(Layout::Ct), ..InputSpec::default() };
    let samples = Samples { channels: 3, order: Order::Interleaved, values: wave(768) };
    prepare(c, "prepare 256x3", &spec, &[0, 3, 256], &Input::Samples(samples));
}

fn postprocess(c: &mut Criterion) {
    let read = |task, output, labels: &[&str], shape: &[usize]| {
        let spec = Spec { task, output: [(String::new(), output)].into(), ..Spec::default() };
        let labels: Vec<Arc<str>> = labels.iter().map(|label| Arc::from(*label)).collect();
        Interpreter::new(&spec, &labels, &[], &[info("o", shape)]).expect("a meaning")
    };
    let output = OutputSpec { layout: Some(DetectionLayout::Yolov8), ..OutputSpec::default() };
    let yolo = read(Task::Detection, output, &["a", "b", "c"], &[1, 7, 1575]);
    let (boxes, scores) = (wave(4 * 1575), wave(3 * 1575));
    let boxes = boxes.iter().map(|v| (v + 1.0) * 100.0);
    // A few dozen anchors above the threshold, as around a handful of objects.
    let values: Vec<f32> = boxes.chain(scores.iter().map(|v| v.abs().powi(900))).collect();
    let answer = [Tensor::new(vec![1, 7, 1575], values).expect("a tensor")];
    c.bench_function("read yolov8 7x1575", |b| {
        b.iter(|| yolo.interpret(0, &[], black_box(&answer), &Placement::NONE));
    });

    let output = OutputSpec { activation: Activation::Softmax, ..OutputSpec::default() };
    let classes = read(Task::Classification, output, &["a", "b", "c", "d"], &[0, 4]);
    let answer = [Tensor::new(vec![1, 4], wave(4)).expect("a tensor")];
    c.bench_function("read 4 classes", |b| {
        b.iter(|| classes.interpret(0, &[], black_box(&answer), &Placement::NONE));
    });
}

criterion_group!(benches, decode, window, preprocess, postprocess);
criterion_main!(benches);
