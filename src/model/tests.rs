//! Models on graphs that are written by hand, with golden samples.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::engine::{
    Engine, EngineError, EngineKind, Form, OrtConfig, Provider, Session, SessionOptions, Terms,
    Tract, Work,
};
use crate::event::{DType, Input, Order, Prediction, Samples, Tensor};
use crate::package::graph::{Graph, f32s, u8s};
use crate::package::{EngineChoice, ModelRef, Package, test_package};

struct Lab {
    root: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        Self { root: tempfile::tempdir().expect("tempdir") }
    }

    fn put(&self, name: &str, graph: Graph, toml: &str, files: &[(&str, &str)]) -> PathBuf {
        let directory = self.root.path().join(name).join("1");
        test_package(&directory, &graph.bytes(), toml, files);
        directory
    }

    fn models(&self, engine: EngineChoice) -> Models {
        Models::new(&ModelsConfig {
            dir: self.root.path().to_owned(),
            engine,
            ..ModelsConfig::default()
        })
    }

    fn load(&self, name: &str, engine: EngineChoice) -> Result<Arc<Model>, ModelError> {
        self.models(engine).load(&name.parse::<ModelRef>().expect("name"))
    }
}

/// ONNX Runtime is here. With `EIR_REQUIRE_ORT=1` it must be.
fn has_ort(models: &Models) -> bool {
    match models.engine(EngineKind::Ort, Form::Stored) {
        Ok(_) => true,
        Err(refusal) => {
            let required = std::env::var_os("EIR_REQUIRE_ORT").is_some_and(|value| value == "1");
            assert!(!required, "{}", refusal.reason);
            eprintln!("NOT TESTED on ONNX Runtime: {}", refusal.reason);
            false
        }
    }
}

fn numbers(values: &[f32]) -> Input {
    Input::Samples(Samples {
        channels: values.len(),
        order: Order::Interleaved,
        values: values.into(),
    })
}

fn doubled(batch: Option<usize>) -> Graph {
    Graph::new()
        .input("x", DType::F32, &[batch, Some(2)])
        .node("Add", &["x", "x"], &["y"], &[])
        .output("y", DType::F32, &[batch, Some(2)])
}

const REGRESSION: &str = "task = \"regression\"\ntolerance = 0.01\n[input]\nkind = \"tensor\"\n";

fn sample(input: &[f32], values: &[f32]) -> String {
    format!(
        "{{\"input\": {{\"shape\": [1, {}], \"values\": {input:?}}}, \"expect\": {{\"values\": {values:?}}}}}",
        input.len()
    )
}

