//! Metal plates: how they are made, what can be wrong with them, and what the camera sees of one.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "pixel numbers are small"
)]

use std::f32::consts::{PI, TAU};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::super::truth::Event;
use super::texture::TILE;
use super::{HEIGHT, WIDTH};

/// Share of plates with a defect.
const DEFECTIVE: f64 = 0.35;

/// What all plates of a run have in common: the drawing, the metal, the lamp, the exposure time.
#[derive(Debug)]
pub(super) struct Product {
    pub(super) half: [f32; 2],
    corner: f32,
    hole: f32,
    holes: [[f32; 2]; 6],
    metal: f32,
    brushing: f32,
    pub(super) tint: [f32; 3],
    /// Direction from which the light comes, in the frame.
    lamp: [f32; 2],
    /// How strongly rims catch the light.
    rim: f32,
    /// Brightness of the belt as seen through a hole.
    shade: f32,
    /// Motion blur in pixels.
    blur: usize,
}

/// One plate on the belt.
#[derive(Debug)]
pub(super) struct Plate {
    /// Seconds since the start at which it enters the view, and has left it.
    pub(super) enters: f64,
    pub(super) leaves: f64,
    /// Row of its centre in the frame.
    row: f32,
    /// Cosine and sine of its turn.
    turn: [f32; 2],
    metal: f32,
    texture: usize,
    pub(super) defect: Option<Defect>,
}

/// A defect, in the plate's own coordinates (pixels from its centre).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Defect {
    Scratch { at: [f32; 2], along: [f32; 2], half_length: f32, thickness: f32, depth: f32 },
    Dent { at: [f32; 2], radius: f32, depth: f32, hollow: f32, rim: f32 },
    MissingHole { number: usize },
}

/// A painted plate: what is left of the belt's light at each pixel, and the metal's light added to
/// it.
#[derive(Debug)]
pub(super) struct Painting {
    width: usize,
    height: usize,
    keep: Vec<f32>,
    add: Vec<f32>,
}

impl Product {
    pub(super) fn draw(rng: &mut StdRng) -> Self {
        let half = [rng.random_range(136.0..164.0), rng.random_range(99.0..121.0)];
        let apart =
            [half[0] * rng.random_range(0.63..0.69), half[1] * rng.random_range(0.57..0.63)];
        let lamp: f32 = rng.random_range(0.0..TAU);
        let column = |i: usize| [-1.0, 0.0, 1.0][i % 3] * apart[0];
        let row = |i: usize| if i < 3 { -apart[1] } else { apart[1] };
        Self {
            half,
            corner: rng.random_range(18.0..40.0),
            hole: rng.random_range(13.5..18.5),
            holes: [0, 1, 2, 3, 4, 5].map(|i| [column(i), row(i)]),
            metal: rng.random_range(120.0..175.0),
            brushing: rng.random_range(2.5..6.5),
            tint: [(); 3].map(|()| rng.random_range(0.98..1.02)),
            lamp: [lamp.cos(), lamp.sin()],
            rim: rng.random_range(18.0..40.0),
            shade: rng.random_range(0.4..0.7),
            blur: rng.random_range(1..=3),
        }
    }

    /// Whether a point of the plate is at least `radius` away from its rim and from every hole's
    /// place.
    fn clear(&self, at: [f32; 2], radius: f32) -> bool {
        let inside = (0..2).all(|k| at[k].abs() <= self.half[k] - radius - 9.0);
        inside
            && self
                .holes
                .iter()
                .all(|hole| length([at[0] - hole[0], at[1] - hole[1]]) > self.hole + radius + 5.0)
    }
}

