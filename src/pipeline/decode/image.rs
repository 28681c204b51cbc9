//! Pictures: JPEG and PNG, told apart by their first bytes.
//!
//! Bytes are counted first, then pixels as the header states them, and only then is memory taken and
//! anything decompressed. Orientation (EXIF), colour profiles and gamma are not applied; an alpha
//! channel is dropped, 16 bits are rounded to 8. So does Pillow with `convert("RGB")`.

use std::io::Cursor;

use image::codecs::png::PngDecoder;
use image::{ColorType, ImageDecoder, ImageError, Limits};
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::jpeg::{self, Segments};
use super::thumbnail::Thumbnail;
use super::{DecodeError, ImageConfig};
use crate::event::{Frame, Pixels};

const JPEG: &str = "JPEG";
const PNG: &str = "PNG";

/// Signature, length and name of the first chunk, width, height.
const PNG_HEAD: usize = 24;

/// In half its size, where that is `enough` and the picture allows it.
pub(super) fn decode(
    config: &ImageConfig,
    payload: &[u8],
    enough: impl Fn([u32; 2]) -> bool,
) -> Result<Frame, DecodeError> {
    if payload.len() > config.max_bytes.0 {
        return Err(DecodeError::TooLarge { found: payload.len(), limit: config.max_bytes });
    }
    if payload.starts_with(&[0xFF, 0xD8, 0xFF]) {
        let size = jpeg_size(payload)?;
        check_pixels(config, size[0], size[1])?;
        match if enough(size) { jpeg::half(payload) } else { None } {
            Some(frame) => Ok(frame),
            None => whole_jpeg(payload, size),
        }
    } else if payload.starts_with(b"\x89PNG\r\n\x1A\n") {
        png(config, payload)
    } else {
        let start: Vec<_> = payload.iter().take(4).map(|b| format!("{b:02x}")).collect();
        Err(DecodeError::Unsupported { what: format!("a picture that starts {}", start.join(" ")) })
    }
}

/// What a picture shows in a few cells; and the picture itself, where it had to be decoded for that. `None`: it
/// cannot be decoded.
pub(super) fn glance(config: &ImageConfig, payload: &[u8]) -> Option<(Thumbnail, Option<Frame>)> {
    if payload.len() <= config.max_bytes.0
        && let Ok([width, height]) = jpeg_size(payload)
        && check_pixels(config, width, height).is_ok()
        && let Some(thumbnail) = jpeg::thumbnail(payload)
    {
        return Some((thumbnail, None));
    }
    let frame = decode(config, payload, |_| false).ok()?;
    Some((Thumbnail::of(&frame), Some(frame)))
}

fn check_pixels(config: &ImageConfig, width: u32, height: u32) -> Result<(), DecodeError> {
    let limit = config.max_pixels.0;
    if u64::from(width) * u64::from(height) > limit {
        return Err(DecodeError::TooManyPixels { width, height, limit });
    }
    Ok(())
}

fn corrupt(format: &'static str, reason: &str) -> DecodeError {
    let reason = reason.chars().take(120).collect();
    DecodeError::Corrupt { format, reason }
}

fn whole_jpeg(payload: &[u8], [width, height]: [u32; 2]) -> Result<Frame, DecodeError> {
    if !jpeg_is_whole(payload) {
        return Err(corrupt(JPEG, "it ends before its last scan does"));
    }
    // Strict: damaged data is an error, where the default is to fill up with gray. What even this
    // cannot see is a scan that an end marker cuts short.
    let side = usize::from(u16::MAX);
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(side)
        .set_max_height(side)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(payload), options);
    decoder.decode_headers().map_err(|error| jpeg_error(&error))?;
    let size = decoder.info().map(|info| [u32::from(info.width), u32::from(info.height)]);
    if size != Some([width, height]) {
        return Err(corrupt(JPEG, "it states more than one size"));
    }
    let gray = decoder.input_colorspace() == Some(ColorSpace::Luma);
    if gray {
        decoder.set_options(options.jpeg_set_out_colorspace(ColorSpace::Luma));
    }
    let pixels = if gray { Pixels::Gray } else { Pixels::Rgb };
    let mut data = vec![0; width as usize * height as usize * pixels.channels()];
    decoder.decode_into(&mut data).map_err(|error| jpeg_error(&error))?;
    Ok(Frame::new(width, height, pixels, data))
}

