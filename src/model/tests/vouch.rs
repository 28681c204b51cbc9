//! What vouches for a model: its golden samples, or that nothing is known against its engine.

use super::*;

/// tract 0.23.9 gives ones for a Softmax between Dequantize and Quantize.
fn quantized_softmax() -> Graph {
    Graph::new()
        .input("x", DType::U8, &[Some(1), Some(3)])
        .constant("s", f32s(&[], &[0.1]))
        .constant("z", u8s(&[], &[128]))
        .constant("t", f32s(&[], &[1.0 / 255.0]))
        .constant("zero", u8s(&[], &[0]))
        .node("DequantizeLinear", &["x", "s", "z"], &["d"], &[])
        .node("Softmax", &["d"], &["p"], &[("axis", -1)])
        .node("QuantizeLinear", &["p", "t", "zero"], &["y"], &[])
        .output("y", DType::U8, &[Some(1), Some(3)])
}

#[test]
fn the_softmax_that_tract_gets_wrong_is_caught_by_its_golden_sample() {
    // softmax(0, 1, 2) = 0.0900, 0.2447, 0.6652 as shares of 255
    let golden = sample(&[128.0, 138.0, 148.0], &[23.0, 62.0, 170.0]);
    let lab = Lab::new();
    let toml = "task = \"tensor\"\ntolerance = 1.0\n[input]\nkind = \"tensor\"\n";
    let directory = lab.put("trap", quantized_softmax(), toml, &[("golden/00.json", &golden)]);
    let error = lab.load("trap", EngineChoice::Tract).expect_err("wrong on tract").to_string();
    assert!(error.contains("golden sample 00"), "{error}");
    let models = lab.models(EngineChoice::Auto);
    if has_ort(&models) {
        assert_eq!(lab.load("trap", EngineChoice::Auto).expect("ort").engine(), EngineKind::Ort);
        assert_eq!(lab.load("trap", EngineChoice::Fastest).expect("ort").engine(), EngineKind::Ort);
        let package = Package::open(&directory).expect("package");
        let right = models.verify(&package, EngineKind::Ort, Form::Stored).expect("verify");
        let wrong = models.verify(&package, EngineKind::Tract, Form::Stored).expect("verify");
        assert!(right[0].mistake.is_none() && wrong[0].mistake.is_some());
    }
}

/// x → DQ → Softmax → Q → DQ → y: the fold takes the quantization away.
fn foldable_softmax() -> Graph {
    Graph::new()
        .input("f", DType::F32, &[Some(1), Some(3)])
        .constant("s", f32s(&[], &[0.1]))
        .constant("z", u8s(&[], &[128]))
        .constant("t", f32s(&[], &[1.0 / 255.0]))
        .constant("zero", u8s(&[], &[0]))
        .node("QuantizeLinear", &["f", "s", "z"], &["x"], &[])
        .node("DequantizeLinear", &["x", "s", "z"], &["d"], &[])
        .node("Softmax", &["d"], &["p"], &[("axis", -1)])
        .node("QuantizeLinear", &["p", "t", "zero"], &["q"], &[])
        .node("DequantizeLinear", &["q", "t", "zero"], &["y"], &[])
        .output("y", DType::F32, &[Some(1), Some(3)])
}

/// B10: without a golden sample it served on tract, silently wrong.
#[test]
fn the_softmax_that_tract_gets_wrong_does_not_serve_there_unvouched() {
    let lab = Lab::new();
    lab.put("trap", quantized_softmax(), "", &[]);
    let error = lab.load("trap", EngineChoice::Tract).expect_err("in doubt").to_string();
    assert!(error.contains("quantized Softmax `p` wrongly"), "{error}");
    assert!(error.contains("golden samples"), "{error}");

    lab.put("fold", foldable_softmax(), "", &[]);
    let model = lab.load("fold", EngineChoice::Tract).expect("the float form");
    let status = model.status();
    assert_eq!(status.form, Form::Float);
    assert!(status.reason.expect("reason").contains("wrongly"));
    let inputs = [Tensor::new(vec![1, 3], vec![0_f32, 1.0, 2.0]).expect("tensor")];
    let mut work = Work::new(inputs.to_vec());
    model.port().infer(&mut work).expect("run");
    let outputs = work.outputs;
    for (found, right) in outputs[0].as_f32().expect("f32").iter().zip([0.0900, 0.2447, 0.6652]) {
        assert!((found - right).abs() < 0.01, "{outputs:?}");
    }

    let models = lab.models(EngineChoice::Fastest);
    if has_ort(&models) {
        for choice in [EngineChoice::Auto, EngineChoice::Fastest] {
            assert_eq!(lab.load("trap", choice).expect("ort").engine(), EngineKind::Ort);
        }
    }
}

/// B10: nobody was told.
#[test]
fn a_model_that_nothing_vouches_for_says_so() {
    let lab = Lab::new();
    lab.put("bare", doubled(None), REGRESSION, &[]);
    let golden = sample(&[1.0, 2.0], &[2.0, 4.0]);
    lab.put("sure", doubled(None), REGRESSION, &[("golden/00.json", &golden)]);
    for (name, silent) in [("bare", false), ("sure", true)] {
        for choice in [EngineChoice::Auto, EngineChoice::Tract, EngineChoice::Fastest] {
            let notes = lab.load(name, choice).expect("model").status().notes;
            assert_eq!(notes.iter().any(|n| n.starts_with("no golden samples")), !silent);
        }
    }
}
