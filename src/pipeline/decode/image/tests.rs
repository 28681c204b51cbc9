use std::time::{Duration, Instant};

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use proptest::prelude::*;

use super::*;
use crate::event::{ByteSize, Count};

const BASELINE: &[u8] = include_bytes!("../../../../tests/data/images/baseline.jpg");
const PROGRESSIVE: &[u8] = include_bytes!("../../../../tests/data/images/progressive.jpg");
const RESTART: &[u8] = include_bytes!("../../../../tests/data/images/restart.jpg");
const GRAY: &[u8] = include_bytes!("../../../../tests/data/images/gray.jpg");
const CMYK: &[u8] = include_bytes!("../../../../tests/data/images/cmyk.jpg");
const PALETTE: &[u8] = include_bytes!("../../../../tests/data/images/palette.png");

fn open(payload: &[u8]) -> Result<Frame, DecodeError> {
    decode(&ImageConfig::default(), payload, |_| false)
}

fn encode_png(data: &[u8], width: u32, height: u32, color: ExtendedColorType) -> Vec<u8> {
    let mut out = Vec::new();
    PngEncoder::new(&mut out).write_image(data, width, height, color).expect("a PNG");
    out
}

/// A PNG that states a size and holds nothing.
fn png_bomb(width: u32, height: u32) -> Vec<u8> {
    let mut out = encode_png(&[0], 1, 1, ExtendedColorType::L8);
    out[16..20].copy_from_slice(&width.to_be_bytes());
    out[20..24].copy_from_slice(&height.to_be_bytes());
    out
}

/// The mean of all bytes says that no channel was lost or inverted; the values are Pillow's.
#[test]
fn pictures_look_as_in_pillow() {
    for (name, payload, pixels, mean) in [
        ("baseline", BASELINE, Pixels::Rgb, 119.47),
        ("progressive", PROGRESSIVE, Pixels::Rgb, 119.47),
        ("restart", RESTART, Pixels::Rgb, 119.47),
        ("gray", GRAY, Pixels::Gray, 116.44),
        ("cmyk", CMYK, Pixels::Rgb, 119.59),
        ("palette", PALETTE, Pixels::Rgb, 119.30),
    ] {
        let frame = open(payload).expect(name);
        assert_eq!((frame.width, frame.height, frame.pixels), (19, 13, pixels), "{name}");
        assert_eq!(frame.data.len(), 19 * 13 * pixels.channels(), "{name}");
        let sum: u32 = frame.data.iter().map(|b| u32::from(*b)).sum();
        let found = sum as f32 / frame.data.len() as f32;
        assert!((found - mean).abs() < 1.0, "{name}: {found}, Pillow says {mean}");
    }
}

#[test]
fn every_png_becomes_8_bits_without_alpha() {
    use ExtendedColorType::{L8, L16, La8, La16, Rgb8, Rgb16, Rgba8, Rgba16};
    let wide = |values: &[u16]| values.iter().flat_map(|v| v.to_ne_bytes()).collect::<Vec<_>>();
    for (color, data, expected) in [
        (L8, vec![7], &[7][..]),
        (La8, vec![7, 9], &[7]),
        (Rgb8, vec![1, 2, 3], &[1, 2, 3]),
        (Rgba8, vec![1, 2, 3, 0], &[1, 2, 3]),
        (L16, wide(&[65_535]), &[255]),
        (La16, wide(&[257, 3]), &[1]),
        (Rgb16, wide(&[0, 385, 386]), &[0, 1, 2]),
        (Rgba16, wide(&[514, 0, 65_407, 1]), &[2, 0, 255]),
    ] {
        let frame = open(&encode_png(&data, 1, 1, color)).expect("a PNG");
        assert_eq!(frame.data, expected, "{color:?}");
    }
}

#[test]
fn a_jpeg_that_was_cut_anywhere_is_damaged() {
    for payload in [BASELINE, PROGRESSIVE, RESTART, GRAY, CMYK] {
        for length in 3..payload.len() {
            let error = open(&payload[..length]).expect_err("cut");
            assert_eq!(error.kind(), "corrupt", "{length}: {error}");
        }
    }
}

#[test]
fn what_follows_the_picture_is_ignored() {
    for payload in [BASELINE, PROGRESSIVE, PALETTE] {
        let padded = [payload, &[0; 100]].concat();
        assert_eq!(open(&padded), open(payload));
    }
}

#[test]
fn a_png_that_was_cut_is_damaged() {
    let whole = encode_png(&[9; 300], 10, 10, ExtendedColorType::Rgb8);
    let data = whole.windows(4).position(|w| w == b"IDAT").expect("data");
    for length in 8..data + 20 {
        assert_eq!(open(&whole[..length]).map(|_| ()).map_err(|e| e.kind()), Err("corrupt"));
    }
    let mut flipped = whole;
    flipped[data + 8] ^= 0x10;
    assert_eq!(open(&flipped).map(|_| ()).map_err(|e| e.kind()), Err("corrupt"));
}

#[test]
fn a_bomb_is_refused_before_it_is_opened() {
    let png = png_bomb(20_000, 20_000);
    let mut jpeg = BASELINE.to_vec();
    let frame = jpeg.windows(2).position(|w| w == [0xFF, 0xC0]).expect("a frame");
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xFF; 4]);
    for payload in [&png, &jpeg, &png_bomb(u32::MAX, u32::MAX)] {
        #[expect(clippy::disallowed_methods, reason = "the time it takes is what is tested")]
        let start = Instant::now();
        let error = open(payload).expect_err("a bomb");
        assert!(start.elapsed() < Duration::from_millis(5), "{:?}", start.elapsed());
        assert_eq!(error.kind(), "too_many_pixels");
    }
    let error = open(&png).expect_err("a bomb");
    assert_eq!(error.to_string(), "the picture is 20000x20000, more than 12000000 pixels");
}

#[test]
fn limits_are_the_last_that_passes() {
    let config = |bytes, pixels| ImageConfig {
        max_bytes: ByteSize(bytes),
        max_pixels: Count(pixels),
        scaled: true,
    };
    let size = BASELINE.len();
    assert!(decode(&config(size, 19 * 13), BASELINE, |_| false).is_ok());
    let error =
        decode(&config(size - 1, 19 * 13), BASELINE, |_| false).expect_err("a byte too long");
    assert_eq!(error.kind(), "too_large");
    let error =
        decode(&config(size, 19 * 13 - 1), BASELINE, |_| false).expect_err("a pixel too many");
    assert_eq!(error.kind(), "too_many_pixels");
}

#[test]
fn another_format_is_named_by_its_bytes() {
    let error = open(b"GIF89a").expect_err("a GIF");
    assert_eq!(error.kind(), "unsupported");
    assert!(error.to_string().contains("47 49 46 38"), "{error}");
    assert_eq!(open(&png_bomb(0, 1)).map(|_| ()).map_err(|e| e.kind()), Err("corrupt"));
}

proptest! {
    /// A picture that was damaged anywhere is a picture or an error, and never larger than it may be.
    #[test]
    fn damage_never_panics(
        which in 0_usize..6,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut payload = [BASELINE, PROGRESSIVE, RESTART, GRAY, CMYK, PALETTE][which].to_vec();
        for (place, byte) in damage {
            let place = place.index(payload.len());
            payload[place] = byte;
        }
        payload.truncate(cut.index(payload.len()) + 1);
        if let Ok(frame) = open(&payload) {
            let size = frame.width as usize * frame.height as usize * frame.pixels.channels();
            prop_assert_eq!(frame.data.len(), size);
        }
    }
}