fn values(answer: &Result<Prediction, PredictError>) -> Vec<f32> {
    match answer {
        Ok(Prediction::Regression { values } | Prediction::Tensor { values, .. }) => values.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_batch_is_answered_item_by_item_and_a_misfit_fails_alone() {
    let lab = Lab::new();
    for (name, batch) in [("open", None), ("fixed", Some(1))] {
        lab.put(
            name,
            doubled(batch),
            REGRESSION,
            &[("golden/00.json", &sample(&[1.0, 2.0], &[2.0, 4.0]))],
        );
        for engine in [EngineChoice::Auto, EngineChoice::Tract] {
            let model = lab.load(name, engine).expect("model");
            let mut caller = model.caller().expect("caller");
            let mut inputs: Vec<Input> =
                (0..70_u8).map(|i| numbers(&[f32::from(i), 1.0])).collect();
            inputs[40] = numbers(&[1.0, 2.0, 3.0]);
            let mut answers = Vec::new();
            for _ in 0..2 {
                caller.predict(&inputs, &mut answers);
                assert_eq!(answers.len(), 70);
                for (i, answer) in answers.iter().enumerate() {
                    if i == 40 {
                        assert!(matches!(answer, Err(PredictError::Prepare(_))), "{answer:?}");
                    } else {
                        assert_eq!(values(answer), [2.0 * i as f32, 2.0], "{name} {engine:?}");
                    }
                }
            }
            assert_eq!(values(&caller.predict_one(&numbers(&[4.0, 5.0]))), [8.0, 10.0]);
        }
    }
}

#[test]
fn a_model_that_gets_its_golden_sample_wrong_never_serves() {
    let lab = Lab::new();
    lab.put(
        "m",
        doubled(None),
        REGRESSION,
        &[("golden/07.json", &sample(&[1.0, 2.0], &[2.0, 5.0]))],
    );
    for engine in [EngineChoice::Auto, EngineChoice::Tract, EngineChoice::Fastest] {
        let error = lab.load("m", engine).expect_err("wrong").to_string();
        assert!(error.contains("golden sample 07: value 1 is 4, expected 5"), "{error}");
    }
}

/// A chain of causes, as a command shows it, told each of them twice.
#[test]
fn each_cause_is_told_once() {
    let lab = Lab::new();
    let toml = "task = \"classification\"\n[output]\nlabels = \"labels.txt\"";
    lab.put("labels", doubled(Some(1)), toml, &[("labels.txt", "a\nb\nc")]);
    lab.put("gone", doubled(Some(1)), toml, &[]);
    lab.put("spec", doubled(Some(1)), "taks = 1", &[]);
    for (name, cause) in [
        ("labels", "labels.txt has 3 labels"),
        ("gone", "No such file"),
        ("spec", "unknown field `taks`"),
    ] {
        let error = lab.load(name, EngineChoice::Tract).expect_err("a mistake");
        let told = format!("{:#}", anyhow::Error::new(error));
        assert_eq!(told.matches(cause).count(), 1, "{told}");
    }
}

#[test]
fn a_bare_model_serves_tensors_even_if_no_pipeline_can_feed_it() {
    let lab = Lab::new();
    let sum = Graph::new()
        .input("a", DType::F32, &[Some(2)])
        .input("b", DType::F32, &[Some(2)])
        .node("Add", &["a", "b"], &["y"], &[])
        .output("y", DType::F32, &[Some(2)]);
    lab.put("sum", sum, "", &[]);
    let model = lab.load("sum", EngineChoice::Auto).expect("model");
    assert!(matches!(model.caller(), Err(ModelError::Inputs { inputs: 2, .. })));
    let tensor = |values: [f32; 2]| Tensor::new(vec![2], values.to_vec()).expect("tensor");
    let inputs = vec![tensor([1.0, 2.0]), tensor([3.0, 4.0])];
    let mut work = Work::new(inputs.clone());
    model.port().infer(&mut work).expect("run");
    let outputs = work.outputs;
    assert_eq!(outputs, [tensor([4.0, 6.0])]);
}

#[test]
fn a_fixed_batch_of_several_is_refused_by_pipelines() {
    let lab = Lab::new();
    lab.put("four", doubled(Some(4)), REGRESSION, &[]);
    let error = lab.load("four", EngineChoice::Tract).expect_err("four").to_string();
    assert!(error.contains("insists on 4 items"), "{error}");
}

#[test]
fn without_onnx_runtime_auto_runs_on_tract_and_says_why() {
    let lab = Lab::new();
    lab.put("m", doubled(None), "", &[]);
    let models = Models::new(&ModelsConfig {
        dir: lab.root.path().to_owned(),
        ort: OrtConfig {
            library: Some("/nowhere/libonnxruntime.so".into()),
            ..OrtConfig::default()
        },
        ..ModelsConfig::default()
    });
    let model = models.load(&"m".parse().expect("name")).expect("tract");
    let status = model.status();
    // Where tests share a process, another may have loaded the library already.
    if status.kind == EngineKind::Tract {
        let reason = status.reason.expect("a reason");
        assert!(reason.contains("/nowhere/libonnxruntime.so"), "{reason}");
    }
}

#[test]
fn those_who_ask_for_one_version_share_it() {
    let lab = Lab::new();
    lab.put("m", doubled(None), "", &[]);
    let models = lab.models(EngineChoice::Tract);
    let reference: ModelRef = "m".parse().expect("name");
    let (a, b) = (models.load(&reference).expect("a"), models.load(&reference).expect("b"));
    assert!(Arc::ptr_eq(&a, &b));
    assert_eq!(models.find("m").expect("by name").version, 1);
    let path = lab.root.path().join("m/1");
    assert_eq!(models.find(&path.to_string_lossy()).expect("by path").name.as_str(), "m");
    assert!(models.find("no/such/path").is_err() && models.find("nothing").is_err());
}

#[test]
fn the_fastest_is_remembered() {
    let lab = Lab::new();
    lab.put(
        "m",
        doubled(None),
        REGRESSION,
        &[("golden/00.json", &sample(&[1.0, 2.0], &[2.0, 4.0]))],
    );
    let cache = lab.root.path().join("cache");
    let models = Models::new(&ModelsConfig {
        dir: lab.root.path().to_owned(),
        engine: EngineChoice::Fastest,
        cache_dir: Some(cache.clone()),
        ..ModelsConfig::default()
    });
    let reference: ModelRef = "m".parse().expect("name");
    let first = models.load(&reference).expect("timed").engine();
    let files: Vec<_> = std::fs::read_dir(&cache).expect("cache").flatten().collect();
    assert_eq!(files.len(), 1);
    let again = models.load(&reference).expect("remembered");
    assert_eq!(again.engine(), first);
    assert!(again.status().reason.expect("reason").contains("last timed"));
    drop(again);
    crate::disk::replace(&files[0].path(), b"rubbish").expect("write");
    assert!(models.load(&reference).is_ok(), "a verdict that cannot be read is made anew");
}

#[test]
fn mistakes_of_a_package_are_found_at_load() {
    let lab = Lab::new();
    let classes = |labels: &str| {
        let toml = "task = \"classification\"\n[output]\nlabels = \"labels.txt\"";
        lab.put("c", doubled(Some(1)), toml, &[("labels.txt", labels)]);
        lab.load("c", EngineChoice::Tract).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(classes("a\nb"), Ok(()));
    assert!(classes("a").is_err(), "one label short");
    lab.put("short", doubled(Some(1)), "", &[]);
    let file = lab.root.path().join("short/1/model.onnx");
    crate::disk::replace(&file, b"rubbish").expect("write");
    let error = lab.load("short", EngineChoice::Auto).expect_err("rubbish").to_string();
    assert!(error.contains("model.onnx"), "{error}");
}

/// Runs on tract until it breaks.
#[derive(Debug, Clone)]
struct Fragile(Arc<AtomicBool>, Tract);

#[derive(Debug)]
struct FragileSession(Arc<AtomicBool>, Box<dyn Session>);

impl Engine for Fragile {
    fn kind(&self) -> EngineKind {
        EngineKind::Ort
    }

    fn version(&self) -> String {
        "0".into()
    }

    fn load(
        &self,
        package: &Package,
        options: SessionOptions,
    ) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(FragileSession(Arc::clone(&self.0), self.1.load(package, options)?)))
    }
}

impl Session for FragileSession {
    fn run(&mut self, inputs: &[Tensor], outputs: &mut Vec<Tensor>) -> Result<(), EngineError> {
        if self.0.load(Ordering::Relaxed) {
            let reason = "the accelerator is gone".into();
            return Err(EngineError::Run { engine: EngineKind::Ort, reason });
        }
        self.1.run(inputs, outputs)
    }
}

#[test]
fn a_model_that_keeps_failing_falls_over_to_tract_if_it_may() {
    let lab = Lab::new();
    let golden = sample(&[1.0, 2.0], &[2.0, 4.0]);
    let directory = lab.put("m", doubled(None), REGRESSION, &[("golden/00.json", &golden)]);
    for (choice, falls_over) in [(EngineChoice::Auto, true), (EngineChoice::Ort, false)] {
        let package = Package::open(&directory).expect("package");
        let broken = Arc::new(AtomicBool::new(false));
        let engine: Arc<dyn Engine> =
            Arc::new(Fragile(Arc::clone(&broken), Tract::new(Form::Stored)));
        let candidate =
            attempt::attempt(&engine, &package, attempt::Threads::Fixed(1)).expect("well");
        let model =
            Model::start(package, candidate, choice, (Terms::alone(4), 1)).expect("a model");
        let model = Arc::new(model);
        let mut caller = model.caller().expect("caller");
        let mut predict = || caller.predict_one(&numbers(&[1.0, 1.0]));
        assert!(predict().is_ok());
        broken.store(true, Ordering::Relaxed);
        for _ in 0..3 {
            assert_eq!(predict().expect_err("broken").kind(), "engine");
        }
        assert_eq!(predict().is_ok(), falls_over);
        let EngineStatus { reason, failing, .. } = model.status();
        let told = if falls_over { reason } else { failing }.expect("told");
        assert!(told.contains("accelerator is gone"), "{told}");
        assert_eq!(model.engine(), if falls_over { EngineKind::Tract } else { EngineKind::Ort });
        if !falls_over {
            // It heals when the cause goes away.
            broken.store(false, Ordering::Relaxed);
            assert!(predict().is_ok());
            assert_eq!(model.status().failing, None);
        }
    }
}

#[test]
fn a_bench_times_a_batch() {
    let lab = Lab::new();
    let directory = lab.put("m", doubled(None), "", &[]);
    let package = Package::open(&directory).expect("package");
    let models = lab.models(EngineChoice::Tract);
    let timing = models
        .bench(
            &package,
            (EngineKind::Tract, Form::Stored),
            Trial { threads: 1, instances: 2, batch: 8 },
            std::time::Duration::from_millis(5),
        )
        .expect("timing");
    assert!(timing.runs >= 2 * 3 && timing.least <= timing.p50 && timing.p50 <= timing.p99);
}

#[test]
fn the_configuration_refuses_what_it_does_not_know() {
    let config: ModelsConfig = toml::from_str(
        "dir = \"m\"\nengine = \"fastest\"\nort = { providers = [\"cuda\", \"cpu\"] }",
    )
    .expect("config");
    assert_eq!(config.engine, EngineChoice::Fastest);
    assert_eq!(config.ort.providers, [Provider::Cuda, Provider::Cpu]);
    assert_eq!(config.dir, Path::new("m"));
    let error =
        toml::from_str::<ModelsConfig>("ort = { providers = [\"cudda\"] }").expect_err("typo");
    assert!(error.to_string().contains("tensorrt"), "{error}");
    assert!(toml::from_str::<ModelsConfig>("engines = \"ort\"").is_err());
}

mod vouch;

#[test]
fn a_batch_is_run_beside_while_the_next_is_prepared() {
    let lab = Lab::new();
    let golden = sample(&[1.0, 2.0], &[2.0, 4.0]);
    lab.put("m", doubled(Some(1)), REGRESSION, &[("golden/00.json", &golden)]);
    let model = lab.load("m", EngineChoice::Tract).expect("model");
    let mut caller = model.caller().expect("caller");
    let ready = |number: f32, caller: &mut Caller| {
        let mut answers = Vec::new();
        let run = caller.ready(&[numbers(&[number, 1.0])], &mut answers);
        (run, answers)
    };
    assert!(caller.is_finished(), "nothing was started");
    let (run, mut before) = ready(0.0, &mut caller);
    caller.start(run, Where::Beside);
    for number in 1..20_u8 {
        let (run, answers) = ready(f32::from(number), &mut caller);
        caller.finish(&mut before, |_| false, &mut Vec::new());
        assert_eq!(values(&before[0]), [2.0 * f32::from(number - 1), 2.0]);
        before = answers;
        caller.start(run, if number % 3 == 0 { Where::Here } else { Where::Beside });
        assert!(number % 3 != 0 || caller.is_finished());
    }
    // The last is never asked for; and what does not fit is run by nobody.
    let mut answers = Vec::new();
    let run = caller.ready(&[numbers(&[1.0, 2.0, 3.0])], &mut answers);
    caller.start(run, Where::Beside);
    caller.finish(&mut answers, |_| false, &mut Vec::new());
    assert!(matches!(answers[0], Err(PredictError::Prepare(_))), "{answers:?}");
    assert_eq!(caller.spent().count(), 19);
}
