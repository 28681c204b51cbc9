//! What sharing a model costs on top of a bare `Session::run`, per engine, on the shipped `bearing`; and
//! how much longer tract takes than ONNX Runtime, on the shipped models and on those that
//! `engine/outside.py` wrote to `target/outside/models`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use eir::engine::{EngineKind, Form, Session, SessionOptions, Work};
use eir::event::{Input, Prediction, Tensor};
use eir::model::{Models, ModelsConfig};
use eir::package::{EngineChoice, Package};

fn engine(c: &mut Criterion) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let models = Models::new(&ModelsConfig { dir, ..ModelsConfig::default() });
    let package = models.find("bearing").expect("the shipped model");
    let input = package.golden[0].input.load(|_| Err::<Input, _>("numbers only")).expect("numbers");
    for (kind, form, choice) in [
        (EngineKind::Ort, Form::Stored, EngineChoice::Ort),
        (EngineKind::Tract, Form::Float, EngineChoice::Tract),
    ] {
        let engine = match models.engine(kind, form) {
            Ok(engine) => engine,
            Err(refusal) => {
                eprintln!("NOT TIMED on {}: {}", refusal.engine, refusal.reason);
                continue;
            }
        };
        let mut session = engine.load(&package, SessionOptions::default()).expect("load");
        let shape: Vec<usize> =
            package.signature.inputs[0].shape.iter().map(|dim| dim.unwrap_or(1)).collect();
        let zeros = vec![0_f32; shape.iter().product()];
        let inputs = vec![Tensor::new(shape, zeros).expect("tensor")];
        let mut outputs = Vec::new();
        let mut bare = || session.run(&inputs, &mut outputs).expect("run");
        let alone = median(&mut bare);
        c.bench_function(&format!("{kind} bare session"), |b| b.iter(&mut bare));

        let model = models.serve(package.clone(), Some(choice)).expect("model");
        let port = model.port();
        let mut work = Work::new(inputs.clone());
        let mut shared = || {
            port.infer(&mut work).expect("run");
        };
        let in_turn = median(&mut shared);
        c.bench_function(&format!("{kind} shared"), |b| b.iter(&mut shared));

        let mut caller = model.caller().expect("caller");
        let mut predict = || -> Prediction { caller.predict_one(&input).expect("prediction") };
        let whole = median(&mut || drop(predict()));
        c.bench_function(&format!("{kind} input to prediction"), |b| b.iter(&mut predict));

        let share = |time: Duration| time.as_secs_f64() / alone.as_secs_f64();
        eprintln!(
            "{kind}: session {alone:?}, shared {in_turn:?} ({:.2}×), \
             input to prediction {whole:?} ({:.2}×)",
            share(in_turn),
            share(whole)
        );
    }
}

fn median(work: &mut impl FnMut()) -> Duration {
    let mut times: Vec<_> = (0..2000).map(|_| timed(&mut *work)).collect();
    middle(&mut times)
}

fn timed(work: impl FnOnce()) -> Duration {
    #[expect(clippy::disallowed_methods, reason = "a benchmark looks at the real clock")]
    let now = Instant::now;
    let start = now();
    work();
    now() - start
}

fn middle(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Each form of tract beside ONNX Runtime, by turns in one process and with one thread each.
fn ratios(_: &mut Criterion) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let models = Models::new(&ModelsConfig { dir: root.join("models"), ..ModelsConfig::default() });
    let mut paths: Vec<PathBuf> = ["models", "target/outside/models"]
        .iter()
        .filter_map(|below| root.join(below).read_dir().ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    for path in paths {
        let Ok(package) = Package::open_path(&path) else { continue };
        let inputs: Vec<Tensor> =
            package.signature.inputs.iter().map(|info| noise(&info.shape)).collect();
        let session = |kind, form| -> Result<Box<dyn Session>, String> {
            let engine = models.engine(kind, form).map_err(|refusal| refusal.reason)?;
            engine.load(&package, SessionOptions::default()).map_err(|error| error.to_string())
        };
        for form in [Form::Stored, Form::Float] {
            let both = session(EngineKind::Ort, Form::Stored)
                .and_then(|ort| Ok((ort, session(EngineKind::Tract, form)?)));
            match both {
                Ok((mut ort, mut tract)) => {
                    let said = compared(&mut *ort, &mut *tract, &inputs);
                    eprintln!("{} {form:?}: {said}", package.name);
                }
                Err(reason) => eprintln!("{} {form:?}: NOT TIMED: {reason}", package.name),
            }
        }
    }
}

fn compared(ort: &mut dyn Session, tract: &mut dyn Session, inputs: &[Tensor]) -> String {
    let (mut expected, mut found) = (Vec::new(), Vec::new());
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let mut total = Duration::ZERO;
    while first.len() < 5 || total < Duration::from_secs(2) {
        first.push(timed(|| ort.run(inputs, &mut expected).expect("run")));
        second.push(timed(|| tract.run(inputs, &mut found).expect("run")));
        total += first[first.len() - 1] + second[second.len() - 1];
    }
    let (a, b) = (middle(&mut first), middle(&mut second));
    let values = |outputs: &[Tensor]| outputs[0].as_f32().expect("numbers").to_vec();
    let (expected, found) = (values(&expected), values(&found));
    let dot = |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    format!(
        "ONNX Runtime {a:?}, tract {b:?}: {:.2}×; cosine of the answers {:.5}",
        b.as_secs_f64() / a.as_secs_f64(),
        dot(&expected, &found) / (dot(&expected, &expected) * dot(&found, &found)).sqrt()
    )
}

/// Numbers around zero that repeat; what is open is 1.
fn noise(shape: &[Option<usize>]) -> Tensor {
    let shape: Vec<usize> = shape.iter().map(|dim| dim.unwrap_or(1)).collect();
    let mut state = 1_u32;
    let values: Vec<f32> = (0..shape.iter().product::<usize>())
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f32::from(u16::try_from(state >> 16).unwrap_or(0)) / 16_384.0 - 2.0
        })
        .collect();
    Tensor::new(shape, values).expect("as many as the shape says")
}

criterion_group!(benches, ratios, engine);
criterion_main!(benches);
