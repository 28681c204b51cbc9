use super::*;
use crate::event::DType;
use crate::package::{DetectionLayout, OutputSpec};

fn info(name: &str, shape: &[usize]) -> TensorInfo {
    let shape = shape.iter().map(|n| Some(*n).filter(|n| *n > 0)).collect();
    TensorInfo { name: name.to_owned(), dtype: DType::F32, shape }
}

fn spec(task: Task, output: OutputSpec) -> Spec {
    Spec { task, output: [(String::new(), output)].into(), ..Spec::default() }
}

fn labels(names: &[&str]) -> Vec<Arc<str>> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

fn tensor(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::new(shape.to_vec(), values.to_vec()).expect("a tensor")
}

/// The last item of what one output holds.
fn read(
    spec: &Spec,
    names: &[&str],
    declared: &[usize],
    answer: &Tensor,
) -> Result<Prediction, InterpretError> {
    let item = answer.shape()[0] - 1;
    let input = info("in", declared);
    Interpreter::new(spec, &labels(names), &[input], &[info("out", declared)])?.interpret(
        item,
        std::slice::from_ref(answer),
        std::slice::from_ref(answer),
        &Placement::NONE,
    )
}

fn detections(prediction: &Prediction) -> Vec<(String, f32, [f32; 4])> {
    let Prediction::Detection { detections } = prediction else { panic!("{prediction:?}") };
    detections.iter().map(|d| (d.label.to_string(), d.score, [d.x, d.y, d.w, d.h])).collect()
}

fn layout(layout: DetectionLayout) -> Spec {
    spec(Task::Detection, OutputSpec { layout: Some(layout), ..OutputSpec::default() })
}

#[test]
fn classes_have_scores_in_the_order_of_their_labels() {
    let output = OutputSpec { activation: Activation::Softmax, top_k: 2, ..OutputSpec::default() };
    let answer = tensor(&[2, 3], &[9., 9., 9., 1., 0., 3.]);
    let found = read(&spec(Task::Classification, output), &["a", "b", "c"], &[0, 3], &answer);
    let Ok(Prediction::Classification { label, score, scores }) = found else {
        panic!("{found:?}")
    };
    let [a, b, c] = [1.0_f32, 0.0, 3.0].map(f32::exp);
    assert!((score - c / (a + b + c)).abs() < 1e-6);
    assert_eq!((&*label, scores.len()), ("c", 2));
    assert_eq!((&*scores[0].0, &*scores[1].0), ("a", "c"));

    let plain = spec(Task::Classification, OutputSpec::default());
    let found = read(&plain, &[], &[0, 0], &tensor(&[1, 2], &[0.1, 0.9]));
    let Ok(Prediction::Classification { label, score, .. }) = found else { panic!("{found:?}") };
    assert_eq!((&*label, score), ("1", 0.9));
}

#[test]
fn labels_that_do_not_fit_are_refused() {
    let output = OutputSpec { labels: Some("labels.txt".to_owned()), ..OutputSpec::default() };
    let spec = spec(Task::Classification, output);
    let names = labels(&["a", "b", "c"]);
    let refused = Interpreter::new(&spec, &names, &[], &[info("logits", &[0, 4])]);
    let error = refused.expect_err("one short");
    assert_eq!(error.to_string(), "labels.txt has 3 labels, output `logits` has 4 classes");
    // The same where only the answer says how many there are.
    let late = read(&spec, &["a", "b", "c"], &[0, 0], &tensor(&[1, 4], &[0.; 4]));
    assert_eq!(late.map_err(|e| e.kind()), Err("labels"));
    let yolo = layout(DetectionLayout::Yolov8);
    let refused = Interpreter::new(&yolo, &names, &[], &[info("out", &[1, 8, 100])]);
    assert_eq!(refused.map(|_| ()).map_err(|e| e.kind()), Err("labels"));
}

