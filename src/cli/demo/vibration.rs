//! A motor whose bearing develops faults, as a three-axis accelerometer hears it.
//!
//! The sensor is a MEMS chip (±16 g, 4 mg a step, 3200 Hz) on the bearing housing; x and y are
//! radial, z is axial. The bearing is a 6205: a ball passes a spot of the outer race 3.585 times
//! per turn of the shaft, one of the inner race 5.415 times. Each passage over a defect strikes the
//! housing, which rings.
//!
//! Every block follows from the seed and its number alone, so blocks may be asked for in any order.

#![expect(clippy::cast_possible_truncation, reason = "f32 is what the sensor resolves")]

use std::f64::consts::TAU;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;

use self::signal::{Impacts, Shaft, Source, Tone};
use super::truth::Event;

mod signal;

/// Samples per second and axis.
const RATE_HZ: f64 = 3200.0;
/// Samples in one message.
const BLOCK: usize = 64;
/// The sensor's resolution and range in g.
const STEP_G: f64 = 0.004;
const RANGE_G: f64 = 16.0;
/// Passages of balls per turn of the shaft (6205 bearing).
const OUTER_RACE_ORDER: f64 = 3.585;
const INNER_RACE_ORDER: f64 = 5.415;
/// A fault grows to its full strength within this time.
const RAMP: Duration = Duration::from_millis(500);
/// The low-frequency part of the noise is a moving average over so many samples.
const RUMBLE: usize = 12;

/// Kinds of random streams.
const NOISE_STREAM: u64 = 1;
const FAULT_STREAM: u64 = 2;

/// The models' labels, in the order in which faults are drawn.
const FAULTS: [&str; 3] = ["imbalance", "inner_race", "outer_race"];

/// One machine: healthy and faulty periods alternate, each fault is repaired at its end.
#[derive(Debug)]
pub(super) struct Machine {
    seed: u64,
    shaft: Shaft,
    gravity: [f64; 3],
    /// How well each axis hears the bearing.
    gain: [f64; 3],
    /// Standard deviation of the broadband noise in g.
    noise: [f64; 3],
    rumble: f64,
    /// What a healthy machine sounds of: harmonics of the shaft, and a neighbour's hum.
    harmonics: Vec<Tone>,
    hum_hz: f64,
    hum: Tone,
    load: f64,
    events: Vec<Event>,
    /// What the fault sounds of that was heard last, with the number of its event.
    source: Option<(usize, Source)>,
}

