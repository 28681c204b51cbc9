//! The pass that follows a resize: channels are picked, levels looked up, values laid out.

use super::super::element::Element;
use crate::event::Pixels;
use crate::package::Color;

/// Pixels in memory: rows of `stride` bytes.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) data: &'a [u8],
    pub(super) stride: usize,
    pub(super) pixels: Pixels,
}

/// The last pass: from bytes to the item.
pub(super) struct Paint<'a> {
    pub(super) view: View<'a>,
    /// Left, top, width, height within the item.
    pub(super) target: [usize; 4],
    /// Of the item.
    pub(super) width: usize,
    pub(super) planar: bool,
    pub(super) color: Color,
    /// The level of the bars, if there are any.
    pub(super) pad: Option<u8>,
}

impl Paint<'_> {
    pub(super) fn run<T: Element>(&self, levels: &[[T; 256]], out: &mut [T]) {
        let [left, top, width, height] = self.target;
        let channels = levels.len();
        let plane = out.len() / channels;
        if let Some(pad) = self.pad {
            self.fill(levels, pad, out);
        }
        let bytes = width * self.view.pixels.channels();
        let rows = self.view.data.chunks(self.view.stride).take(height);
        for (y, row) in rows.enumerate() {
            let row = &row[..bytes];
            let at = (top + y) * self.width + left;
            for (channel, table) in levels.iter().enumerate() {
                if self.planar {
                    let start = channel * plane + at;
                    self.row(row, channel, table, out[start..start + width].iter_mut());
                } else {
                    let to = &mut out[at * channels..(at + width) * channels];
                    self.row(row, channel, table, to[channel..].iter_mut().step_by(channels));
                }
            }
        }
    }

    fn fill<T: Element>(&self, levels: &[[T; 256]], pad: u8, out: &mut [T]) {
        let (channels, plane) = (levels.len(), out.len() / levels.len());
        for (channel, table) in levels.iter().enumerate() {
            let value = table[usize::from(pad)];
            if self.planar {
                out[channel * plane..(channel + 1) * plane].fill(value);
            } else {
                out[channel..].iter_mut().step_by(channels).for_each(|to| *to = value);
            }
        }
    }

    /// One row of one channel of the model.
    fn row<'o, T: Element + 'o>(
        &self,
        row: &[u8],
        channel: usize,
        table: &[T; 256],
        out: impl Iterator<Item = &'o mut T>,
    ) {
        let (pixels, _) = row.as_chunks::<3>();
        match (self.view.pixels, self.color) {
            (Pixels::Gray, _) => {
                out.zip(row).for_each(|(to, level)| *to = table[usize::from(*level)]);
            }
            (Pixels::Rgb, Color::Gray) => {
                out.zip(pixels).for_each(|(to, rgb)| *to = table[usize::from(luma(*rgb))]);
            }
            (Pixels::Rgb, color) => {
                let pick = if color == Color::Bgr { 2 - channel } else { channel };
                out.zip(pixels).for_each(|(to, rgb)| *to = table[usize::from(rgb[pick])]);
            }
        }
    }
}

/// ITU-R BT.601 luma in 16-bit fixed point, as Pillow's mode `L`.
pub(super) fn luma([r, g, b]: [u8; 3]) -> u8 {
    let sum = u32::from(r) * 19_595 + u32::from(g) * 38_470 + u32::from(b) * 7_471 + 0x8000;
    u8::try_from(sum >> 16).unwrap_or(u8::MAX)
}
