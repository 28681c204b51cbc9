use super::super::Preparer;
use super::paint::luma;
use super::reference::*;
use super::*;
use crate::event::{Input, Tensor};
use crate::package::{InputKind, TensorInfo};

/// Grey levels that rounding may cost: Pillow resizes across first, the library down first.
const TOLERANCE: f32 = 1.0;

/// 17 x 11, a ramp across, a ramp down, and a rough one.
fn pattern() -> Frame {
    let (width, height) = (17_u32, 11_u32);
    let data = (0..height)
        .flat_map(|y| (0..width).flat_map(move |x| [x * 15, y * 23, (x * 37 + y * 53) % 256]))
        .map(|level| u8::try_from(level).expect("a level"))
        .collect();
    Frame::new(width, height, Pixels::Rgb, data)
}

fn gray(frame: &Frame) -> Frame {
    let data = frame.data.as_chunks().0.iter().map(|rgb| luma(*rgb)).collect();
    Frame { pixels: Pixels::Gray, data, ..*frame }
}

fn spec(size: [u32; 2], fit: Fit) -> InputSpec {
    let (kind, layout) = (InputKind::Image, Some(Layout::Nhwc));
    InputSpec { kind, layout, size: Some(size), fit, pad: 114, ..InputSpec::default() }
}

fn prepare(spec: &InputSpec, dtype: DType, frame: &Frame) -> (Tensor, Placement) {
    let shape = vec![None; 4];
    let mut preparer =
        Preparer::new(spec, &TensorInfo { name: "x".to_owned(), dtype, shape }).expect("a plan");
    let mut batch = Batch::new(&preparer);
    preparer.push(&Input::Frame(frame.clone()), &mut batch).expect("fits");
    let placement = batch.placements()[0];
    (batch.take_tensor(), placement)
}

fn assert_close(found: &Tensor, expected: &[u8], what: &str) {
    let found = found.data().to_f32();
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let off = (found - f32::from(*expected)).abs();
        assert!(off <= TOLERANCE, "{what}: {found} at {at}, Pillow says {expected}");
    }
}

#[test]
fn every_fit_is_that_of_pillow() {
    for (size, fit, expected) in [
        ([8, 5], Fit::Stretch, STRETCH_8X5),
        ([5, 8], Fit::Stretch, STRETCH_5X8),
        ([20, 13], Fit::Stretch, STRETCH_20X13),
        ([8, 8], Fit::Letterbox, LETTERBOX_8X8),
        ([9, 4], Fit::Letterbox, LETTERBOX_9X4),
        ([8, 8], Fit::Crop, CROP_8X8),
        ([9, 4], Fit::Crop, CROP_9X4),
    ] {
        let (found, _) = prepare(&spec(size, fit), DType::U8, &pattern());
        assert_close(&found, expected, &format!("{fit:?} {size:?}"));
    }
    let spec = InputSpec { color: Color::Gray, ..spec([8, 5], Fit::Stretch) };
    assert_close(&prepare(&spec, DType::U8, &pattern()).0, GRAY_8X5, "gray from colour");
    assert_close(&prepare(&spec, DType::U8, &gray(&pattern())).0, GRAY_8X5, "gray from gray");
}

#[test]
fn layouts_and_colours_hold_the_same_pixels() {
    let rgb = spec([8, 8], Fit::Letterbox);
    let (base, _) = prepare(&rgb, DType::U8, &pattern());
    let base = base.data().to_f32();
    let bgr = InputSpec { color: Color::Bgr, ..rgb.clone() };
    let (swapped, _) = prepare(&bgr, DType::U8, &pattern());
    let planar = InputSpec { layout: Some(Layout::Nchw), ..rgb };
    let (planes, _) = prepare(&planar, DType::U8, &pattern());
    assert_eq!((swapped.shape(), planes.shape()), (&[1, 8, 8, 3][..], &[1, 3, 8, 8][..]));
    let (swapped, planes) = (swapped.data().to_f32(), planes.data().to_f32());
    for (pixel, rgb) in base.as_chunks::<3>().0.iter().enumerate() {
        let mirrored = [swapped[3 * pixel + 2], swapped[3 * pixel + 1], swapped[3 * pixel]];
        assert_eq!(mirrored[..], rgb[..]);
        let planes = [planes[pixel], planes[64 + pixel], planes[128 + pixel]];
        assert_eq!(planes[..], rgb[..]);
    }
}

#[test]
fn mean_and_scale_in_every_type() {
    let plain = spec([17, 11], Fit::Stretch);
    let spec = InputSpec { mean: vec![10., 20., 128.], scale: vec![1., 0.5, 1.], ..plain };
    let expected: Vec<f32> = pattern()
        .data
        .as_chunks::<3>()
        .0
        .iter()
        .flat_map(|p| p.map(f32::from))
        .zip([(10., 1.), (20., 0.5), (128., 1.)].into_iter().cycle())
        .map(|(raw, (mean, scale))| (raw - mean) * scale)
        .collect();
    let (f32s, _) = prepare(&spec, DType::F32, &pattern());
    assert_eq!(f32s.as_f32(), Ok(&expected[..]));
    let (f16s, _) = prepare(&spec, DType::F16, &pattern());
    assert_eq!(f16s.data().to_f32(), expected);
    let (i8s, _) = prepare(&spec, DType::I8, &pattern());
    let rounded: Vec<_> = expected.iter().map(|v| v.round_ties_even().clamp(-128., 127.)).collect();
    assert_eq!(i8s.data().to_f32(), rounded);
}

