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
        let [width, height] = [frame.width, frame.height].map(|side| side as usize);
        let mut cells = Cells::new([width, height], 1);
        let channels = frame.pixels.channels();
        for (place, pixel) in frame.data.chunks_exact(channels).enumerate() {
            let level = match (frame.pixels, pixel) {
                (Pixels::Rgb, [r, g, b]) => {
                    (u32::from(*r) * 77 + u32::from(*g) * 150 + u32::from(*b) * 29) >> 8
                }
                (_, pixel) => u32::from(pixel[0]),
            };
            cells.add(place % width, place / width, level);
        }
        cells.finish()
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

/// A thumbnail that is being made.
#[derive(Debug)]
pub(super) struct Cells {
    /// Values that are added, across and down.
    values: [usize; 2],
    /// Those of them that make a cell, either way.
    cell: usize,
    across: usize,
    sums: Vec<u32>,
}

impl Cells {
    /// `size`: of the picture in pixels. `unit`: how many of them, either way, each value stands for that will be
    /// added; 1 or 8.
    pub(super) fn new(size: [usize; 2], unit: usize) -> Self {
        let [width, height] = size;
        let cell = LEAST * width.max(height).div_ceil(LEAST * SIDE).max(1);
        let [across, down] = [width, height].map(|side| side.div_ceil(cell));
        let values = [width, height].map(|side| side.div_ceil(unit));
        Self { values, cell: cell / unit, across, sums: vec![0; across * down] }
    }

    /// Adds the brightness at a place; places behind the edges do not count.
    #[inline]
    pub(super) fn add(&mut self, x: usize, y: usize, level: u32) {
        if x < self.values[0] && y < self.values[1] {
            self.sums[y / self.cell * self.across + x / self.cell] += level;
        }
    }

    pub(super) fn finish(self) -> Thumbnail {
        let Self { values, cell, across, sums } = self;
        // Those at the edges may be smaller.
        let side = |place: usize, values: usize| cell.min(values - place * cell);
        let levels = sums.iter().enumerate().map(|(place, sum)| {
            let count = side(place % across, values[0]) * side(place / across, values[1]);
            u8::try_from(*sum as usize / count.max(1)).unwrap_or(u8::MAX)
        });
        Thumbnail { across, levels: levels.collect() }
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
