//! Which part of a picture goes where.

use crate::event::Frame;
use crate::package::Fit;

/// Which part of the source becomes which part of the input; left, top, width, height.
#[derive(Debug, PartialEq)]
pub(super) struct Fitting {
    pub(super) region: [f64; 4],
    pub(super) target: [u32; 4],
}

impl Fitting {
    /// The same with the region in pixels of the frame, which may show its source in half the size.
    pub(super) fn seen_in(&self, frame: &Frame) -> Self {
        let [left, top, width, height] = self.region;
        let [across, down] = [(frame.width, 0), (frame.height, 1)]
            .map(|(side, axis)| if side == frame.source[axis] { 1.0 } else { 0.5 });
        let region = [left * across, top * down, width * across, height * down];
        Self { region, target: self.target }
    }

    pub(super) fn new(source: [u32; 2], input: [u32; 2], fit: Fit) -> Self {
        let [sw, sh] = source.map(f64::from);
        let [iw, ih] = input.map(f64::from);
        let whole = [0.0, 0.0, sw, sh];
        match fit {
            Fit::Stretch => Self { region: whole, target: [0, 0, input[0], input[1]] },
            Fit::Letterbox => {
                let scale = (iw / sw).min(ih / sh);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "clamped to the side of the input"
                )]
                let side = |s: f64, i: f64| (s * scale).round().clamp(1.0, i) as u32;
                let (width, height) = (side(sw, iw), side(sh, ih));
                let (left, top) = ((input[0] - width) / 2, (input[1] - height) / 2);
                Self { region: whole, target: [left, top, width, height] }
            }
            Fit::Crop => {
                let scale = (iw / sw).max(ih / sh);
                let (width, height) = ((iw / scale).min(sw), (ih / scale).min(sh));
                let (left, top) = ((sw - width) / 2.0, (sh - height) / 2.0);
                let region = [left, top, width.min(sw - left), height.min(sh - top)];
                Self { region, target: [0, 0, input[0], input[1]] }
            }
        }
    }
}
