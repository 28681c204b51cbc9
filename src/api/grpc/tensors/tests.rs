use half::f16;
use proptest::prelude::*;
use prost::Message;

use super::super::codec;
use super::super::proto::model_infer_request::InferRequestedOutputTensor;
use super::*;
use crate::package::TensorInfo;

fn info(name: &str, dtype: DType, shape: &[Option<usize>]) -> TensorInfo {
    TensorInfo { name: name.to_owned(), dtype, shape: shape.to_vec() }
}

fn signature(dtype: DType) -> Signature {
    Signature {
        inputs: vec![info("x", dtype, &[None, Some(2)])],
        outputs: vec![info("y", dtype, &[None, Some(2)]), info("z", DType::F32, &[None])],
        ..Signature::default()
    }
}

fn package(dtype: DType) -> Package {
    Package {
        name: "m".parse().expect("a name"),
        version: 3,
        path: std::path::PathBuf::new(),
        sha256: String::new(),
        size: 0,
        spec: crate::package::Spec::default(),
        labels: Vec::new(),
        golden: Vec::new(),
        signature: signature(dtype),
        reference: None,
    }
}

/// One tensor of each type, with what is hard to write in another.
fn tensors() -> Vec<Tensor> {
    let data: [Data; 13] = [
        Data::Bool(vec![true, false]),
        Data::U8(vec![0, u8::MAX]),
        Data::I8(vec![i8::MIN, i8::MAX]),
        Data::U16(vec![1, u16::MAX]),
        Data::I16(vec![i16::MIN, i16::MAX]),
        Data::U32(vec![1, u32::MAX]),
        Data::I32(vec![i32::MIN, i32::MAX]),
        Data::U64(vec![1, u64::MAX]),
        Data::I64(vec![i64::MIN, i64::MAX]),
        Data::F16(vec![f16::from_f32(-1.5), f16::MAX]),
        Data::F32(vec![f32::MIN_POSITIVE, -0.1]),
        Data::F64(vec![f64::MAX, 0.1]),
        Data::String(vec![String::new(), "é".to_owned()]),
    ];
    data.into_iter().map(|data| Tensor::new(vec![1, 2], data).expect("a tensor")).collect()
}

fn input(tensor: &Tensor, contents: Option<InferTensorContents>) -> InferInputTensor {
    InferInputTensor {
        name: "x".to_owned(),
        datatype: datatype(tensor.dtype()).to_owned(),
        shape: vec![1, 2],
        contents: contents.map(Box::new),
        ..InferInputTensor::default()
    }
}

fn request(input: InferInputTensor) -> ModelInferRequest {
    ModelInferRequest { inputs: vec![input], ..ModelInferRequest::default() }
}

fn in_bytes(tensor: &Tensor) -> ModelInferRequest {
    let raw = vec![bytes_of(tensor.data()).into()];
    ModelInferRequest { raw_input_contents: raw, ..request(input(tensor, None)) }
}

/// What is wrong with a request for a model of f32.
fn wrong_with(request: ModelInferRequest) -> String {
    asked(request, &signature(DType::F32)).expect_err("a mistake").to_string()
}

fn f32_input(values: &[f32]) -> InferInputTensor {
    let tensor = Tensor::new(vec![1, 2], vec![0.0_f32; 2]).expect("a tensor");
    let contents =
        InferTensorContents { fp32_contents: values.to_vec(), ..InferTensorContents::default() };
    input(&tensor, Some(contents))
}

fn flag(name: &str) -> (String, InferParameter) {
    (name.to_owned(), InferParameter::default())
}

