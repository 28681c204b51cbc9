use std::time::Duration;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use proptest::prelude::*;

use super::*;
use crate::pipeline::decode::{DecodeConfig, ImageConfig};

const SIZE: [u32; 2] = [320, 240];

/// A camera over a scene that stands still but for what a test changes in it.
struct Camera {
    gate: Gate,
    decoder: Decoder,
    seen: Seen,
    start: Instant,
    noise: u32,
}

/// What lies on the scene: left, top, side in pixels, and how much brighter it is.
type Thing = (u32, u32, u32, i32);

impl Camera {
    fn new(change: f32) -> Self {
        #[expect(clippy::disallowed_methods, reason = "any instant does")]
        let start = Instant::now();
        let config = GateConfig { change, every: HumanDuration::from_secs(10) };
        assert_eq!(config.check(), None);
        let decoder = Decoder::new(&DecodeConfig::Image(ImageConfig::default())).expect("limits");
        Self { gate: Gate::new(&config), decoder, seen: Seen::default(), start, noise: 1 }
    }

    /// A level of the scene, with the noise of a cheap sensor: up to 12 of 255 either way.
    fn level(&mut self, x: u32, y: u32, light: i32, thing: Thing) -> u8 {
        self.noise = self.noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = i32::try_from((self.noise >> 16) % 25).expect("small") - 12;
        let scene = i32::try_from(60 + x / 4 + (y / 16 % 2) * 30).expect("small");
        let (left, top, side, more) = thing;
        let there = (left..left + side).contains(&x) && (top..top + side).contains(&y);
        let level = scene + light + noise + if there { more } else { 0 };
        u8::try_from(level.clamp(0, 255)).expect("a level")
    }

    fn pixels(&mut self, light: i32, thing: Thing) -> Vec<u8> {
        let [width, height] = SIZE;
        let mut pixels = Vec::new();
        for y in 0..height {
            for x in 0..width {
                let level = self.level(x, y, light, thing);
                pixels.extend([level; 3]);
            }
        }
        pixels
    }

    fn jpeg(&mut self, light: i32, thing: Thing) -> Vec<u8> {
        let pixels = self.pixels(light, thing);
        let mut file = Vec::new();
        JpegEncoder::new_with_quality(&mut file, 60)
            .encode(&pixels, SIZE[0], SIZE[1], ExtendedColorType::Rgb8)
            .expect("a JPEG");
        file
    }

    fn is_still(&mut self, payload: &[u8], seconds: u64) -> bool {
        let now = self.start + Duration::from_secs(seconds);
        self.gate.judge(&mut self.seen, &self.decoder, payload, now) == Passage::Still
    }
}

const NOTHING: Thing = (0, 0, 0, 0);

#[test]
fn the_noise_of_a_sensor_does_not_open_it_and_a_small_thing_does() {
    let mut camera = Camera::new(0.005);
    let first = camera.jpeg(0, NOTHING);
    assert!(!camera.is_still(&first, 0));
    for second in 1..6 {
        let next = camera.jpeg(0, NOTHING);
        assert_ne!(next, first);
        assert!(camera.is_still(&next, second), "noise at {second} s");
    }
    // 24 x 24 of 320 x 240 pixels are 9 to 16 of 1,200 cells.
    let thing = camera.jpeg(0, (100, 70, 24, 60));
    assert!(!camera.is_still(&thing, 6));
    let same_place = camera.jpeg(0, (100, 70, 24, 60));
    assert!(camera.is_still(&same_place, 7));
    let moved = camera.jpeg(0, (140, 70, 24, 60));
    assert!(!camera.is_still(&moved, 8));
    let gone = camera.jpeg(0, NOTHING);
    assert!(!camera.is_still(&gone, 9));
}

#[test]
fn a_thing_smaller_than_what_is_asked_for_leaves_it_closed() {
    let mut camera = Camera::new(0.05);
    let empty = camera.jpeg(0, NOTHING);
    assert!(!camera.is_still(&empty, 0));
    let small = camera.jpeg(0, (100, 70, 24, 60));
    assert!(camera.is_still(&small, 1));
    let large = camera.jpeg(0, (100, 70, 80, 60));
    assert!(!camera.is_still(&large, 2));
}

