use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use proptest::prelude::*;

use super::super::image::decode;
use super::super::{ImageConfig, Thumbnail};
use super::*;
use crate::event::Frame;

const BASELINE: &[u8] = include_bytes!("../../../../tests/data/images/baseline.jpg");
const PROGRESSIVE: &[u8] = include_bytes!("../../../../tests/data/images/progressive.jpg");
const RESTART: &[u8] = include_bytes!("../../../../tests/data/images/restart.jpg");
const GRAY: &[u8] = include_bytes!("../../../../tests/data/images/gray.jpg");
/// Half as many pixels of colour across, and down.
const COLOURS_422: &[u8] = include_bytes!("../../../../tests/data/images/colours-422.jpg");
const COLOURS_440: &[u8] = include_bytes!("../../../../tests/data/images/colours-440.jpg");
const CMYK: &[u8] = include_bytes!("../../../../tests/data/images/cmyk.jpg");

fn full(payload: &[u8]) -> Frame {
    decode(&ImageConfig::default(), payload, |_| false).expect("a JPEG")
}

/// The mean of each 2 × 2 pixels.
fn averaged(frame: &Frame) -> Frame {
    let [width, height] = frame.source.map(|side| side.div_ceil(2));
    let channels = frame.pixels.channels();
    let mut data = Vec::new();
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        for channel in 0..channels {
            let rows = 2 * y..(2 * y + 2).min(frame.height);
            let pixels =
                rows.flat_map(|y| (2 * x..(2 * x + 2).min(frame.width)).map(move |x| (x, y)));
            let levels = pixels.map(|(x, y)| {
                u32::from(frame.data[(y * frame.width + x) as usize * channels + channel])
            });
            let (sum, count) = levels.fold((0, 0), |(sum, count), level| (sum + level, count + 1));
            data.push(u8::try_from((sum + count / 2) / count).expect("a level"));
        }
    }
    Frame { width, height, data, ..*frame }
}

/// How far two pictures of half the size are from each other, on average and at most. The last row and column of an odd
/// size are half of what is not in the picture, and not looked at.
fn apart(one: &Frame, other: &Frame) -> (f32, u8) {
    assert_eq!((one.width, one.height, one.pixels), (other.width, other.height, other.pixels));
    assert_eq!(one.source, other.source);
    let [width, height] = one.source.map(|side| side as usize / 2);
    let channels = one.pixels.channels();
    let rows = |frame: &'_ Frame| -> Vec<u8> {
        let rows = frame.data.chunks_exact(frame.width as usize * channels).take(height);
        rows.flat_map(|row| row[..width * channels].to_vec()).collect()
    };
    let off: Vec<u8> = rows(one).iter().zip(rows(other)).map(|(a, b)| a.abs_diff(b)).collect();
    let sum: u32 = off.iter().copied().map(u32::from).sum();
    (sum as f32 / off.len().max(1) as f32, off.into_iter().max().unwrap_or(0))
}

#[test]
fn half_the_size_shows_what_the_whole_picture_shows() {
    let colours = [("4:2:2", COLOURS_422), ("4:4:0", COLOURS_440)];
    let all = [("baseline", BASELINE), ("restart", RESTART), ("gray", GRAY)];
    for (name, payload) in all.into_iter().chain(colours) {
        let (mean, most) = apart(&half(payload).expect(name), &averaged(&full(payload)));
        assert!(mean < 2.0 && most <= 8, "{name}: off by {mean}, {most} at most");
    }
    assert_eq!(half(PROGRESSIVE), None);
    assert_eq!(half(CMYK), None);
}

#[test]
fn a_jpeg_that_was_cut_anywhere_is_not_made_in_half_the_size() {
    for payload in [BASELINE, RESTART, GRAY] {
        let end = payload.windows(2).rposition(|two| two == [0xFF, 0xD9]).expect("an end");
        for length in (0..=end + 1).step_by(7) {
            assert_eq!(half(&payload[..length]), None, "{length}");
        }
        assert!(half(&payload[..end + 2]).is_some());
    }
}

fn whole(payload: &[u8]) -> Thumbnail {
    Thumbnail::of(&full(payload))
}

#[test]
fn it_shows_what_the_whole_picture_shows() {
    for (name, payload) in [("baseline", BASELINE), ("restart", RESTART), ("gray", GRAY)] {
        let small = thumbnail(payload).expect(name);
        let off = small.farthest(&whole(payload));
        // The blocks at the edges hold more than the picture does.
        assert!(off <= 12, "{name}: off by {off}");
    }
}

#[test]
fn what_it_does_not_read_is_left_to_others() {
    assert_eq!(thumbnail(PROGRESSIVE), None);
    assert_eq!(thumbnail(CMYK), None);
    assert_eq!(thumbnail(b"\xFF\xD8\xFF"), None);
}

