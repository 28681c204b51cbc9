//! A picture in a few cells, to see whether another one shows something else.

use crate::event::{Frame, Pixels};

/// Cells a side at most.
const SIDE: usize = 80;

/// The least side of a cell, in pixels: a block of a JPEG.
const LEAST: usize = 8;

/// What a cell's brightness may differ by, of 255, without anything having changed: the noise of a sensor is
/// less than 1 in the mean of 64 pixels, the flicker of lamps and what a JPEG rounds away are a few.
const NOISE: u8 = 8;

/// The brightness of a picture in cells of 8 × 8 pixels, or of as many times that as leaves no more than 80 cells
/// a side. So it takes 6,400 bytes at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thumbnail {
    across: usize,
    /// The mean of each cell, rows from the top.
    levels: Vec<u8>,
}

impl Thumbnail {
    pub(super) fn of(frame: &Frame) -> Self {
        let size = [frame.width, frame.height].map(|side| side as usize);
        match frame.pixels {
            Pixels::Gray => Self::new(size, &frame.data, 1),
            Pixels::Rgb => {
                let levels = frame.data.as_chunks().0.iter().map(|[r, g, b]| {
                    let sum = u32::from(*r) * 77 + u32::from(*g) * 150 + u32::from(*b) * 29;
                    u8::try_from(sum >> 8).unwrap_or(u8::MAX)
                });
                Self::new(size, &levels.collect::<Vec<_>>(), 1)
            }
        }
    }

    /// Of a picture of `size` pixels, whose brightness is known in squares of `unit` pixels, 1 or 8: rows from the
    /// top, those at the edges may be smaller.
    pub(super) fn new(size: [usize; 2], levels: &[u8], unit: usize) -> Self {
        let longest = size[0].max(size[1]);
        let cell = LEAST * longest.div_ceil(LEAST * SIDE) / unit;
        let width = size[0].div_ceil(unit);
        let mut means = Vec::new();
        for rows in levels.chunks(width * cell) {
            for left in (0..width).step_by(cell) {
                let right = width.min(left + cell);
                let cells = rows.chunks_exact(width).flat_map(|row| &row[left..right]);
                let sum: usize = cells.map(|level| usize::from(*level)).sum();
                let count = (right - left) * (rows.len() / width);
                means.push(u8::try_from(sum / count).unwrap_or(u8::MAX));
            }
        }
        Self { across: width.div_ceil(cell), levels: means }
    }

    /// The share of the cells whose brightness differs by more than noise does, 0 to 1; 1 where the pictures are
    /// not of one size.
    pub fn changed_since(&self, before: &Self) -> f32 {
        if (self.across, self.levels.len()) != (before.across, before.levels.len()) {
            return 1.0;
        }
        let pairs = self.levels.iter().zip(&before.levels);
        let changed = pairs.filter(|(now, before)| now.abs_diff(**before) > NOISE).count();
        changed as f32 / self.levels.len() as f32
    }
}

#[cfg(test)]
impl Thumbnail {
    /// The most that a cell differs by.
    pub(super) fn farthest(&self, other: &Self) -> u8 {
        self.farthest_inside(other, usize::MAX, usize::MAX)
    }

    /// The same of so many cells across and down.
    pub(super) fn farthest_inside(&self, other: &Self, across: usize, down: usize) -> u8 {
        assert_eq!((self.across, self.levels.len()), (other.across, other.levels.len()));
        let inside = |place: &usize| place % self.across < across && place / self.across < down;
        let places = (0..self.levels.len()).filter(inside);
        places.map(|place| self.levels[place].abs_diff(other.levels[place])).max().unwrap_or(0)
    }
}