/// Each picture is as good as the one before; what counts is the one that the model had.
#[test]
fn a_slow_drift_opens_it_in_the_end() {
    let mut camera = Camera::new(0.01);
    let mut opened = Vec::new();
    for step in 0..30 {
        let picture = camera.jpeg(step, NOTHING);
        if !camera.is_still(&picture, 0) {
            opened.push(step);
        }
    }
    assert!((3..=8).contains(&opened.len()) && opened[0] == 0, "{opened:?}");
    assert!(opened.windows(2).all(|pair| pair[1] - pair[0] >= 3), "{opened:?}");
}

#[test]
fn after_its_time_a_picture_goes_through_whatever_it_shows() {
    let mut camera = Camera::new(0.01);
    let picture = camera.jpeg(0, NOTHING);
    let passed: Vec<_> = (0..35).filter(|second| !camera.is_still(&picture, *second)).collect();
    assert_eq!(passed, [0, 10, 20, 30]);
}

/// Nothing is decoded for it: these bytes could not be.
#[test]
fn bytes_that_came_before_are_found_without_a_look_at_them() {
    let mut camera = Camera::new(0.01);
    let picture = camera.jpeg(0, NOTHING);
    assert!(!camera.is_still(&picture, 0));
    camera.seen.bytes = Some(camera.gate.hasher.hash_one(&b"what it was"[..]));
    assert!(camera.is_still(b"what it was", 1));
    assert!(!camera.is_still(b"what it is", 2));
}

#[test]
fn what_is_damaged_is_told_every_time_and_changes_nothing() {
    let mut camera = Camera::new(0.01);
    let picture = camera.jpeg(0, NOTHING);
    assert!(!camera.is_still(&picture, 0));
    for second in 1..4 {
        assert!(!camera.is_still(&picture[..picture.len() / 2], second));
    }
    let again = camera.jpeg(0, NOTHING);
    assert!(camera.is_still(&again, 5));
    camera.seen.forget();
    assert!(!camera.is_still(&picture, 6), "the model has not seen it");
}

/// A PNG must be decoded to be looked at, and need not be decoded again.
#[test]
fn what_had_to_be_decoded_is_handed_on() {
    let mut camera = Camera::new(0.01);
    let png = |camera: &mut Camera, light| {
        let pixels = camera.pixels(light, NOTHING);
        let mut file = Vec::new();
        PngEncoder::new(&mut file)
            .write_image(&pixels, SIZE[0], SIZE[1], ExtendedColorType::Rgb8)
            .expect("a PNG");
        (file, pixels)
    };
    let (file, pixels) = png(&mut camera, 0);
    let passage = camera.gate.judge(&mut camera.seen, &camera.decoder, &file, camera.start);
    let Passage::Open(Some(frame)) = passage else { panic!("{passage:?}") };
    assert_eq!((frame.width, frame.height, frame.data == pixels), (320, 240, true));
    let (same, _) = png(&mut camera, 0);
    assert!(camera.is_still(&same, 1));
    let (brighter, _) = png(&mut camera, 40);
    assert!(!camera.is_still(&brighter, 2));
    // The same scene in another format is the same scene.
    let jpeg = camera.jpeg(40, NOTHING);
    assert!(camera.is_still(&jpeg, 3));
}

#[test]
fn a_gate_that_cannot_be_is_refused() {
    let gate = |text: &str| toml::from_str::<GateConfig>(text);
    let usual = gate("change = 0.01").expect("a gate");
    assert_eq!((usual.check(), usual.every.0), (None, Duration::from_secs(10)));
    for (text, key) in [
        ("change = 0.0", "change"),
        ("change = -0.5", "change"),
        ("change = 1.01", "change"),
        ("change = nan", "change"),
        ("change = 0.1\nevery = \"0s\"", "every"),
    ] {
        assert_eq!(gate(text).expect(text).check().map(|(key, _)| key), Some(key), "{text}");
    }
    assert!(gate("every = \"1s\"").is_err() && gate("change = 0.1\nnoise = 3").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Where the whole picture changes by so much, every gate is open; and by nothing, none.
    #[test]
    fn all_of_it_or_nothing(change in 0.000_1_f32..=1.0, light in 16_i32..100, dark: bool) {
        let mut camera = Camera::new(change);
        let light = if dark { -light } else { light };
        let picture = camera.jpeg(0, NOTHING);
        prop_assert!(!camera.is_still(&picture, 0));
        let noise = camera.jpeg(0, NOTHING);
        prop_assert!(camera.is_still(&noise, 1));
        let other = camera.jpeg(light, NOTHING);
        prop_assert!(!camera.is_still(&other, 2));
    }
}