#[test]
fn nothing_is_decided_on_what_is_not_finite() {
    for task in [Task::Classification, Task::Regression, Task::Embedding, Task::Tensor] {
        for bad in [f32::NAN, f32::INFINITY] {
            let answer = tensor(&[1, 2], &[1.0, bad]);
            let error = read(&spec(task, OutputSpec::default()), &[], &[0, 2], &answer);
            assert_eq!(error.map_err(|e| e.kind()), Err("not_finite"), "{task:?}");
        }
    }
    let answer = tensor(&[1, 5, 1], &[1., 1., 1., 1., f32::NAN]);
    let error = read(&layout(DetectionLayout::Yolov8), &[], &[0, 5, 1], &answer);
    assert_eq!(error.map_err(|e| e.kind()), Err("not_finite"));
    let error = read(
        &spec(Task::Anomaly, OutputSpec::default()),
        &[],
        &[0, 1],
        &tensor(&[1, 1], &[f32::NAN]),
    );
    assert_eq!(error.map_err(|e| e.kind()), Err("not_finite"));
}

#[test]
fn yolov8_and_yolov5_find_the_same() {
    // Three anchors: an object, the same again, another below the threshold.
    let wanted = vec![("b".to_owned(), 0.9, [10., 20., 30., 40.])];
    let v8 = [25., 26., 5., 40., 40., 5., 30., 30., 2., 40., 40., 2., 0.1, 0.2, 0.2, 0.9, 0.8, 0.1];
    let answer = tensor(&[1, 6, 3], &v8);
    let found = read(&layout(DetectionLayout::Yolov8), &["a", "b"], &[0, 6, 3], &answer);
    assert_eq!(detections(&found.expect("boxes")), wanted);
    let v5: Vec<f32> = [
        [25., 40., 30., 40., 1., 0.1, 0.9],
        [26., 40., 30., 40., 1., 0.2, 0.8],
        [5., 5., 2., 2., 0.2, 0.9, 0.1],
    ]
    .concat();
    let answer = tensor(&[1, 3, 7], &v5);
    let found = read(&layout(DetectionLayout::Yolov5), &["a", "b"], &[0, 0, 7], &answer);
    assert_eq!(detections(&found.expect("boxes")), wanted);
}

#[test]
fn ssd_boxes_are_shares_of_the_input() {
    let (boxes, scores) = (info("loc", &[0, 2, 4]), info("conf", &[0, 2, 3]));
    let output = OutputSpec {
        layout: Some(DetectionLayout::Ssd),
        activation: Activation::Softmax,
        ..OutputSpec::default()
    };
    let spec = spec(Task::Detection, output);
    let names = labels(&["a", "b"]);
    // The order of the outputs does not matter.
    let reader = Interpreter::new(&spec, &names, &[], &[scores, boxes]).expect("two outputs");
    let outputs = [
        tensor(&[1, 2, 3], &[0., 0., 9., 9., 0., 0.]),
        tensor(&[1, 2, 4], &[0.25, 0.5, 0.75, 1.0, 0., 0., 1., 1.]),
    ];
    let placement = Placement::new([640, 480], [0., 0., 640., 480.], [0, 40, 320, 240], [320, 320]);
    let found = reader.interpret(0, &[], &outputs, &placement).expect("boxes");
    let [(label, score, corners)] = &detections(&found)[..] else { panic!("{found:?}") };
    assert!(label == "b" && *score > 0.99);
    assert_eq!(corners[..], [160., 240., 320., 240.]);
}

#[test]
fn nms_rows_are_taken_as_they_are() {
    let rows = [0., 0., 9., 9., 0.5, 1., 0., 0., 9., 9., 0.9, 1., 0., 0., 0., 0., 0., -1.];
    let found =
        read(&layout(DetectionLayout::Nms), &["a", "b"], &[0, 0, 6], &tensor(&[1, 3, 6], &rows));
    let scores: Vec<_> = detections(&found.expect("boxes")).iter().map(|d| d.1).collect();
    assert_eq!(scores, [0.9, 0.5]);
    let odd = tensor(&[1, 1, 6], &[0., 0., 9., 9., 0.9, 2.]);
    let error = read(&layout(DetectionLayout::Nms), &["a", "b"], &[0, 0, 6], &odd);
    assert_eq!(error.map_err(|e| e.kind()), Err("wrong_shape"));
}

