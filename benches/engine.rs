//! What sharing a model costs on top of a bare `Session::run`, per engine, on the shipped `bearing`.

use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use eir::engine::{EngineKind, Form, SessionOptions, Work};
use eir::event::{Input, Prediction, Tensor};
use eir::model::{Models, ModelsConfig};
use eir::package::EngineChoice;

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
    #[expect(clippy::disallowed_methods, reason = "a benchmark looks at the real clock")]
    let now = Instant::now;
    let mut times: Vec<_> = (0..2000)
        .map(|_| {
            let start = now();
            work();
            now() - start
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

criterion_group!(benches, engine);
criterion_main!(benches);
