//! What a message holds once it is decoded.

/// A decoded message.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Numbers from a sensor.
    Samples(Samples),
    /// A picture from a camera.
    Frame(Frame),
}

/// How the values of [`Samples`] lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// All channels of the first instant, then of the second: `x0 y0 z0 x1 y1 z1`.
    Interleaved,
    /// All instants of the first channel, then of the second: `x0 x1 y0 y1 z0 z1`.
    Planar,
}

/// Instants of one or more channels; at least one value, all finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples {
    /// Values an instant.
    pub channels: usize,
    /// How `values` is laid out.
    pub order: Order,
    /// `channels` × instants numbers, in the order in which the message gave them.
    pub values: Vec<f32>,
}

impl Samples {
    /// The number of instants.
    pub fn len(&self) -> usize {
        self.values.len() / self.channels.max(1)
    }

    /// There is no instant.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Channel `channel` at instant `instant`; both in range.
    pub fn at(&self, instant: usize, channel: usize) -> f32 {
        match self.order {
            Order::Interleaved => self.values[instant * self.channels + channel],
            Order::Planar => self.values[channel * self.len() + instant],
        }
    }
}

/// How many bytes a pixel has and what they mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pixels {
    /// One byte: luma.
    Gray,
    /// Three bytes: red, green, blue.
    Rgb,
}

impl Pixels {
    /// Bytes a pixel.
    pub const fn channels(self) -> usize {
        match self {
            Self::Gray => 1,
            Self::Rgb => 3,
        }
    }
}

/// A picture: 8 bits a channel, rows from the top, no padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Pixels across, at least 1.
    pub width: u32,
    /// Pixels down, at least 1.
    pub height: u32,
    /// What a pixel is.
    pub pixels: Pixels,
    /// `width × height × channels` bytes.
    pub data: Vec<u8>,
    /// Pixels across and down of the picture that it shows: as many, or about twice as many where half its size is
    /// enough. Boxes are told in these.
    pub source: [u32; 2],
}

impl Frame {
    /// A picture in its own size.
    pub fn new(width: u32, height: u32, pixels: Pixels, data: Vec<u8>) -> Self {
        Self { width, height, pixels, data, source: [width, height] }
    }
}