impl Plate {
    pub(super) fn draw(rng: &mut StdRng, product: &Product, enters: f64, speed: f64) -> Self {
        let turn: f32 = rng.random_range(-0.14..0.14);
        let mut plate = Self {
            enters,
            leaves: 0.0,
            row: HEIGHT as f32 / 2.0 + rng.random_range(-55.0..55.0),
            turn: [turn.cos(), turn.sin()],
            metal: product.metal * rng.random_range(0.97..1.03),
            texture: rng.random_range(0..TILE * TILE),
            defect: rng.random_bool(DEFECTIVE).then(|| Defect::draw(rng, product)),
        };
        let (width, _) = plate.size(product);
        plate.leaves = enters + (WIDTH + width) as f64 / speed;
        plate
    }

    /// What is to be found on this plate, if anything, and when it is in view.
    pub(super) fn event(&self) -> Option<Event> {
        let start = Duration::from_secs_f64(self.enters);
        let end = Duration::from_secs_f64(self.leaves);
        self.defect.map(|defect| Event { label: defect.label(), start, end })
    }

    /// Width and height of the painting: the turned plate with its shadow on the belt.
    fn size(&self, product: &Product) -> (usize, usize) {
        let [c, s] = self.turn.map(f32::abs);
        let [w, h] = product.half;
        let reach = |far: f32| 2 * (far.ceil() as usize + 4);
        (reach(w * c + h * s), reach(w * s + h * c))
    }

    /// Where the painting's left upper corner lies in the frame, at a time in seconds.
    pub(super) fn corner(&self, painting: &Painting, seconds: f64, speed: f64) -> [i64; 2] {
        let left = ((seconds - self.enters) * speed) as i64 - painting.width as i64;
        [left, self.row as i64 - painting.height as i64 / 2]
    }

    /// The plate as the camera sees it, with its defect; `brushed` is a tile of streaks.
    pub(super) fn paint(&self, product: &Product, brushed: &[f32]) -> Painting {
        let (width, height) = self.size(product);
        let [c, s] = self.turn;
        // The lamp as the plate sees it.
        let lamp =
            [c * product.lamp[0] + s * product.lamp[1], c * product.lamp[1] - s * product.lamp[0]];
        let mut painting = Painting {
            width,
            height,
            keep: vec![1.0; width * height],
            add: vec![0.0; width * height],
        };
        for y in 0..height {
            for x in 0..width {
                let dx = x as f32 + 0.5 - width as f32 / 2.0;
                let dy = y as f32 + 0.5 - height as f32 / 2.0;
                let at = [c * dx + s * dy, c * dy - s * dx];
                // Brushing runs along the plate, and the tile repeats unseen.
                let streak = brushed[(self.texture + y * TILE + x) % (TILE * TILE)];
                let (keep, add) = self.spot(product, lamp, at, streak);
                painting.keep[y * width + x] = keep;
                painting.add[y * width + x] = add;
            }
        }
        painting.keep = smear_rows(&painting.keep, width, product.blur);
        painting.add = smear_rows(&painting.add, width, product.blur);
        painting
    }

    /// One point of the plate: the share of the belt's light that is left, and the metal's own
    /// light.
    fn spot(&self, product: &Product, lamp: [f32; 2], at: [f32; 2], streak: f32) -> (f32, f32) {
        let edge = rounded_rectangle(at, product.half, product.corner);
        let facing = at[0] / product.half[0] * lamp[0] + at[1] / product.half[1] * lamp[1];
        let mut metal = self.metal + product.brushing * streak;
        metal *= 1.0 + 0.05 * facing;
        if edge > -12.0 {
            metal += 0.8 * product.rim * facing * (-(edge + 3.0).powi(2) / 8.0).exp();
        }

        let mut open = 0.0_f32;
        for (number, hole) in product.holes.iter().enumerate() {
            let off = [at[0] - hole[0], at[1] - hole[1]];
            let far = length(off) - product.hole;
            if far < 8.0 && self.defect != Some(Defect::MissingHole { number }) {
                open = open.max((0.5 - far).clamp(0.0, 1.0));
                let facing = (off[0] * lamp[0] + off[1] * lamp[1]) / product.hole;
                metal += product.rim * facing * (-(far - 1.5).powi(2) / 4.0).exp();
            }
        }
        if let Some(defect) = &self.defect {
            metal += defect.light(at, lamp);
        }
        let solid = (0.5 - edge).clamp(0.0, 1.0) * (1.0 - open);
        // The plate's shadow darkens the belt around it; through a hole the belt is darker still.
        let shade = if open > 0.0 {
            product.shade
        } else if edge > 0.0 {
            1.0 - 0.45 * (-edge / 3.0).exp()
        } else {
            0.55
        };
        (shade * (1.0 - solid), solid * metal)
    }
}