fn jpeg_error(error: &DecodeErrors) -> DecodeError {
    match error {
        DecodeErrors::Unsupported(_) => {
            DecodeError::Unsupported { what: "a lossless or arithmetic JPEG".to_owned() }
        }
        error => corrupt(JPEG, &format!("{error:?}")),
    }
}

/// Width and height, from the first start of a frame (SOF).
fn jpeg_size(payload: &[u8]) -> Result<[u32; 2], DecodeError> {
    let frame = Segments::new(payload)
        .find(|(marker, _)| matches!(marker, 0xC0..=0xCF) && !matches!(marker, 0xC4 | 0xC8 | 0xCC));
    match frame.map(|(_, body)| body) {
        Some([_, h1, h0, w1, w0, ..]) => {
            let size = [u16::from_be_bytes([*w1, *w0]), u16::from_be_bytes([*h1, *h0])];
            if size.contains(&0) {
                Err(corrupt(JPEG, "a side is 0"))
            } else {
                Ok(size.map(u32::from))
            }
        }
        _ => Err(corrupt(JPEG, "it has no header")),
    }
}

/// There is an end of the image behind a scan. A thumbnail inside a segment does not count.
fn jpeg_is_whole(payload: &[u8]) -> bool {
    Segments::new(payload)
        .skip_while(|(marker, _)| *marker != 0xDA)
        .any(|(marker, _)| marker == 0xD9)
}

fn png(config: &ImageConfig, payload: &[u8]) -> Result<Frame, DecodeError> {
    let Some((head, _)) = payload.split_first_chunk::<PNG_HEAD>() else {
        return Err(corrupt(PNG, "it has no header"));
    };
    let [.., w3, w2, w1, w0, h3, h2, h1, h0] = *head;
    let width = u32::from_be_bytes([w3, w2, w1, w0]);
    let height = u32::from_be_bytes([h3, h2, h1, h0]);
    check_pixels(config, width, height)?;
    let mut limits = Limits::no_limits();
    (limits.max_image_width, limits.max_image_height) = (Some(width), Some(height));
    // Four channels of 16 bits, and room for what else the file carries.
    limits.max_alloc = Some(config.max_pixels.0.saturating_mul(8).saturating_add(1 << 20));
    let decoder = PngDecoder::with_limits(Cursor::new(payload), limits).map_err(png_error)?;
    if decoder.dimensions() != (width, height) || width == 0 || height == 0 {
        return Err(corrupt(PNG, "its header is no header"));
    }
    let color = decoder.color_type();
    let size = usize::try_from(decoder.total_bytes()).map_err(|_| corrupt(PNG, "too large"))?;
    let mut data = vec![0; size];
    decoder.read_image(&mut data).map_err(png_error)?;
    let (pixels, data) = to_8_bits(color, data)?;
    Ok(Frame::new(width, height, pixels, data))
}

fn png_error(error: ImageError) -> DecodeError {
    match error {
        ImageError::Unsupported(error) => DecodeError::Unsupported { what: error.to_string() },
        error => corrupt(PNG, &error.to_string()),
    }
}

/// Without alpha, 8 bits a channel.
fn to_8_bits(color: ColorType, data: Vec<u8>) -> Result<(Pixels, Vec<u8>), DecodeError> {
    let first = |data: &[u8], keep: usize, of: usize| -> Vec<u8> {
        data.chunks_exact(of).flat_map(|pixel| &pixel[..keep]).copied().collect()
    };
    let narrow = |data: &[u8]| -> Vec<u8> {
        data.as_chunks().0.iter().map(|c| round_to_u8(u16::from_ne_bytes(*c))).collect()
    };
    Ok(match color {
        ColorType::L8 => (Pixels::Gray, data),
        ColorType::La8 => (Pixels::Gray, first(&data, 1, 2)),
        ColorType::Rgb8 => (Pixels::Rgb, data),
        ColorType::Rgba8 => (Pixels::Rgb, first(&data, 3, 4)),
        ColorType::L16 => (Pixels::Gray, narrow(&data)),
        ColorType::La16 => (Pixels::Gray, first(&narrow(&data), 1, 2)),
        ColorType::Rgb16 => (Pixels::Rgb, narrow(&data)),
        ColorType::Rgba16 => (Pixels::Rgb, first(&narrow(&data), 3, 4)),
        other => return Err(DecodeError::Unsupported { what: format!("a PNG of {other:?}") }),
    })
}

/// 65535 becomes 255, and what lies between is rounded.
fn round_to_u8(value: u16) -> u8 {
    u8::try_from((u32::from(value) + 128) / 257).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests;