impl Machine {
    /// A machine for a run of `length`. From 8 s on it has at least one fault; the last 2 s are
    /// healthy.
    pub(super) fn new(seed: u64, length: Duration) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let load = rng.random_range(0.85..1.2);
        let gain =
            [rng.random_range(0.5..1.0), rng.random_range(0.5..1.0), rng.random_range(0.25..0.75)];
        let loudest = gain.iter().copied().fold(0.0, f64::max);
        let noise: f64 = rng.random_range(0.014..0.045);
        Self {
            seed,
            shaft: Shaft {
                hz: rng.random_range(20.0..30.0),
                wander: 0.005,
                wander_hz: rng.random_range(0.1..0.5),
                phase: rng.random(),
            },
            gravity: gravity(&mut rng),
            gain: gain.map(|g| g / loudest),
            noise: [(); 3].map(|()| noise * rng.random_range(0.85..1.2)),
            rumble: rng.random_range(0.05..0.5),
            harmonics: [(1.0, 0.055), (2.0, 0.028), (3.0, 0.014)]
                .map(|(order, most)| Tone::draw(&mut rng, order, most * load))
                .into(),
            hum_hz: [50.0, 60.0, 100.0, 120.0].choose(&mut rng).copied().unwrap_or(50.0),
            hum: Tone::draw(&mut rng, 1.0, 0.025),
            load,
            events: timeline(&mut rng, length.as_secs_f64()),
            source: None,
        }
    }

    /// The fault periods, in order.
    pub(super) fn events(&self) -> &[Event] {
        &self.events
    }

    /// 64 samples of x, y, z in g, starting at `block` * 20 ms.
    pub(super) fn block(&mut self, block: u64) -> [[f32; 3]; BLOCK] {
        let mut signal = self.noise(block);
        let first = block as f64 * BLOCK as f64;
        let fault = self.fault(first / RATE_HZ, (first + BLOCK as f64) / RATE_HZ);
        for (i, sample) in signal.iter_mut().enumerate() {
            let at = (first + i as f64) / RATE_HZ;
            let turns = self.shaft.turns(at);
            for tone in &self.harmonics {
                tone.add(turns, 1.0, sample);
            }
            self.hum.add(at * self.hum_hz, 1.0, sample);
            if let (Some(number), Some((_, source))) = (fault, &self.source) {
                source.add(at, turns, severity(&self.events[number], at), sample);
            }
            for (value, level) in sample.iter_mut().zip(self.gravity) {
                *value = (((*value + level) / STEP_G).round() * STEP_G).clamp(-RANGE_G, RANGE_G);
            }
        }
        signal.map(|sample| sample.map(|value| value as f32))
    }

    /// Broadband noise, with a share of rumble that runs on across the borders of blocks.
    fn noise(&self, block: u64) -> [[f64; 3]; BLOCK] {
        let (white, mut slow) = self.white(block);
        if let Some(before) = block.checked_sub(1) {
            let (_, earlier) = self.white(before);
            slow.splice(0..0, earlier[BLOCK + 1 - RUMBLE..].iter().copied());
        } else {
            slow.splice(0..0, [[0.0; 3]; RUMBLE - 1]);
        }
        let mut noise = [[0.0; 3]; BLOCK];
        for (i, sample) in noise.iter_mut().enumerate() {
            for (axis, value) in sample.iter_mut().enumerate() {
                let sum: f64 = slow[i..i + RUMBLE].iter().map(|s| s[axis]).sum();
                let rumble = self.rumble * sum / (RUMBLE as f64).sqrt();
                *value = self.noise[axis] * (white[i][axis] + rumble);
            }
        }
        noise
    }

    /// Two independent stretches of white noise for a block.
    fn white(&self, block: u64) -> (Vec<[f64; 3]>, Vec<[f64; 3]>) {
        let mut rng = stream(self.seed, NOISE_STREAM, block);
        let mut draw =
            || (0..BLOCK).map(|_| [(); 3].map(|()| rng.sample(StandardNormal))).collect();
        (draw(), draw())
    }

    /// The number of the event between two times, if there is one; its source is then at hand.
    fn fault(&mut self, from: f64, to: f64) -> Option<usize> {
        let number = self.events.partition_point(|e| e.end.as_secs_f64() <= from);
        let event = self.events.get(number).filter(|e| e.start.as_secs_f64() < to)?;
        if self.source.as_ref().is_none_or(|(known, _)| *known != number) {
            let mut rng = stream(self.seed, FAULT_STREAM, number as u64);
            self.source = Some((number, self.source(&mut rng, event)));
        }
        Some(number)
    }

    fn source(&self, rng: &mut StdRng, event: &Event) -> Source {
        match event.label {
            "imbalance" => Source::Imbalance(self.imbalance(rng)),
            "inner_race" => {
                let modulation = rng.random_range(0.6..0.9);
                Source::Impacts(self.impacts(rng, event, INNER_RACE_ORDER, modulation))
            }
            _ => Source::Impacts(self.impacts(rng, event, OUTER_RACE_ORDER, 0.0)),
        }
    }

    /// A heavy spot pulls outwards once per turn: x and y in quadrature, little along the shaft.
    fn imbalance(&self, rng: &mut StdRng) -> Tone {
        let force = rng.random_range(0.35..0.9) * self.load;
        let phase: f64 = rng.random_range(0.0..TAU);
        let turned = if rng.random() { TAU / 4.0 } else { -TAU / 4.0 };
        Tone {
            order: 1.0,
            amplitude: [
                force * self.gain[0].sqrt(),
                force * self.gain[1].sqrt(),
                force * rng.random_range(0.03..0.18),
            ],
            phase: [phase, phase + turned, rng.random_range(0.0..TAU)],
        }
    }

    fn impacts(&self, rng: &mut StdRng, event: &Event, order: f64, modulation: f64) -> Impacts {
        let strength = rng.random_range(0.9..2.6) * self.load;
        let resonance_hz = rng.random_range(900.0..1300.0);
        let damping = rng.random_range(0.035..0.075);
        let slip = rng.random_range(0.01..0.02);
        let zone: f64 = rng.random_range(0.0..TAU);
        let end = event.end.as_secs_f64();
        let mut at = event.start.as_secs_f64() + rng.random_range(0.0..0.01);
        let mut strikes = Vec::new();
        while at < end {
            // The inner race turns with the shaft: its defect strikes hardest where the load
            // presses.
            let pressed =
                (1.0 + modulation * (TAU * self.shaft.turns(at) + zone).cos()) / (1.0 + modulation);
            let varied: f64 = 1.0 + 0.1 * rng.sample::<f64, _>(StandardNormal);
            strikes.push((at, strength * pressed * varied.max(0.3)));
            // The balls slip, so the spacing wanders by one or two per cent.
            let spacing = 1.0 + slip * rng.sample::<f64, _>(StandardNormal);
            at += spacing / (order * self.shaft.speed(at));
        }
        Impacts {
            strikes,
            resonance_hz,
            decay: 1.0 / (TAU * resonance_hz * damping),
            gain: self.gain.map(|g| if rng.random() { g } else { -g }),
        }
    }
}