#[test]
fn the_right_size_is_a_straight_copy() {
    let frame = pattern();
    let (found, placement) = prepare(&spec([17, 11], Fit::Stretch), DType::U8, &frame);
    assert_eq!(found.data(), &frame.data.clone().into());
    assert_eq!(placement.to_source(1., 2., 3., 4.)[..], [1., 2., 3., 4.]);
    // The middle of a picture, cut without a resize.
    let wide = Frame::new(4, 1, Pixels::Gray, vec![1, 2, 3, 4]);
    let cut = InputSpec { color: Color::Gray, ..spec([2, 1], Fit::Crop) };
    assert_eq!(prepare(&cut, DType::U8, &wide).0.data(), &vec![2_u8, 3].into());
}

#[test]
fn boxes_come_back_to_the_source() {
    let close = |found: [f32; 4], expected: [f32; 4]| {
        let near = found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-3);
        assert!(near, "{found:?} {expected:?}");
    };
    let data = vec![0; 640 * 480];
    let frame = Frame::new(640, 480, Pixels::Gray, data);
    // 640x480 into 320x320: scale 1/2, bars of 40 above and below.
    let (_, boxed) = prepare(&spec([320, 320], Fit::Letterbox), DType::U8, &frame);
    close(boxed.to_source(0., 40., 320., 280.), [0., 0., 640., 480.]);
    close(boxed.to_source(100., 0., 500., 50.), [200., 0., 640., 20.]);
    // Cropped to 480x480 from 80 on: scale 2/3.
    let (_, cropped) = prepare(&spec([320, 320], Fit::Crop), DType::U8, &frame);
    close(cropped.to_source(0., 0., 320., 320.), [80., 0., 560., 480.]);
    let (_, stretched) = prepare(&spec([320, 120], Fit::Stretch), DType::U8, &frame);
    close(stretched.to_source(10., 10., 20., 20.), [20., 40., 40., 80.]);
    assert!(stretched.input_size()[0] > 319.0);
}

/// The same picture in half its size: what the model is given is nearly the same, and boxes are told as before.
#[test]
fn half_a_picture_fits_as_the_whole_one_does() {
    let level = |x: u32, y: u32| u8::try_from(x + y).expect("a level");
    let data = |step: u32| {
        let places = (0..60)
            .step_by(step as usize)
            .flat_map(move |y| (0..90).step_by(step as usize).map(move |x| (x, y)));
        let levels = places.map(|(x, y)| level(x, y) + u8::try_from(step - 1).expect("small"));
        levels.collect::<Vec<_>>()
    };
    let whole = Frame::new(90, 60, Pixels::Gray, data(1));
    let half = Frame { source: [90, 60], ..Frame::new(45, 30, Pixels::Gray, data(2)) };
    for fit in [Fit::Stretch, Fit::Letterbox, Fit::Crop] {
        let spec = InputSpec { color: Color::Gray, ..spec([30, 24], fit) };
        let (given, placement) = prepare(&spec, DType::U8, &whole);
        let (given_half, placement_half) = prepare(&spec, DType::U8, &half);
        assert_eq!(placement, placement_half, "{fit:?}");
        for (one, other) in given.data().to_f32().iter().zip(given_half.data().to_f32()) {
            assert!((one - other).abs() <= 2.0, "{fit:?}: {one} and {other}");
        }
    }
}

#[test]
fn a_package_that_contradicts_its_model_is_refused() {
    let refusal = |spec: &InputSpec, dtype, shape: [Option<usize>; 4]| {
        let info = TensorInfo { name: "x".to_owned(), dtype, shape: shape.to_vec() };
        Preparer::new(spec, &info).expect_err("a contradiction").to_string()
    };
    let nhwc = spec([8, 5], Fit::Stretch);
    let shape = [None, Some(5), Some(8), Some(3)];
    assert!(refusal(&nhwc, DType::I64, shape).contains("i64"));
    assert!(refusal(&spec([5, 8], Fit::Stretch), DType::F32, shape).contains("size says 5"));
    let three = InputSpec { mean: vec![0.0; 2], ..nhwc.clone() };
    assert!(refusal(&three, DType::F32, shape).contains("mean has 2 values"));
    let nchw = InputSpec { layout: None, ..nhwc.clone() };
    assert!(refusal(&nchw, DType::F32, shape).contains("layout the other one"));
    let unsized_ = InputSpec { size: None, ..nhwc };
    assert!(refusal(&unsized_, DType::F32, [None; 4]).contains("give size"));
}

#[test]
fn odd_sizes_never_fail() {
    for (width, height) in [(1, 1), (1, 500), (500, 1), (3, 7), (333, 1)] {
        let data = vec![9; (width * height) as usize];
        let frame = Frame::new(width, height, Pixels::Gray, data);
        for fit in [Fit::Stretch, Fit::Letterbox, Fit::Crop] {
            for size in [[1, 1], [7, 3], [64, 64]] {
                let (tensor, _) = prepare(&spec(size, fit), DType::U8, &frame);
                let values = tensor.data().to_f32();
                assert!(values.iter().all(|v| [9.0, 114.0].contains(v)), "{fit:?} {size:?}");
            }
        }
    }
}