#[test]
fn every_type_comes_in_and_goes_out_in_bytes_and_as_numbers() {
    for tensor in tensors() {
        let dtype = tensor.dtype();
        let read = asked(in_bytes(&tensor), &signature(dtype)).expect("in bytes");
        assert_eq!((&read.inputs[0], &read.outputs[..]), (&tensor, &[(0, true), (1, true)][..]));
        let outputs = [tensor.clone(), Tensor::new(vec![1], vec![1.0_f32]).expect("a tensor")];
        let told = answer(&package(dtype), None, &[(0, true)], &outputs);
        assert_eq!(told.raw_output_contents, [bytes_of(tensor.data())]);
        assert_eq!((told.outputs.len(), &told.outputs[0].contents), (1, &None));

        let told = answer(&package(dtype), None, &[(1, false), (0, false)], &outputs);
        assert_eq!(told.outputs[1].datatype, datatype(dtype));
        if dtype == DType::F16 {
            // All or none: the other goes in bytes with it.
            assert_eq!(told.raw_output_contents.len(), 2);
            continue;
        }
        assert!(told.raw_output_contents.is_empty());
        let contents = told.outputs[1].contents.clone();
        let typed = request(input(&tensor, contents));
        let read = asked(typed, &signature(dtype)).expect("as numbers");
        assert_eq!((&read.inputs[0], &read.outputs[..]), (&tensor, &[(0, false), (1, false)][..]));
    }
}

#[test]
fn a_request_says_what_it_wants_and_how_long_it_waits() {
    let wait = |choice| {
        let told = InferParameter { parameter_choice: Some(choice) };
        let parameters = [("timeout".to_owned(), told)].into();
        ModelInferRequest { parameters, ..request(f32_input(&[1.0, 2.0])) }
    };
    let mut whole = wait(ParameterChoice::Int64Param(1500));
    whole.id = "7".to_owned();
    let output = |name: &str| InferRequestedOutputTensor {
        name: name.to_owned(),
        ..InferRequestedOutputTensor::default()
    };
    whole.outputs = vec![output("z"), output("y")];
    let read = asked(whole, &signature(DType::F32)).expect("a request");
    assert_eq!((read.id.as_deref(), read.outputs), (Some("7"), vec![(1, false), (0, false)]));
    assert_eq!(read.timeout, Some(Duration::from_micros(1500)));
    for (choice, timeout) in [
        (ParameterChoice::Uint64Param(1), Some(Duration::from_micros(1))),
        (ParameterChoice::Int64Param(0), None),
    ] {
        assert_eq!(asked(wait(choice), &signature(DType::F32)).expect("one").timeout, timeout);
    }
    for choice in [ParameterChoice::Int64Param(-1), ParameterChoice::StringParam("1".to_owned())] {
        assert_eq!(wrong_with(wait(choice)), "`timeout` is no number of microseconds");
    }
}

#[test]
fn a_mistake_names_the_tensor_and_what_would_be_right() {
    let good = || f32_input(&[1.0, 2.0]);
    let raw = |bytes: &[usize]| {
        let raw_input_contents = bytes.iter().map(|count| vec![0; *count].into()).collect();
        let input = InferInputTensor { contents: None, ..good() };
        ModelInferRequest { raw_input_contents, ..request(input) }
    };
    let of = |datatype: &str| request(InferInputTensor { datatype: datatype.to_owned(), ..good() });
    let shape = |shape: &[i64]| request(InferInputTensor { shape: shape.to_vec(), ..good() });
    let output = |name: &str, flags: &[&str]| InferRequestedOutputTensor {
        name: name.to_owned(),
        parameters: flags.iter().map(|name| flag(name)).collect(),
    };
    let outputs = |outputs: &[InferRequestedOutputTensor]| ModelInferRequest {
        outputs: outputs.to_vec(),
        ..request(good())
    };
    for (request, told) in [
        (ModelInferRequest::default(), "no tensor `x` in it"),
        (
            request(InferInputTensor { name: "n".into(), ..good() }),
            "there is no `n`; `x` are known",
        ),
        (
            ModelInferRequest { inputs: vec![good(), good()], ..ModelInferRequest::default() },
            "`x` is there twice",
        ),
        (request(InferInputTensor { contents: None, ..good() }), "`x` has no data"),
        (request(f32_input(&[1.0])), "`x` 1 elements do not fill the shape [1, 2]"),
        (raw(&[7]), "`x` has 7 bytes of f32"),
        (raw(&[12]), "`x` 3 elements do not fill the shape [1, 2]"),
        (raw(&[8, 8]), "2 of 1 inputs are there in bytes; give all of them so, or none"),
        (
            ModelInferRequest { inputs: vec![good()], ..raw(&[8]) },
            "`x` is there in bytes and in contents",
        ),
        (of("BYTES"), "`x` has 2 elements elsewhere than in bytes_contents, as BYTES has them"),
        (of("BF16"), "`x` is of BF16; BOOL, "),
        (of("FP16"), "`x` is of FP16, which is given in raw_input_contents"),
        (of("FP64"), "`x` has 2 elements elsewhere than in fp64_contents, as FP64 has them"),
        (shape(&[-1, 2]), "`x` has a dimension -1"),
        (shape(&[i64::MAX, i64::MAX]), "`x` has a shape that cannot be"),
        (shape(&[2]), "`x` is FP32 [2]; the model takes FP32 [-1, 2]"),
        (
            request(InferInputTensor { parameters: [flag(SHARED_MEMORY)].into(), ..good() }),
            "`x` is in shared memory, which is not looked at here; send its elements",
        ),
        (outputs(&[output("w", &[])]), "there is no `w`; `y`, `z` are known"),
        (outputs(&[output("y", &[]), output("y", &[])]), "`y` is asked for twice"),
        (
            outputs(&[output("y", &["classification"])]),
            "`y` is not given as classes here; ask for its numbers",
        ),
        (
            outputs(&[output("y", &[SHARED_MEMORY])]),
            "`y` is not written into shared memory here; take it from the answer",
        ),
    ] {
        let found = wrong_with(request);
        assert!(found.starts_with(told), "{found}, not {told}");
    }
    let large =
        InferTensorContents { uint_contents: vec![1, 256], ..InferTensorContents::default() };
    let tensor = Tensor::new(vec![1, 2], vec![0_u8; 2]).expect("a tensor");
    let refused = asked(request(input(&tensor, Some(large))), &signature(DType::U8));
    assert_eq!(refused.expect_err("too large").to_string(), "`x` holds 256, which is no u8");
}

