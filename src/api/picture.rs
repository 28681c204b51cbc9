//! A camera's picture as it is good to look at over a network: its own file where that is small, a smaller one where not.

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, GrayImage, RgbImage, imageops};

use crate::event::{Frame, Input, Pixels};
use crate::pipeline::decode::{DecodeConfig, Decoder, ImageConfig};

/// No side is longer.
const SIDE: u32 = 640;

/// A file of this size is sent as it is.
const BYTES: usize = 64 << 10;

/// Good enough to see what the model saw.
const QUALITY: u8 = 70;

/// A JPEG, or the file itself. Takes as long as decoding: not for a task.
pub(super) fn small(file: &[u8], (width, height): (u32, u32)) -> Option<Vec<u8>> {
    if file.len() <= BYTES && width.max(height) <= SIDE {
        return Some(file.to_vec());
    }
    let decoder = Decoder::new(&DecodeConfig::Image(ImageConfig::default())).ok()?;
    let Input::Frame(Frame { width, height, pixels, data, .. }) = decoder.decode(file).ok()? else {
        return None;
    };
    let (new_width, new_height) = fitted(width, height);
    let mut small = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut small, QUALITY);
    let written = match pixels {
        Pixels::Rgb => {
            let picture = RgbImage::from_raw(width, height, data)?;
            let picture = imageops::thumbnail(&picture, new_width, new_height);
            encoder.encode(&picture, new_width, new_height, ExtendedColorType::Rgb8)
        }
        Pixels::Gray => {
            let picture = GrayImage::from_raw(width, height, data)?;
            let picture = imageops::thumbnail(&picture, new_width, new_height);
            encoder.encode(&picture, new_width, new_height, ExtendedColorType::L8)
        }
    };
    written.ok().map(|()| small)
}

/// The size of the smaller picture; it is not stretched, in no direction.
fn fitted(width: u32, height: u32) -> (u32, u32) {
    let long = width.max(height).max(1);
    let side = |length: u32| {
        let scaled = u64::from(length) * u64::from(SIDE) / u64::from(long);
        u32::try_from(scaled).unwrap_or(SIDE).max(1)
    };
    if long <= SIDE { (width, height) } else { (side(width), side(height)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_picture_becomes_a_small_one_of_the_same_form() {
        let picture = RgbImage::from_fn(1600, 900, |x, y| {
            image::Rgb([((x ^ y) & 0xff).try_into().expect("a byte"), 9, 200])
        });
        let mut file = Vec::new();
        JpegEncoder::new(&mut file).encode_image(&picture).expect("a picture");
        let small = small(&file, (1600, 900)).expect("a smaller one");
        assert!(small.len() < file.len() / 2);
        let decoder = Decoder::new(&DecodeConfig::Image(ImageConfig::default())).expect("decoder");
        let Input::Frame(frame) = decoder.decode(&small).expect("a JPEG") else { panic!() };
        assert_eq!((frame.width, frame.height), (640, 360));
    }

    #[test]
    fn a_small_one_stays_as_the_camera_made_it_and_a_damaged_one_is_none() {
        assert_eq!(small(b"what it is", (640, 480)).as_deref(), Some(&b"what it is"[..]));
        assert_eq!(small(b"\xff\xd8\xff damaged", (6400, 480)), None);
        assert_eq!((fitted(5000, 1), fitted(640, 480)), ((640, 1), (640, 480)));
    }
}
