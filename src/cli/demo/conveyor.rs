//! A conveyor belt with metal plates under a camera, some of them scratched, dented or badly
//! drilled.
//!
//! A plate is a rounded rectangle of brushed metal with two rows of three holes, slightly turned
//! and lit from one side. It is painted once, from distance functions, when it first comes into
//! view; a frame is then the belt, the painted plate laid over it, uneven light and the sensor's
//! noise.
//!
//! Every frame follows from the seed and its time alone, so frames may be asked for in any order.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "pixel numbers are small, and a pixel's value saturates as a camera's does"
)]

use std::f32::consts::TAU;
use std::time::Duration;

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use self::plate::{Defect, Painting, Plate, Product};
use self::texture::{TILE, brushed, cloth, white_tile};
use super::truth::Event;

mod plate;
mod texture;

const WIDTH: usize = 640;
const HEIGHT: usize = 480;
const JPEG_QUALITY: u8 = 85;
/// The belt's pattern comes round after so many pixels.
const BELT: usize = 1024;

/// The belt, the plates on it, and the camera above.
#[derive(Debug)]
pub(super) struct Conveyor {
    seed: u64,
    /// Pixels per second.
    speed: f64,
    product: Product,
    /// Brightness of the belt, `BELT` x `HEIGHT`.
    belt: Vec<f32>,
    belt_tint: [f32; 3],
    /// Exposure and falloff of the light for each pixel of a frame.
    light: Vec<f32>,
    /// One tile of white noise, as strong as the sensor's.
    noise: Vec<f32>,
    brushed: Vec<f32>,
    plates: Vec<Plate>,
    events: Vec<Event>,
    /// The plate painted last, by its number.
    painted: Option<(usize, Painting)>,
}

impl Conveyor {
    /// A belt for a run of `length`. From 5 s on it carries at least one defective plate; the last
    /// plate has left the view before the end.
    pub(super) fn new(seed: u64, length: Duration) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let (product, speed) = line(&mut rng);
        let plates = schedule(&mut rng, &product, speed, length.as_secs_f64());
        let white = white_tile(&mut rng);
        let noise = rng.random_range(0.8..3.5);
        Self {
            seed,
            speed,
            product,
            belt: belt(&mut rng, &white, &cloth(&white)),
            belt_tint: [(); 3].map(|()| rng.random_range(-11.0..11.0)),
            light: light(&mut rng),
            noise: white.iter().map(|v| v * noise).collect(),
            brushed: brushed(&white_tile(&mut rng)),
            events: plates.iter().filter_map(Plate::event).collect(),
            plates,
            painted: None,
        }
    }

    /// One event for each defective plate: from when it enters the view to when it has left it.
    pub(super) fn events(&self) -> &[Event] {
        &self.events
    }

    /// The camera's frame at a time since the start: RGB, 640x480, JPEG.
    pub(super) fn frame(&mut self, at: Duration) -> Vec<u8> {
        let pixels = self.pixels(at);
        let mut jpeg = Vec::with_capacity(64 * 1024);
        let encoder = JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY);
        let written =
            encoder.write_image(&pixels, WIDTH as u32, HEIGHT as u32, ExtendedColorType::Rgb8);
        if written.is_err() {
            // Writing to memory does not fail; should it ever, a message without a frame is what a
            // broken camera sends.
            jpeg.clear();
        }
        jpeg
    }

    fn pixels(&mut self, at: Duration) -> Vec<u8> {
        let seconds = at.as_secs_f64();
        let travelled = (seconds * self.speed) as usize;
        let shown = self.plates.iter().position(|p| (p.enters..p.leaves).contains(&seconds));
        if let Some(number) = shown
            && self.painted.as_ref().is_none_or(|(last, _)| *last != number)
        {
            let painting = self.plates[number].paint(&self.product, &self.brushed);
            self.painted = Some((number, painting));
        }
        let micros = at.as_micros() as u64;
        let mut rng = StdRng::seed_from_u64(self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ micros);
        let mut pixels = vec![0; WIDTH * HEIGHT * 3];
        let (mut ground, mut keep, mut add) = ([0.0; WIDTH], [1.0; WIDTH], [0.0; WIDTH]);
        for (y, row) in pixels.chunks_exact_mut(WIDTH * 3).enumerate() {
            if let (Some(number), Some((_, painting))) = (shown, &self.painted) {
                let plate = &self.plates[number];
                let corner = plate.corner(painting, seconds, self.speed);
                painting.lay(corner, y, &mut keep, &mut add);
            }
            // The belt moves to the right, so what is seen at the left lay further left on it.
            let belt = &self.belt[y * BELT..][..BELT];
            let from = BELT - travelled % BELT;
            let until_seam = (BELT - from).min(WIDTH);
            ground[..until_seam].copy_from_slice(&belt[from..][..until_seam]);
            ground[until_seam..].copy_from_slice(&belt[..WIDTH - until_seam]);
            let light = &self.light[y * WIDTH..][..WIDTH];
            let noise =
                [(); 3].map(|()| &self.noise[rng.random_range(0..TILE * TILE - WIDTH)..][..WIDTH]);
            for (x, pixel) in row.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                for (c, value) in pixel.iter_mut().enumerate() {
                    let seen =
                        (ground[x] + self.belt_tint[c]) * keep[x] + add[x] * self.product.tint[c];
                    *value = (seen * light[x] + noise[c][x]) as u8;
                }
            }
        }
        pixels
    }
}

