//! Making parts of a picture unrecognisable.

use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;

use crate::event::{Detection, Frame, Pixels, Prediction};

/// What is hidden becomes so many fields across and down: fewer than a face has features.
const FIELDS: u32 = 4;

/// A box is a little larger than the detector drew it, by this part of it on each side.
const MARGIN: f32 = 0.1;

const QUALITY: u8 = 90;

/// The picture without what has one of these labels; `None`: nothing has to be hidden.
pub(super) fn redacted(frame: &Frame, prediction: &Prediction, labels: &[String]) -> Option<Frame> {
    let Prediction::Detection { detections } = prediction else { return None };
    let hidden =
        detections.iter().filter(|found| labels.iter().any(|label| **label == *found.label));
    let mut hidden = hidden.peekable();
    hidden.peek()?;
    let mut frame = frame.clone();
    hidden.for_each(|found| hide(&mut frame, found));
    Some(frame)
}

/// The picture as JPEG.
pub(super) fn jpeg(frame: &Frame) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let color = match frame.pixels {
        Pixels::Gray => ExtendedColorType::L8,
        Pixels::Rgb => ExtendedColorType::Rgb8,
    };
    JpegEncoder::new_with_quality(&mut bytes, QUALITY)
        .encode(&frame.data, frame.width, frame.height, color)
        .ok()?;
    Some(bytes)
}

/// Each field has one colour, the mean of its pixels.
fn hide(frame: &mut Frame, found: &Detection) {
    let [left, right] = edges(found.x, found.w, frame.width);
    let [top, bottom] = edges(found.y, found.h, frame.height);
    for row in 0..FIELDS {
        for column in 0..FIELDS {
            let part = |from: u32, to: u32, field: u32| {
                let cut = |field: u32| from + (to - from) * field / FIELDS;
                cut(field)..cut(field + 1)
            };
            paint(frame, part(left, right, column), part(top, bottom, row));
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the picture"
)]
fn edges(start: f32, length: f32, whole: u32) -> [u32; 2] {
    let margin = length * MARGIN;
    let end = (start + length + margin).ceil();
    let [from, to] =
        [(start - margin).floor(), end].map(|edge| edge.clamp(0.0, whole as f32) as u32);
    [from, to.max(from)]
}

fn paint(frame: &mut Frame, columns: std::ops::Range<u32>, rows: std::ops::Range<u32>) {
    let channels = frame.pixels.channels();
    let (width, count) = (frame.width as usize, (columns.len() * rows.len()) as u64);
    if count == 0 {
        return;
    }
    let places = || {
        let columns = columns.clone();
        rows.clone().flat_map(move |y| {
            columns.clone().map(move |x| (y as usize * width + x as usize) * channels)
        })
    };
    for channel in 0..channels {
        let sum: u64 = places().map(|place| u64::from(frame.data[place + channel])).sum();
        let mean = u8::try_from(sum / count).unwrap_or(u8::MAX);
        places().for_each(|place| frame.data[place + channel] = mean);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        // A fine checkerboard: whatever is averaged is gray.
        let data = (0..64 * 48).flat_map(|n| [(n / 64 + n % 64) % 2 * 255; 3]);
        let data = data.map(|value: u32| u8::try_from(value).expect("a byte")).collect();
        Frame::new(64, 48, Pixels::Rgb, data)
    }

    fn person(x: f32, y: f32, w: f32, h: f32) -> Detection {
        Detection { label: "person".into(), score: 0.9, x, y, w, h }
    }

    #[test]
    fn what_is_hidden_is_gone_and_the_rest_stays() {
        let (whole, mut hidden) = (frame(), frame());
        hide(&mut hidden, &person(10.0, 10.0, 20.0, 20.0));
        let at = |frame: &Frame, x: usize, y: usize| frame.data[(y * 64 + x) * 3];
        assert!((9..31).all(|x| (9..31).all(|y| (120..136).contains(&at(&hidden, x, y)))));
        assert_eq!(at(&hidden, 40, 20), at(&whole, 40, 20));
        assert_eq!(at(&hidden, 5, 5), at(&whole, 5, 5));
        // A box that is partly, or wholly, outside.
        hide(&mut hidden, &person(-30.0, 40.0, 500.0, 500.0));
        hide(&mut hidden, &person(1000.0, 1000.0, 5.0, 5.0));
        hide(&mut hidden, &person(f32::NAN, 0.0, 5.0, 5.0));
        assert!((0..64).all(|x| (120..136).contains(&at(&hidden, x, 47))));
    }

    #[test]
    fn only_what_has_the_label_is_hidden() {
        let labels = ["person".to_owned()];
        let detections = vec![Detection { label: "dent".into(), ..person(0.0, 0.0, 9.0, 9.0) }];
        assert!(redacted(&frame(), &Prediction::Detection { detections }, &labels).is_none());
        let detections = vec![person(0.0, 0.0, 9.0, 9.0)];
        let found = redacted(&frame(), &Prediction::Detection { detections }, &labels);
        assert_ne!(found.expect("a picture").data, frame().data);
        assert!(redacted(&frame(), &Prediction::Anomaly { score: 1.0 }, &labels).is_none());
    }
}