/// Random numbers for one thing that has a number: they do not depend on what was asked for before.
fn stream(seed: u64, kind: u64, number: u64) -> StdRng {
    let own = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(kind);
    StdRng::seed_from_u64(own.wrapping_mul(0xD1B5_4A32_D192_ED03).wrapping_add(number))
}

/// A sensor is never mounted quite level: 1 g along one axis, up or down, and a little on the
/// others.
fn gravity(rng: &mut StdRng) -> [f64; 3] {
    let mut direction = [(); 3].map(|()| rng.random_range(-0.2..0.2));
    let axis: usize = rng.random_range(0..3);
    direction[axis] += if rng.random() { 1.0 } else { -1.0 };
    let length = direction.iter().map(|v| v * v).sum::<f64>().sqrt();
    direction.map(|v| v / length)
}

/// Healthy and faulty periods of 3 to 6 s in turn, as many as fit before the healthy last 2 s.
fn timeline(rng: &mut StdRng, length: f64) -> Vec<Event> {
    let (shortest, longest, tail) = (3.0_f64, 6.0_f64, 2.0_f64);
    let mut events = Vec::new();
    let mut now = 0.0;
    while length - tail - now >= 2.0 * shortest {
        let left = length - tail - now;
        let healthy = rng.random_range(shortest..=longest.min(left - shortest));
        let faulty = rng.random_range(shortest..=longest.min(left - healthy));
        let start = now + healthy;
        now = start + faulty;
        events.push(Event {
            label: FAULTS.choose(rng).copied().unwrap_or("imbalance"),
            start: Duration::from_secs_f64(start),
            end: Duration::from_secs_f64(now),
        });
    }
    events
}