fn any_contents() -> impl Strategy<Value = InferTensorContents> {
    let numbers = (
        prop::collection::vec(any::<bool>(), 0..4),
        prop::collection::vec(any::<i32>(), 0..4),
        prop::collection::vec(any::<u32>(), 0..4),
        prop::collection::vec(any::<f32>(), 0..4),
    );
    numbers.prop_map(|(bool_contents, int_contents, uint_contents, fp32_contents)| {
        let more = InferTensorContents::default();
        InferTensorContents { bool_contents, int_contents, uint_contents, fp32_contents, ..more }
    })
}

proptest! {
    #[test]
    fn any_request_fits_the_model_or_is_a_mistake(
        name in prop::sample::select(vec!["x", "y", ""]),
        datatype in prop::sample::select(vec!["BOOL", "UINT8", "INT16", "FP16", "FP32", "BYTES", ""]),
        shape in prop::collection::vec(prop_oneof![-1_i64..4, any::<i64>()], 0..4),
        contents in prop::option::of(any_contents()),
        raw in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..3),
    ) {
        for tensor in tensors() {
            let input = InferInputTensor {
                name: name.to_owned(),
                datatype: datatype.to_owned(),
                shape: shape.clone(),
                contents: contents.clone().map(Box::new),
                ..InferInputTensor::default()
            };
            let raw_input_contents = raw.iter().cloned().map(Into::into).collect();
            let request = ModelInferRequest { raw_input_contents, ..request(input) };
            let _size = size(&request);
            if let Ok(read) = asked(request, &signature(tensor.dtype())) {
                prop_assert_eq!(read.inputs[0].dtype(), tensor.dtype());
                prop_assert_eq!(read.inputs[0].shape()[1], 2);
                let volume = read.inputs[0].shape().iter().product::<usize>();
                prop_assert_eq!(read.inputs[0].data().len(), volume);
            }
        }
    }

    #[test]
    fn any_bytes_are_a_request_or_a_mistake(
        which in 0..12_usize,
        at in any::<prop::sample::Index>(),
        with in any::<Vec<u8>>(),
        junk in any::<Vec<u8>>(),
    ) {
        let tensor = &tensors()[which];
        let mut bytes = in_bytes(tensor).encode_to_vec();
        let at = at.index(bytes.len());
        bytes.splice(at..(at + with.len()).min(bytes.len()), with);
        for bytes in [bytes, junk] {
            if let Ok(request) = codec::read::<ModelInferRequest>(&bytes[..]) {
                let _asked = asked(request, &signature(tensor.dtype()));
            }
        }
    }
}
