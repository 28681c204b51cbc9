//! Both engines on graphs that are written by hand.

use super::*;
use crate::event::{DType, Data};
use crate::package::graph::{Graph, f32s, u8s};
use crate::package::test_package;
use half::f16;

/// Every engine that is here. With `EIR_REQUIRE_ORT=1` a missing ONNX Runtime is a failure.
pub(crate) fn engines() -> Vec<Box<dyn Engine>> {
    let mut engines: Vec<Box<dyn Engine>> = vec![Box::new(Tract::new(Form::Stored))];
    #[cfg(feature = "ort-dynamic")]
    match Ort::open(&OrtConfig::default()) {
        Ok(ort) => engines.push(Box::new(ort)),
        Err(error) => {
            assert!(std::env::var_os("EIR_REQUIRE_ORT").is_none_or(|v| v != "1"), "{error}");
            eprintln!("NOT TESTED on ONNX Runtime: {error}");
        }
    }
    engines
}

fn package(graph: Graph) -> (tempfile::TempDir, Package) {
    let directory = tempfile::tempdir().expect("tempdir");
    let version = directory.path().join("m/1");
    test_package(&version, &graph.bytes(), "", &[]);
    let package = Package::open(&version).expect("package");
    (directory, package)
}

fn run(engine: &dyn Engine, graph: Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>, EngineError> {
    let (_directory, package) = package(graph);
    let mut session = engine.load(&package, SessionOptions::default())?;
    let mut outputs = Vec::new();
    session.run(inputs, &mut outputs)?;
    // Again, into the memory that is there.
    let first = outputs.clone();
    session.run(inputs, &mut outputs)?;
    assert_eq!(first, outputs, "{engine:?}");
    Ok(outputs)
}

fn samples() -> Vec<Data> {
    vec![
        vec![true, false].into(),
        vec![0_u8, 255].into(),
        vec![-128_i8, 127].into(),
        vec![0_u16, 65_535].into(),
        vec![-32_768_i16, 3].into(),
        vec![0_u32, u32::MAX].into(),
        vec![i32::MIN, 3].into(),
        vec![0_u64, u64::MAX].into(),
        vec![i64::MIN, 3].into(),
        vec![f16::from_f32(0.5), f16::MAX].into(),
        vec![-0.25_f32, 3e38].into(),
        vec![-0.25_f64, 1e300].into(),
    ]
}

#[test]
fn every_element_type_goes_through_every_engine() {
    for engine in engines() {
        for data in samples() {
            let tensor = Tensor::new(vec![1, 2], data).expect("tensor");
            let graph = Graph::identity(tensor.dtype(), &[Some(1), Some(2)]);
            let outputs = run(&*engine, graph, std::slice::from_ref(&tensor)).expect("run");
            assert_eq!(outputs, [tensor], "{engine:?}");
        }
    }
}

fn gemm(batch: Option<usize>) -> Graph {
    Graph::new()
        .input("x", DType::F32, &[batch, Some(3)])
        .constant("w", f32s(&[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
        .constant("b", f32s(&[2], &[0.5, -0.5]))
        .node("Gemm", &["x", "w", "b"], &["y"], &[])
        .output("y", DType::F32, &[batch, Some(2)])
}

#[test]
fn an_open_batch_takes_any_number_of_items() {
    for engine in engines() {
        let (_directory, package) = package(gemm(None));
        let mut session = engine.load(&package, SessionOptions::default()).expect("load");
        let mut outputs = Vec::new();
        for batch in [1_usize, 5, 2, 1] {
            let x: Vec<f32> = (0..batch * 3).map(|i| i as f32).collect();
            let y: Vec<f32> = x
                .chunks(3)
                .flat_map(|x| {
                    [
                        x[0] + 3.0 * x[1] + 5.0 * x[2] + 0.5,
                        2.0 * x[0] + 4.0 * x[1] + 6.0 * x[2] - 0.5,
                    ]
                })
                .collect();
            let inputs = [Tensor::new(vec![batch, 3], x).expect("tensor")];
            session.run(&inputs, &mut outputs).expect("run");
            assert_eq!(outputs, [Tensor::new(vec![batch, 2], y).expect("tensor")], "{engine:?}");
        }
    }
}

#[test]
fn dimensions_beyond_the_batch_may_be_open_too() {
    for engine in engines() {
        let (_directory, package) = package(Graph::identity(DType::F32, &[Some(1), None, None]));
        let mut session = engine.load(&package, SessionOptions::default()).expect("load");
        let mut outputs = Vec::new();
        for (rows, columns) in [(1, 2), (3, 1), (2, 2), (4, 4), (5, 1), (1, 2), (1, 1)] {
            let x = vec![1.5_f32; rows * columns];
            let inputs = [Tensor::new(vec![1, rows, columns], x).expect("tensor")];
            session.run(&inputs, &mut outputs).expect("run");
            assert_eq!(outputs, inputs, "{engine:?}");
        }
    }
}

#[test]
fn an_empty_batch_breaks_nothing() {
    for engine in engines() {
        let (_directory, package) = package(gemm(None));
        let mut session = engine.load(&package, SessionOptions::default()).expect("load");
        let mut outputs = Vec::new();
        let none = [Tensor::new(vec![0, 3], Vec::<f32>::new()).expect("tensor")];
        if session.run(&none, &mut outputs).is_ok() {
            assert_eq!(outputs[0].shape(), [0, 2], "{engine:?}");
        }
        let one = [Tensor::new(vec![1, 3], vec![0_f32; 3]).expect("tensor")];
        session.run(&one, &mut outputs).expect("run");
        assert_eq!(outputs[0].as_f32().expect("f32"), [0.5, -0.5], "{engine:?}");
    }
}

#[test]
fn a_tensor_of_another_shape_or_type_is_refused_with_both() {
    for engine in engines() {
        for tensor in [
            Tensor::new(vec![1, 2], vec![0_f32; 2]).expect("tensor"),
            Tensor::new(vec![3], vec![0_f32; 3]).expect("tensor"),
            Tensor::new(vec![1, 3], vec![0_u8; 3]).expect("tensor"),
        ] {
            let error = run(&*engine, gemm(None), &[tensor]).expect_err("another shape");
            assert!(error.is_callers() && error.to_string().contains("f32 [?, 3]"), "{error}");
        }
        assert!(run(&*engine, gemm(None), &[]).expect_err("none").is_callers());
    }
}

#[test]
fn an_unknown_operator_is_named_with_its_opset() {
    for engine in engines() {
        let graph = Graph::new()
            .input("x", DType::F32, &[Some(1)])
            .node("Frobnicate", &["x"], &["y"], &[])
            .output("y", DType::F32, &[Some(1)]);
        let error = run(&*engine, graph, &[]).expect_err("no such operator");
        assert!(matches!(error, EngineError::Operator { .. }), "{error}");
        assert!(error.to_string().contains("Frobnicate of opset 17"), "{error}");
    }
}

#[test]
fn an_opset_that_is_too_new_is_told_with_the_highest_that_is_known() {
    for engine in engines() {
        let directory = tempfile::tempdir().expect("tempdir");
        let bytes = gemm(None).bytes_of_opset(99);
        test_package(directory.path(), &bytes, "", &[]);
        let package = Package::open(directory.path()).expect("package");
        let error = engine.load(&package, SessionOptions::default()).expect_err("99").to_string();
        assert!(error.starts_with("opset 99 is not supported; the highest that "), "{error}");
        assert!(error.contains(" knows is 2"), "{error}");
    }
}

#[test]
fn a_graph_that_does_not_fit_together_is_refused() {
    for engine in engines() {
        let graph = Graph::new()
            .input("x", DType::F32, &[Some(1), Some(3)])
            .constant("w", f32s(&[4, 2], &[0.0; 8]))
            .node("MatMul", &["x", "w"], &["y"], &[])
            .output("y", DType::F32, &[Some(1), Some(2)]);
        let x = Tensor::new(vec![1, 3], vec![0_f32; 3]).expect("tensor");
        let error = run(&*engine, graph, &[x]).expect_err("it does not fit").to_string();
        assert!(error.chars().count() < 260 && !error.contains("::"), "{error}");
        let dangling = Graph::new()
            .input("x", DType::F32, &[Some(1)])
            .node("Relu", &["nowhere"], &["z"], &[])
            .output("y", DType::F32, &[Some(1)]);
        let error = run(&*engine, dangling, &[]).expect_err("it dangles").to_string();
        assert!(error.chars().count() < 260 && !error.contains("::"), "{error}");
    }
}

#[test]
fn the_float_form_agrees_with_the_stored_one() {
    let graph = Graph::new()
        .input("x", DType::F32, &[Some(1), Some(4)])
        .constant("s", f32s(&[], &[0.02]))
        .constant("z", u8s(&[], &[128]))
        .constant("t", f32s(&[], &[0.02]))
        .constant("zero", u8s(&[], &[0]))
        .node("QuantizeLinear", &["x", "s", "z"], &["q"], &[])
        .node("DequantizeLinear", &["q", "s", "z"], &["d"], &[])
        .node("QuantizeLinear", &["d", "t", "zero"], &["e"], &[])
        .node("DequantizeLinear", &["e", "t", "zero"], &["y"], &[])
        .output("y", DType::F32, &[Some(1), Some(4)]);
    let x = Tensor::new(vec![1, 4], vec![-1.0_f32, 0.5, 1.0, 2.0]).expect("tensor");
    let stored =
        run(&Tract::new(Form::Stored), graph.clone(), std::slice::from_ref(&x)).expect("stored");
    let float = run(&Tract::new(Form::Float), graph, &[x]).expect("float");
    for (a, b) in stored[0].as_f32().expect("f32").iter().zip(float[0].as_f32().expect("f32")) {
        assert!((a - b).abs() < 0.021, "{stored:?} {float:?}");
    }
    let error = run(&Tract::new(Form::Float), gemm(None), &[]).expect_err("float already");
    assert!(matches!(error, EngineError::NothingToFold));
}

#[test]
fn a_convolution_its_limits_and_a_softmax_over_channels_are_the_same_on_both() {
    let wave = |count: u16, step: f32| -> Vec<f32> {
        (0..count).map(|i| (f32::from(i) * step).sin()).collect()
    };
    let graph = Graph::new()
        .input("x", DType::F32, &[None, Some(3), Some(9), Some(8)])
        .constant("w", f32s(&[6, 3, 3, 3], &wave(162, 0.7)))
        .constant("b", f32s(&[6], &wave(6, 1.3)))
        .constant("low", f32s(&[], &[0.0]))
        .constant("high", f32s(&[], &[1.5]))
        .node("Conv", &["x", "w", "b"], &["c"], &[])
        .node("Clip", &["c", "low", "high"], &["l"], &[])
        .node("Softmax", &["l"], &["y"], &[("axis", 1)])
        .output("y", DType::F32, &[None, Some(6), Some(7), Some(6)]);
    for batch in [1_u16, 3] {
        let shape = vec![usize::from(batch), 3, 9, 8];
        let x = Tensor::new(shape, wave(batch * 216, 0.37)).expect("tensor");
        let answers: Vec<_> = engines()
            .iter()
            .map(|engine| run(&**engine, graph.clone(), std::slice::from_ref(&x)).expect("run"))
            .collect();
        for answer in &answers {
            let pairs = answer[0].as_f32().expect("f32").iter();
            let mut pairs = pairs.zip(answers[0][0].as_f32().expect("f32"));
            assert!(pairs.all(|(a, b)| (a - b).abs() < 1e-5), "{answer:?} and {:?}", answers[0]);
        }
    }
}

#[cfg(feature = "ort-dynamic")]
#[test]
fn what_is_no_library_is_a_reason_and_no_crash() {
    let directory = tempfile::tempdir().expect("tempdir");
    test_package(directory.path(), b"\x7fELF and nothing more", "", &[]);
    let rubbish = directory.path().join("model.onnx");
    for library in [rubbish, directory.path().join("gone.so"), "/bin/true".into()] {
        let config = OrtConfig { library: Some(library), ..OrtConfig::default() };
        // Another test of this process may have loaded the real one already.
        if let Err(error) = Ort::open(&config) {
            assert!(matches!(error, OrtUnavailable::Unusable { .. }), "{error}");
        }
    }
}

#[cfg(feature = "ort-dynamic")]
#[test]
fn a_provider_that_is_missing_is_named_and_the_next_serves() {
    let wanted = vec![Provider::Tensorrt, Provider::Cuda, Provider::Cpu];
    let config = OrtConfig { providers: wanted, ..OrtConfig::default() };
    let Ok(ort) = Ort::open(&config) else { return };
    let (_directory, package) = package(gemm(Some(1)));
    let session = ort.load(&package, SessionOptions::default()).expect("cpu");
    let notes = session.notes();
    for words in [["provider tensorrt", "--use_tensorrt"], ["provider cuda", "cuDNN"]] {
        let told = notes.iter().any(|note| words.iter().all(|word| note.contains(word)));
        assert!(told, "{words:?} in {notes:?}");
    }
    assert!(ort.version().starts_with("1."), "{}", ort.version());
}