/// 0 while healthy, rising to 1 after the fault's start.
fn severity(event: &Event, at: f64) -> f64 {
    if at < event.start.as_secs_f64() || at >= event.end.as_secs_f64() {
        return 0.0;
    }
    ((at - event.start.as_secs_f64()) / RAMP.as_secs_f64()).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Root of the mean square of what moves, over a span of blocks.
    fn vibration(machine: &mut Machine, blocks: std::ops::Range<u64>) -> f64 {
        let samples: Vec<_> = blocks.flat_map(|b| machine.block(b)).collect();
        let count = samples.len() as f64;
        let of_axis = |axis: usize| {
            let mean = samples.iter().map(|s| f64::from(s[axis])).sum::<f64>() / count;
            samples.iter().map(|s| (f64::from(s[axis]) - mean).powi(2)).sum::<f64>() / count
        };
        ((0..3).map(of_axis).sum::<f64>() / 3.0).sqrt()
    }

    #[test]
    fn a_block_depends_on_seed_and_number_only() {
        let mut forwards = Machine::new(7, Duration::from_secs(20));
        let mut backwards = Machine::new(7, Duration::from_secs(20));
        let a: Vec<_> = (0..300).map(|b| forwards.block(b)).collect();
        let mut b: Vec<_> = (0..300).rev().map(|b| backwards.block(b)).collect();
        b.reverse();
        assert_eq!(a, b);
        assert_ne!(a[5], Machine::new(8, Duration::from_secs(20)).block(5));
    }

    #[test]
    fn healthy_and_faulty_periods_alternate_and_the_end_is_healthy() {
        for seed in 0..200 {
            for seconds in [8, 10, 15, 60] {
                let machine = Machine::new(seed, Duration::from_secs(seconds));
                let events = machine.events();
                assert!(!events.is_empty(), "seed {seed}, {seconds} s");
                let mut free = Duration::ZERO;
                for event in events {
                    assert!(
                        event.start >= free + Duration::from_millis(2999),
                        "seed {seed}: {event:?}"
                    );
                    let lasts = event.end.as_secs_f64() - event.start.as_secs_f64();
                    assert!((2.999..6.001).contains(&lasts), "seed {seed}: {event:?}");
                    free = event.end;
                }
                assert!(
                    free + Duration::from_millis(1999) <= Duration::from_secs(seconds),
                    "seed {seed}"
                );
            }
        }
    }

    #[test]
    fn a_run_too_short_for_a_fault_has_none() {
        assert!(Machine::new(1, Duration::from_secs(7)).events().is_empty());
        assert!(Machine::new(1, Duration::ZERO).events().is_empty());
    }

    #[test]
    fn gravity_is_one_g_and_faults_are_loud() {
        for seed in 0..8 {
            let mut machine = Machine::new(seed, Duration::from_secs(20));
            let g = machine.gravity.iter().map(|v| v * v).sum::<f64>().sqrt();
            assert!((g - 1.0).abs() < 1e-9, "seed {seed}: {g}");
            let healthy = vibration(&mut machine, 10..60);
            for event in machine.events().to_vec() {
                let first = (event.start.as_millis() / 20) as u64 + 30;
                let faulty = vibration(&mut machine, first..first + 50);
                assert!(faulty > 2.0 * healthy, "seed {seed}: {faulty} after {healthy}, {event:?}");
            }
        }
    }

    #[test]
    fn impacts_come_as_often_as_balls_pass() {
        let orders = [("outer_race", OUTER_RACE_ORDER), ("inner_race", INNER_RACE_ORDER)];
        let mut seen = 0;
        for seed in 0..20 {
            let machine = Machine::new(seed, Duration::from_mins(1));
            for (number, event) in machine.events.iter().enumerate() {
                let Some(&(_, order)) = orders.iter().find(|(label, _)| *label == event.label)
                else {
                    continue;
                };
                let mut rng = stream(seed, FAULT_STREAM, number as u64);
                let Source::Impacts(impacts) = machine.source(&mut rng, event) else {
                    continue;
                };
                let turns = machine.shaft.turns(event.end.as_secs_f64())
                    - machine.shaft.turns(event.start.as_secs_f64());
                let per_turn = impacts.strikes.len() as f64 / turns;
                assert!(
                    (per_turn / order - 1.0).abs() < 0.02,
                    "seed {seed}: {per_turn} per turn, {event:?}"
                );
                seen += 1;
            }
        }
        assert!(seen > 20, "only {seen} faults with impacts");
    }
}