/// The product that is made today, and the belt's speed in pixels per second.
fn line(rng: &mut StdRng) -> (Product, f64) {
    let product = Product::draw(rng);
    let crossing = rng.random_range(1.25..1.55);
    let way = WIDTH as f64 + f64::from(2.0 * product.half[0] + 20.0);
    (product, way / crossing)
}

/// The plates of a run of `length` seconds, one in view at a time.
fn schedule(rng: &mut StdRng, product: &Product, speed: f64, length: f64) -> Vec<Plate> {
    let mut plates = Vec::new();
    let mut enters = rng.random_range(0.2..0.5);
    loop {
        let plate = Plate::draw(rng, product, enters, speed);
        if plate.leaves + 0.05 > length {
            break;
        }
        enters = plate.leaves + rng.random_range(0.15..0.5);
        plates.push(plate);
    }
    if length >= 5.0 && plates.iter().all(|p| p.defect.is_none()) {
        let unlucky = rng.random_range(0..plates.len());
        plates[unlucky].defect = Some(Defect::draw(rng, product));
    }
    plates
}

/// The belt's pattern: its grey, cloth, grain, and ribs across.
fn belt(rng: &mut StdRng, white: &[f32], blots: &[f32]) -> Vec<f32> {
    let grey = rng.random_range(33.0..90.0);
    let (cloth, grain, rib) =
        (rng.random_range(1.0..5.5), rng.random_range(1.0..4.5), rng.random_range(0.0..8.0));
    // A whole number of ribs, so that the pattern closes.
    let ribs = TAU * f32::from(rng.random_range(20..70_u8)) / BELT as f32;
    let columns: Vec<_> = (0..BELT).map(|x| grey + rib * (ribs * x as f32).sin()).collect();
    let mut pattern = Vec::with_capacity(BELT * HEIGHT);
    for y in 0..HEIGHT {
        for (x, column) in columns.iter().enumerate() {
            let tile = y * TILE + x % TILE;
            pattern.push(column + cloth * blots[tile] + grain * white[tile]);
        }
    }
    pattern
}