impl Defect {
    pub(super) fn draw(rng: &mut StdRng, product: &Product) -> Self {
        let kind = rng.random_range(0..3);
        // Most places are free; the bound only keeps an unlucky seed from looping for long.
        for _ in 0..200 {
            let at = [0, 1].map(|k| product.half[k] * rng.random_range(-1.0..1.0));
            if kind == 0 {
                let angle = rng.random_range(0.0..PI);
                let (along, half_length) =
                    ([angle.cos(), angle.sin()], rng.random_range(27.0..65.0));
                let thickness = rng.random_range(3.2..5.8);
                let point =
                    |i: i8| [0, 1].map(|k| at[k] + f32::from(i) / 6.0 * half_length * along[k]);
                if (-6..=6).all(|i| product.clear(point(i), thickness)) {
                    let depth =
                        rng.random_range(55.0..90.0) * if rng.random() { 1.0 } else { -1.0 };
                    return Self::Scratch { at, along, half_length, thickness, depth };
                }
            } else if kind == 1 {
                let radius = rng.random_range(13.0..24.0);
                if product.clear(at, radius) {
                    let (depth, hollow) =
                        (rng.random_range(40.0..65.0), rng.random_range(18.0..36.0));
                    return Self::Dent {
                        at,
                        radius,
                        depth,
                        hollow,
                        rim: rng.random_range(14.0..32.0),
                    };
                }
            } else {
                break;
            }
        }
        let number = [0, 1, 2, 3, 4, 5].choose(rng).copied().unwrap_or(0);
        Self::MissingHole { number }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Scratch { .. } => "scratch",
            Self::Dent { .. } => "dent",
            Self::MissingHole { .. } => "missing_hole",
        }
    }

    /// How much brighter or darker the metal is at a point of the plate.
    fn light(self, point: [f32; 2], lamp: [f32; 2]) -> f32 {
        match self {
            Self::Scratch { at, along, half_length, thickness, depth } => {
                let off = [point[0] - at[0], point[1] - at[1]];
                let t = (off[0] * along[0] + off[1] * along[1]).clamp(-half_length, half_length);
                let far = length([off[0] - t * along[0], off[1] - t * along[1]]);
                if far >= thickness {
                    return 0.0;
                }
                let side = off[1] * along[0] - off[0] * along[1];
                let groove = (thickness / 2.0 + 0.5 - far).clamp(0.0, 1.0);
                let lip = (-(side - thickness / 2.0 - 1.0).powi(2) / 2.0).exp();
                depth * (groove - 0.35 * lip)
            }
            Self::Dent { at, radius, depth, hollow, rim } => {
                let off = [point[0] - at[0], point[1] - at[1]];
                let far = length(off);
                let q = far / radius;
                if q > 1.4 {
                    return 0.0;
                }
                let facing = (off[0] * lamp[0] + off[1] * lamp[1]) / (far + 1.0);
                let bowl = if q < 1.0 { (PI * q).sin() } else { 0.0 };
                let ridge = (-((q - 0.95) / 0.1).powi(2)).exp();
                rim * ridge - depth * bowl * facing - hollow * (1.0 - q * q).max(0.0)
            }
            // Its hole is not drilled in the first place.
            Self::MissingHole { .. } => 0.0,
        }
    }
}

