use super::*;

#[test]
fn an_item_is_cut_out_of_a_batch() {
    let batch = Tensor::new(vec![2, 3], (0_i16..6).collect::<Vec<_>>()).expect("tensor");
    assert_eq!(batch.item(1), Tensor::new(vec![1, 3], vec![3_i16, 4, 5]).ok());
    assert_eq!(batch.item(2), None);
    assert_eq!(batch.items(0, 2).as_ref(), Some(&batch));
    assert_eq!(batch.items(1, 2), None);
    assert_eq!(Tensor::default().item(0), None);
    assert_eq!(Tensor::new(vec![], vec![1_u8]).expect("scalar").item(0), None);
}

#[test]
fn items_are_added_to_a_batch_that_they_fit() {
    let whole = Tensor::new(vec![3, 2], (0_i16..6).collect::<Vec<_>>()).expect("tensor");
    let mut batch = whole.items(0, 1).expect("the first");
    assert!(batch.append(&whole.items(1, 2).expect("the others")));
    assert_eq!(batch, whole);
    let longer = Tensor::new(vec![1, 3], vec![1_i16; 3]).expect("tensor");
    let other = Tensor::new(vec![1, 2], vec![1.0_f32; 2]).expect("tensor");
    let scalar = Tensor::new(vec![], vec![1_i16]).expect("tensor");
    assert!(![longer, other, scalar].iter().any(|odd| batch.append(odd)));
    assert_eq!(batch, whole);
}

#[test]
fn a_tensor_is_as_large_as_its_shape() {
    assert!(Tensor::new(vec![2, 3], vec![0_f32; 6]).is_ok());
    assert!(Tensor::new(vec![], vec![0_u8]).is_ok());
    let error = Tensor::new(vec![2, 3], vec![0_f32; 5]).expect_err("one is missing");
    assert_eq!(error.to_string(), "5 elements do not fill the shape [2, 3]");
    assert!(Tensor::new(vec![usize::MAX, 2], vec![0_f32; 5]).is_err());
}

#[test]
fn another_value_takes_the_old_memory() {
    let mut tensor = Tensor::new(vec![4], vec![0_f32; 4]).expect("tensor");
    let before = tensor.as_f32().expect("f32").as_ptr();
    tensor.assign(&[1, 2], &[1_f32, 2.0]).expect("fits");
    assert_eq!(tensor.as_f32().expect("f32").as_ptr(), before);
    assert_eq!(tensor, Tensor::new(vec![1, 2], vec![1_f32, 2.0]).expect("tensor"));
    assert!(tensor.assign(&[3], &[1_f32, 2.0]).is_err());
    assert_eq!(tensor.shape(), [1, 2]);
    tensor.assign(&[2], &[7_i64, 8]).expect("another type");
    assert_eq!(tensor.dtype(), DType::I64);
}

#[test]
fn every_type_has_one_name() {
    for (dtype, name) in DTYPE_NAMES {
        assert_eq!(name.parse(), Ok(dtype));
        assert_eq!(dtype.to_string(), name);
        assert_eq!(serde_json::to_string(&dtype).expect("json"), format!("\"{name}\""));
    }
}

#[test]
fn texts_are_elements_too() {
    let texts = ["a", "bc", "", "d"].map(str::to_owned).to_vec();
    let tensor = Tensor::new(vec![2, 2], texts).expect("tensor");
    assert_eq!((tensor.dtype(), tensor.data().bytes()), (DType::String, 4 * 4 + 4));
    let item = tensor.item(1).expect("the second");
    assert_eq!(item.data(), &Data::String(vec![String::new(), "d".to_owned()]));
    assert_eq!(tensor.repeat(2).expect("twice").data().len(), 8);
    assert!(tensor.data().to_f32().iter().all(|value| value.is_nan()));
    assert_eq!(Data::zeros(DType::String, 2), Data::String(vec![String::new(); 2]));
}
