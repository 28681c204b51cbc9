//! Where a picture lies in the input of a model.

/// How pixels of the source became pixels of the model's input: `input = source × scale + offset`,
/// each axis by itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placement {
    scale: [f32; 2],
    offset: [f32; 2],
    source: [f32; 2],
    input: [f32; 2],
}

impl Placement {
    /// Of what is no picture: boxes stay as they are.
    pub const NONE: Self =
        Self { scale: [1.0; 2], offset: [0.0; 2], source: [f32::INFINITY; 2], input: [1.0; 2] };

    /// `region` (left, top, width, height) of a source of size `source` fills `target` (likewise) of
    /// an input of size `input`.
    pub(in crate::pipeline) fn new(
        source: [u32; 2],
        region: [f64; 4],
        target: [u32; 4],
        input: [u32; 2],
    ) -> Self {
        let axis = |i: usize| {
            let scale = f64::from(target[i + 2]) / region[i + 2];
            (scale, f64::from(target[i]) - region[i] * scale)
        };
        let (x, y) = (axis(0), axis(1));
        #[expect(clippy::cast_possible_truncation, reason = "pixels need no more than f32")]
        Self {
            scale: [x.0 as f32, y.0 as f32],
            offset: [x.1 as f32, y.1 as f32],
            source: source.map(|n| n as f32),
            input: input.map(|n| n as f32),
        }
    }

    /// All that it is made of, in a fixed order.
    pub const fn numbers(&self) -> [f32; 8] {
        let ([sx, sy], [ox, oy]) = (self.scale, self.offset);
        let ([w, h], [across, down]) = (self.source, self.input);
        [sx, sy, ox, oy, w, h, across, down]
    }

    /// Width and height of the model's input in pixels.
    pub fn input_size(&self) -> [f32; 2] {
        self.input
    }

    /// A box of the model's input (left, top, right, bottom) in pixels of the source, cut at its edges.
    pub fn to_source(&self, x1: f32, y1: f32, x2: f32, y2: f32) -> [f32; 4] {
        let back = |value: f32, axis: usize| {
            ((value - self.offset[axis]) / self.scale[axis]).clamp(0.0, self.source[axis])
        };
        [back(x1, 0), back(y1, 1), back(x2, 0), back(y2, 1)]
    }
}
