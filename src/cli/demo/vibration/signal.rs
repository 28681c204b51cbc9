//! The parts of a machine's vibration: a turning shaft, steady tones, and impacts that ring.

use std::f64::consts::TAU;

use rand::RngExt;
use rand::rngs::StdRng;

/// The shaft's rotation; its speed wanders a little around the nominal one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shaft {
    pub(super) hz: f64,
    pub(super) wander: f64,
    pub(super) wander_hz: f64,
    pub(super) phase: f64,
}

/// A sine on three axes: amplitude in g and phase, at a multiple of some base frequency.
#[derive(Debug)]
pub(super) struct Tone {
    pub(super) order: f64,
    pub(super) amplitude: [f64; 3],
    pub(super) phase: [f64; 3],
}

/// What a fault adds to the signal.
#[derive(Debug)]
pub(super) enum Source {
    Imbalance(Tone),
    Impacts(Impacts),
}

#[derive(Debug)]
pub(super) struct Impacts {
    /// In order of time: seconds since the start of the run, and strength in g.
    pub(super) strikes: Vec<(f64, f64)>,
    pub(super) resonance_hz: f64,
    /// Seconds in which the ringing falls to 1/e.
    pub(super) decay: f64,
    /// Gain of each axis, with its sign.
    pub(super) gain: [f64; 3],
}

impl Shaft {
    /// Turns per second at a time in seconds.
    pub(super) fn speed(self, at: f64) -> f64 {
        self.hz * (1.0 + self.wander * (TAU * (self.wander_hz * at + self.phase)).sin())
    }

    /// Turns made since the start: the integral of `speed`.
    pub(super) fn turns(self, at: f64) -> f64 {
        let angle = |t: f64| (TAU * (self.wander_hz * t + self.phase)).cos();
        self.hz * (at + self.wander / (TAU * self.wander_hz) * (angle(0.0) - angle(at)))
    }
}

impl Tone {
    pub(super) fn draw(rng: &mut StdRng, order: f64, most: f64) -> Self {
        Self {
            order,
            amplitude: [(); 3].map(|()| most * rng.random_range(0.15..1.0)),
            phase: [(); 3].map(|()| rng.random_range(0.0..TAU)),
        }
    }

    pub(super) fn add(&self, turns: f64, strength: f64, sample: &mut [f64; 3]) {
        for (axis, value) in sample.iter_mut().enumerate() {
            *value += strength
                * self.amplitude[axis]
                * (TAU * self.order * turns + self.phase[axis]).sin();
        }
    }
}

impl Source {
    pub(super) fn add(&self, at: f64, turns: f64, severity: f64, sample: &mut [f64; 3]) {
        match self {
            Self::Imbalance(tone) => tone.add(turns, severity, sample),
            Self::Impacts(impacts) => {
                let ring = severity * impacts.ring(at);
                for (value, gain) in sample.iter_mut().zip(impacts.gain) {
                    *value += ring * gain;
                }
            }
        }
    }
}

impl Impacts {
    /// The housing's ringing at a time: decaying sines of the strikes that can still be heard.
    pub(super) fn ring(&self, at: f64) -> f64 {
        let until = self.strikes.partition_point(|&(strike, _)| strike <= at);
        let ringing = self.strikes[..until].iter().rev();
        ringing
            .map(|&(strike, strength)| (at - strike, strength))
            .take_while(|&(since, _)| since < 7.0 * self.decay)
            .map(|(since, strength)| {
                strength * (-since / self.decay).exp() * (TAU * self.resonance_hz * since).sin()
            })
            .sum()
    }
}