impl Painting {
    /// Writes the painting's part of frame row `y`, if it has one; elsewhere the belt is left
    /// alone.
    pub(super) fn lay(
        &self,
        [left, top]: [i64; 2],
        y: usize,
        keep: &mut [f32; WIDTH],
        add: &mut [f32; WIDTH],
    ) {
        keep.fill(1.0);
        add.fill(0.0);
        let inside = usize::try_from(y as i64 - top).ok().filter(|row| *row < self.height);
        let Some(row) = inside else { return };
        let from = left.clamp(0, WIDTH as i64);
        let to = (left + self.width as i64).clamp(from, WIDTH as i64);
        let source = row * self.width + (from - left) as usize;
        let (from, to) = (from as usize, to as usize);
        keep[from..to].copy_from_slice(&self.keep[source..][..to - from]);
        add[from..to].copy_from_slice(&self.add[source..][..to - from]);
    }
}

/// Signed distance to a rounded rectangle around the origin; negative inside.
fn rounded_rectangle(at: [f32; 2], half: [f32; 2], corner: f32) -> f32 {
    let q = [0, 1].map(|k| at[k].abs() - (half[k] - corner));
    length(q.map(|v| v.max(0.0))) + q[0].max(q[1]).min(0.0) - corner
}

/// Length of a vector. `hypot` guards against overflow, which pixels need not, and is ten times
/// slower.
fn length(v: [f32; 2]) -> f32 {
    (v[0] * v[0] + v[1] * v[1]).sqrt()
}

/// A moving average along the rows of a painting; beyond its ends they go on as they are.
fn smear_rows(pixels: &[f32], width: usize, length: usize) -> Vec<f32> {
    let mut smeared = Vec::with_capacity(pixels.len());
    for row in pixels.chunks_exact(width) {
        for x in 0..width {
            let near = |k: usize| row[(x + k).saturating_sub(length / 2).min(width - 1)];
            smeared.push((0..length).map(near).sum::<f32>() / length as f32);
        }
    }
    smeared
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn sound_plate(seed: u64) -> (Product, Plate) {
        let mut rng = StdRng::seed_from_u64(seed);
        let product = Product::draw(&mut rng);
        let mut plate = Plate::draw(&mut rng, &product, 1.0, 700.0);
        plate.defect = None;
        (product, plate)
    }

    /// Brightness of a painted plate at a point of it, over black.
    fn metal_at(product: &Product, plate: &Plate, at: [f32; 2]) -> f32 {
        let painting = plate.paint(product, &vec![0.0; TILE * TILE]);
        let [c, s] = plate.turn;
        let x = (c * at[0] - s * at[1] + painting.width as f32 / 2.0) as usize;
        let y = (s * at[0] + c * at[1] + painting.height as f32 / 2.0) as usize;
        painting.add[y * painting.width + x]
    }

    #[test]
    fn a_missing_hole_is_metal_and_the_others_are_open() {
        let (product, mut plate) = sound_plate(3);
        for missing in 0..6 {
            plate.defect = Some(Defect::MissingHole { number: missing });
            for (number, hole) in product.holes.iter().enumerate() {
                let metal = metal_at(&product, &plate, *hole);
                assert_eq!(metal > 60.0, number == missing, "hole {number}: {metal}");
            }
        }
    }

    #[test]
    fn scratches_and_dents_differ_clearly_from_sound_metal() {
        for seed in 0..12 {
            let (product, mut plate) = sound_plate(seed);
            let defect = Defect::draw(&mut StdRng::seed_from_u64(seed), &product);
            let (Defect::Scratch { at, .. } | Defect::Dent { at, .. }) = defect else {
                continue;
            };
            let sound = metal_at(&product, &plate, at);
            plate.defect = Some(defect);
            let marked = metal_at(&product, &plate, at);
            assert!((marked - sound).abs() > 12.0, "seed {seed}: {sound} and {marked}, {defect:?}");
        }
    }
}