/// Exposure, a lamp that is not quite in the middle, and the lens's falloff.
fn light(rng: &mut StdRng) -> Vec<f32> {
    let exposure = rng.random_range(0.78..1.1);
    let (across, down) = (rng.random_range(-0.13..0.13), rng.random_range(-0.13..0.13));
    let falloff = rng.random_range(0.0..0.11);
    let mut light = Vec::with_capacity(WIDTH * HEIGHT);
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let v = 2.0 * y as f32 / HEIGHT as f32 - 1.0;
            let u = 2.0 * x as f32 / WIDTH as f32 - 1.0;
            light.push(exposure * (1.0 + across * u + down * v - falloff * (u * u + v * v)));
        }
    }
    light
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plates(seed: u64, length: f64) -> Vec<Plate> {
        let mut rng = StdRng::seed_from_u64(seed);
        let (product, speed) = line(&mut rng);
        schedule(&mut rng, &product, speed, length)
    }

    #[test]
    fn plates_follow_one_another_and_the_last_has_left_before_the_end() {
        for seed in 0..200 {
            let plates = plates(seed, 30.0);
            assert!(plates.len() >= 12, "seed {seed}: {} plates", plates.len());
            for pair in plates.windows(2) {
                assert!(pair[0].leaves < pair[1].enters, "seed {seed}: two plates in view");
            }
            for plate in &plates {
                let crossing = plate.leaves - plate.enters;
                assert!((1.2..1.6).contains(&crossing), "seed {seed}: {crossing} s");
                assert!(plate.leaves < 30.0, "seed {seed}: leaves at {}", plate.leaves);
            }
        }
    }

    #[test]
    fn about_a_third_is_defective_and_a_short_run_has_at_least_one() {
        let (mut made, mut defective) = (0, 0);
        for seed in 0..200 {
            let plates = plates(seed, 60.0);
            made += plates.len();
            defective += plates.iter().filter(|p| p.event().is_some()).count();
        }
        let share = defective as f64 / made as f64;
        assert!((0.3..0.4).contains(&share), "{share}");
        for seed in 0..200 {
            assert!(plates(seed, 5.0).iter().any(|p| p.event().is_some()), "seed {seed}");
        }
        assert!(plates(1, 1.0).is_empty());
    }

    #[test]
    fn a_frame_is_a_jpeg_of_the_right_size_and_depends_on_seed_and_time_only() {
        let mut conveyor = Conveyor::new(5, Duration::from_secs(10));
        let times = [0, 900, 1500, 4000].map(Duration::from_millis);
        let forwards = times.map(|at| conveyor.frame(at));
        let mut again = Conveyor::new(5, Duration::from_secs(10));
        for (at, frame) in times.iter().zip(&forwards).rev() {
            assert!(again.frame(*at) == *frame, "the frame at {at:?} differs");
        }
        let decoded = image::load_from_memory_with_format(&forwards[1], image::ImageFormat::Jpeg)
            .map(image::DynamicImage::into_rgb8);
        assert_eq!(decoded.ok().map(|image| image.dimensions()), Some((640, 480)));
        assert!(conveyor.events().len() == conveyor.plates.iter().filter_map(Plate::event).count());
        assert!(forwards[0] != Conveyor::new(6, Duration::from_secs(10)).frame(times[0]));
    }

    #[test]
    fn a_plate_moves_to_the_right_through_the_view() {
        let mut conveyor = Conveyor::new(2, Duration::from_secs(10));
        let (enters, leaves) = (conveyor.plates[0].enters, conveyor.plates[0].leaves);
        let middle = |conveyor: &mut Conveyor, share: f64| {
            let at = Duration::from_secs_f64(enters + share * (leaves - enters));
            let pixels = conveyor.pixels(at);
            // Metal is brighter than any belt.
            let bright: Vec<_> =
                (0..WIDTH * HEIGHT).filter(|i| pixels[i * 3] > 108).map(|i| i % WIDTH).collect();
            bright.iter().sum::<usize>() as f64 / bright.len().max(1) as f64
        };
        let seen = [0.3, 0.5, 0.7].map(|share| middle(&mut conveyor, share));
        assert!(seen[0] + 100.0 < seen[1] && seen[1] + 100.0 < seen[2], "{seen:?}");
    }
}
