//! The models that are shipped, on every engine that is here.

use std::path::Path;
use std::process::Command;

use eir::engine::{EngineKind, Form};
use eir::event::{Input, Prediction};
use eir::model::{Models, ModelsConfig};
use eir::package::{EngineChoice, Expectation, Package};

fn shipped() -> (Models, Vec<Package>) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let models = Models::new(&ModelsConfig { dir, ..ModelsConfig::default() });
    let repository = models.repository().expect("models/");
    let listed = repository.models().expect("models");
    let packages = listed.iter().map(|listed| models.find(listed.name.as_str()).expect("package"));
    let packages = packages.collect();
    (models, packages)
}

/// What can be tested here. With `EIR_REQUIRE_ORT=1` a missing ONNX Runtime is a failure.
fn candidates(models: &Models, package: &Package) -> Vec<(EngineKind, Form)> {
    let mut candidates = vec![(EngineKind::Tract, Form::Stored)];
    if package.signature.is_quantized() {
        candidates.push((EngineKind::Tract, Form::Float));
    }
    match models.engine(EngineKind::Ort, Form::Stored) {
        Ok(_) => candidates.push((EngineKind::Ort, Form::Stored)),
        Err(refusal) => {
            let required = std::env::var_os("EIR_REQUIRE_ORT").is_some_and(|value| value == "1");
            assert!(!required, "{}", refusal.reason);
            eprintln!("NOT TESTED on ONNX Runtime: {}", refusal.reason);
        }
    }
    candidates
}

#[test]
fn every_golden_sample_of_every_shipped_model_holds_on_every_engine() {
    let (models, packages) = shipped();
    assert!(!packages.is_empty(), "models/ holds no model");
    let mut mistakes = Vec::new();
    for package in &packages {
        assert!(!package.golden.is_empty(), "{} has no golden samples", package.name);
        for (kind, form) in candidates(&models, package) {
            for result in models.verify(package, kind, form).expect("verify") {
                let name = &package.name;
                eprintln!("{name} {kind} {form:?} {} {:?}", result.sample, result.elapsed);
                if let Some(mistake) = result.mistake {
                    mistakes
                        .push(format!("{name} on {kind} {form:?}, {}: {mistake}", result.sample));
                }
            }
        }
    }
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}

#[test]
fn a_shipped_model_answers() {
    let (models, packages) = shipped();
    let package = packages.into_iter().find(|p| p.name.as_str() == "bearing").expect("bearing");
    let golden = package.golden.clone();
    let mut caller = models.serve(package, None).expect("model").caller().expect("caller");
    let inputs: Vec<Input> = golden
        .iter()
        .map(|sample| sample.input.load(|_| Err::<Input, _>("numbers only")).expect("numbers"))
        .collect();
    let mut answers = Vec::new();
    caller.predict(&inputs, &mut answers);
    for (sample, answer) in golden.iter().zip(answers) {
        let Expectation::Scores(expected) = &sample.expect else { panic!("scores") };
        let best = expected.iter().max_by(|a, b| a.1.total_cmp(b.1)).expect("a class");
        match answer.expect("an answer") {
            Prediction::Classification { label, .. } => assert_eq!(*label, **best.0),
            other => panic!("{other:?}"),
        }
    }
}

/// ONNX Runtime's own builds report to their makers unless they are told not to before they load.
#[test]
fn loading_and_running_models_writes_nothing_outside() {
    let home = tempfile::tempdir().expect("tempdir");
    let ran = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "models::a_shipped_model_answers"])
        .env("HOME", home.path())
        .env("TMPDIR", home.path())
        .env_remove("XDG_CACHE_HOME")
        .env_remove("XDG_DATA_HOME")
        .output()
        .expect("run");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    let left: Vec<_> = std::fs::read_dir(home.path()).expect("home").flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn every_shipped_model_serves_by_every_choice_of_engine() {
    let (models, packages) = shipped();
    for package in packages {
        assert!(package.size <= 1_500_000, "{} is larger than 1.5 MB", package.name);
        for choice in [EngineChoice::Auto, EngineChoice::Fastest, EngineChoice::Tract] {
            let model = models.serve(package.clone(), Some(choice)).expect("model");
            let status = model.status();
            eprintln!(
                "{} {choice:?}: {} {}, {} threads, {:?} a run, {:?}",
                package.name,
                status.label(),
                status.version,
                status.threads,
                status.least,
                status.reason
            );
            assert!(model.caller().is_ok());
        }
    }
}