#[test]
fn a_jpeg_that_was_cut_anywhere_has_no_thumbnail() {
    for payload in [BASELINE, RESTART, GRAY] {
        let end = payload.windows(2).rposition(|two| two == [0xFF, 0xD9]).expect("an end");
        for length in 0..=end + 1 {
            assert_eq!(thumbnail(&payload[..length]), None, "{length}");
        }
        assert!(thumbnail(&payload[..end + 2]).is_some());
    }
}

/// A gray picture of so many blocks in a row, each as much brighter than the one before as can be said.
fn steep(blocks: u16) -> Vec<u8> {
    let mut bits = "0111111111110".repeat(blocks.into());
    bits.push_str(&"1".repeat((8 - bits.len() % 8) % 8));
    let mut file = vec![0xFF, 0xD8, 0xFF, 0xDB, 0, 67, 0];
    file.extend([1; 64]);
    let [high, low] = (blocks * 8).to_be_bytes();
    file.extend([0xFF, 0xC0, 0, 11, 8, 0, 8, high, low, 1, 1, 0x11, 0]);
    // Each table has one code, a 0: of 11 bits that follow, and of the end of a block.
    for (table, symbol) in [(0, 11), (0x10, 0)] {
        file.extend([0xFF, 0xC4, 0, 20, table, 1]);
        file.extend([0; 15]);
        file.push(symbol);
    }
    file.extend([0xFF, 0xDA, 0, 8, 1, 1, 0, 0, 63, 0]);
    for byte in bits.as_bytes().chunks(8) {
        let byte = byte.iter().fold(0, |byte, bit| byte << 1 | (bit - b'0'));
        file.push(byte);
        file.extend((byte == 0xFF).then_some(0));
    }
    file.extend([0xFF, 0xD9]);
    file
}

#[test]
fn means_that_cannot_be_are_damage_and_no_overflow() {
    let clipped = thumbnail(&steep(8)).expect("a thumbnail");
    assert_eq!(clipped.farthest(&whole(&steep(8))), 0);
    assert_eq!(thumbnail(&steep(9)), None);
    assert_eq!(thumbnail(&steep(8000)), None);
}

proptest! {
    /// Whatever the size and however its colours are kept, as long as nothing is sharp in it.
    #[test]
    fn half_the_size_is_the_mean_of_the_pixels(
        width in 1_u32..90, height in 1_u32..70, gray: bool, seed: u8,
    ) {
        let level = |x: u32, y: u32, c: u32| {
            let turn = (x as f32 / 9.0 + c as f32).sin() + (y as f32 / 11.0 + f32::from(seed)).cos();
            (0..=255).find(|level| f32::from(*level) >= 128.0 + turn * 50.0).expect("a level")
        };
        let channels = if gray { 1 } else { 3 };
        let data: Vec<u8> = (0..height)
            .flat_map(|y| (0..width).flat_map(move |x| (0..channels).map(move |c| level(x, y, c))))
            .collect();
        let color = if gray { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
        let mut file = Vec::new();
        JpegEncoder::new_with_quality(&mut file, 95).encode(&data, width, height, color).expect("a JPEG");
        let (mean, most) = apart(&half(&file).expect("half"), &averaged(&full(&file)));
        prop_assert!(mean < 2.0 && most <= 6, "off by {mean}, {most} at most");
    }

    /// Whatever the size, the means are those of the whole picture, within what rounding costs.
    #[test]
    fn means_are_means(
        width in 1_u16..90, height in 1_u16..70, gray: bool, quality in 30_u8..=100, seed: u8,
    ) {
        let level = |x: u16, y: u16, c: u16| {
            u8::try_from(60 + (x * 3 + y * 5 + c * 60 + u16::from(seed)) % 135).expect("a level")
        };
        let channels = if gray { 1 } else { 3 };
        let data: Vec<u8> = (0..height)
            .flat_map(|y| (0..width).flat_map(move |x| (0..channels).map(move |c| level(x, y, c))))
            .collect();
        let color = if gray { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
        let mut file = Vec::new();
        JpegEncoder::new_with_quality(&mut file, quality)
            .encode(&data, width.into(), height.into(), color)
            .expect("a JPEG");
        let small = thumbnail(&file).expect("a thumbnail");
        let whole = whole(&file);
        let off = small.farthest_inside(&whole, usize::from(width) / 8, usize::from(height) / 8);
        prop_assert!(off <= 3, "off by {off}");
    }

    /// Damage is told, or makes a picture that is none the less one; it never panics.
    #[test]
    fn damage_never_panics(
        which in 0_usize..3,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let mut payload = [BASELINE, RESTART, GRAY][which].to_vec();
        for (place, byte) in damage {
            let place = place.index(payload.len());
            payload[place] = byte;
        }
        if let Some(small) = half(&payload) {
            let size = small.width as usize * small.height as usize * small.pixels.channels();
            prop_assert_eq!(size, small.data.len());
        }
        if let Some(small) = thumbnail(&payload) {
            prop_assert!(small.changed_since(&small) == 0.0);
        }
    }
}