#[test]
fn anomaly_regression_embedding_tensor() {
    let plain = |task| spec(task, OutputSpec::default());
    let answer = tensor(&[2, 2], &[0., 0., 3., 4.]);
    let (shape, values) = (vec![2], vec![3., 4.]);
    for (task, expected) in [
        (Task::Regression, Prediction::Regression { values: values.clone() }),
        (Task::Embedding, Prediction::Embedding { values: vec![0.6, 0.8] }),
        (Task::Tensor, Prediction::Tensor { shape, values }),
    ] {
        assert_eq!(read(&plain(task), &[], &[0, 2], &answer), Ok(expected));
    }
    let score = read(&plain(Task::Anomaly), &[], &[0, 1], &tensor(&[2, 1], &[1., 7.]));
    assert_eq!(score, Ok(Prediction::Anomaly { score: 7.0 }));

    let output = OutputSpec { score: AnomalyScore::Reconstruction, ..OutputSpec::default() };
    let spec = spec(Task::Anomaly, output);
    let (a, b) = (info("in", &[0, 2]), info("out", &[0, 2]));
    let reader = Interpreter::new(&spec, &[], &[a], &[b]).expect("one of a kind");
    let before = [tensor(&[1, 2], &[1., 1.])];
    let after = [tensor(&[1, 2], &[3., 0.])];
    let found = reader.interpret(0, &before, &after, &Placement::NONE);
    assert_eq!(found, Ok(Prediction::Anomaly { score: 2.5 }));
}

#[test]
fn a_package_that_contradicts_its_model_is_refused() {
    let refusal = |spec: &Spec, outputs: &[TensorInfo]| {
        Interpreter::new(spec, &[], &[info("in", &[0, 3])], outputs)
            .expect_err("refused")
            .to_string()
    };
    let named = |name: &str, task| Spec {
        task,
        output: [(name.to_owned(), OutputSpec::default())].into(),
        ..Spec::default()
    };
    let two = [info("x", &[0, 2]), info("y", &[0, 2])];
    assert!(refusal(&named("z", Task::Regression), &two).contains("`z`, the model has `x`, `y`"));
    assert!(refusal(&named("", Task::Regression), &two).contains("[output.NAME]"));
    assert!(Interpreter::new(&named("y", Task::Regression), &[], &[], &two).is_ok());
    assert!(Interpreter::new(&Spec::default(), &[], &[], &two).is_ok());
    assert!(refusal(&named("x", Task::Anomaly), &two).contains("one number"));
    assert!(refusal(&named("x", Task::Detection), &two).contains("needs a layout"));
    assert!(refusal(&layout(DetectionLayout::Yolov8), &two[..1]).contains("yolov8 is"));
    assert!(refusal(&layout(DetectionLayout::Yolov5), &[info("o", &[1, 9, 5])]).contains("yolov5"));
    assert!(refusal(&layout(DetectionLayout::Nms), &[info("o", &[1, 9, 7])]).contains("nms is"));
    assert!(refusal(&layout(DetectionLayout::Ssd), &two[..1]).contains("two outputs"));
    let output = OutputSpec { score: AnomalyScore::Reconstruction, ..OutputSpec::default() };
    assert!(
        refusal(&spec(Task::Anomaly, output), &two[..1]).contains("shape of the input, [?, 3]")
    );
}

#[test]
fn an_answer_of_another_shape_is_an_error() {
    let one = tensor(&[1, 4], &[0.; 4]);
    for layout_name in [DetectionLayout::Yolov5, DetectionLayout::Yolov8, DetectionLayout::Nms] {
        let error = read(&layout(layout_name), &[], &[0, 0, 0], &one);
        assert_eq!(error.map_err(|e| e.kind()), Err("wrong_shape"), "{layout_name:?}");
    }
    let reader = Interpreter::new(&Spec::default(), &[], &[], &[info("o", &[0, 4])]).expect("any");
    for (item, outputs) in [(1, vec![one]), (0, vec![])] {
        let error = reader.interpret(item, &[], &outputs, &Placement::NONE);
        assert_eq!(error.map_err(|e| e.kind()), Err("wrong_shape"));
    }
}
