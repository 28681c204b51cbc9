//! Who gets a release when: in waves, by a place in the queue that each device finds for itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::decimal::Decimal;
use crate::event::HumanDuration;

/// Waves of one release.
pub const MAX_WAVES: usize = 32;

/// A part of the devices, and when it is their turn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wave {
    /// So many of all devices have had their turn then, those of earlier waves included; above 0, at most 100.
    pub percent: Decimal,
    /// Counted from the publication.
    pub after: HumanDuration,
}

/// The waves of a release, in order. Without any, it is everybody's turn at once; who is in none never gets it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Wave>", into = "Vec<Wave>")]
pub struct Waves(Vec<Wave>);

impl Waves {
    /// How long after the publication it is the turn of who has this place; `None`: never.
    pub fn turn(&self, place: f64) -> Option<Duration> {
        if self.0.is_empty() {
            return Some(Duration::ZERO);
        }
        self.0.iter().find(|wave| place < wave.percent.0).map(|wave| wave.after.0)
    }

    /// In which wave a place is, from 0.
    pub fn wave(&self, place: f64) -> Option<usize> {
        if self.0.is_empty() {
            return Some(0);
        }
        self.0.iter().position(|wave| place < wave.percent.0)
    }
}

impl TryFrom<Vec<Wave>> for Waves {
    type Error = String;

    fn try_from(waves: Vec<Wave>) -> Result<Self, String> {
        if waves.len() > MAX_WAVES {
            return Err(format!("{} waves are more than {MAX_WAVES}", waves.len()));
        }
        let mut before = None;
        for (number, wave) in (1..).zip(&waves) {
            if !(wave.percent.0 > 0.0 && wave.percent.0 <= 100.0) {
                return Err(format!("wave {number}: percent must be above 0 and at most 100"));
            }
            if let Some(Wave { percent, after }) = before.replace(*wave)
                && (wave.percent <= percent || wave.after.0 < after.0)
            {
                return Err(format!(
                    "wave {number}: it must have a higher percent than the wave before, and no earlier after"
                ));
            }
        }
        Ok(Self(waves))
    }
}

impl From<Waves> for Vec<Wave> {
    fn from(waves: Waves) -> Self {
        waves.0
    }
}

/// A device's place in the queue for a release, in percent: 0 is the first, 100 would be behind the last. It is a hash of
/// both names, so that every release has others go first.
pub fn place(device: &str, release: &str) -> f64 {
    let digest = Sha256::new()
        .chain_update(device)
        // In neither name.
        .chain_update([0])
        .chain_update(release)
        .finalize();
    let first: [u8; 4] = std::array::from_fn(|byte| digest[byte]);
    f64::from(u32::from_be_bytes(first)) / 2_f64.powi(32) * 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waves(text: &str) -> Result<Waves, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_place_is_the_same_everywhere_and_for_ever() {
        // python3 -c 'import hashlib; print(int(hashlib.sha256(b"line-7\0models/defects/4.tar.zst").hexdigest()[:8], 16) / 2**32 * 100)'
        let found = place("line-7", "models/defects/4.tar.zst");
        assert!((found - 67.274_964_461_103_08).abs() < 1e-9, "{found}");
    }

    #[test]
    fn each_wave_has_its_share_of_the_devices_and_no_release_the_same_ones() {
        let three = r#"[{"percent": 1, "after": "0s"}, {"percent": 10, "after": "1d"}, {"percent": 90, "after": "3d"}]"#;
        let three = waves(three).expect("waves");
        let mut counts = [[0_u32; 4]; 2];
        let mut both = 0;
        for device in 0..10_000 {
            let wave = |release| {
                let place = place(&format!("device-{device}"), release);
                assert!((0.0..100.0).contains(&place));
                let wave = three.wave(place).unwrap_or(3);
                let turn = three.turn(place).map(|turn| turn.as_secs() / 86_400);
                assert_eq!(turn, [Some(0), Some(1), Some(3), None][wave]);
                wave
            };
            let found = [wave("models/a/1.tar.zst"), wave("models/a/2.tar.zst")];
            for (counts, wave) in counts.iter_mut().zip(found) {
                counts[wave] += 1;
            }
            both += u32::from(found == [0, 0]);
        }
        for counts in counts {
            for (count, expected) in counts.into_iter().zip([100_u32, 900, 8_000, 1_000]) {
                // Four standard deviations of a binomial distribution.
                let (count, expected) = (f64::from(count), f64::from(expected));
                let off = 4.0 * (expected * (1.0 - expected / 10_000.0)).sqrt();
                assert!((count - expected).abs() < off, "{counts:?}");
            }
        }
        assert!(both < 10, "the first are the first again: {both}");
    }

    #[test]
    fn without_waves_it_is_everybodys_turn() {
        assert_eq!(Waves::default().turn(99.9), Some(Duration::ZERO));
        assert_eq!(Waves::default().wave(99.9), Some(0));
    }

    #[test]
    fn waves_that_go_backwards_are_refused() {
        for (text, told) in [
            (r#"[{"percent": 0, "after": "0s"}]"#, "wave 1: percent"),
            (r#"[{"percent": 101, "after": "0s"}]"#, "wave 1: percent"),
            (r#"[{"percent": 9, "after": "0s"}, {"percent": 9, "after": "1h"}]"#, "wave 2"),
            (r#"[{"percent": 9, "after": "2h"}, {"percent": 10, "after": "1h"}]"#, "wave 2"),
            (r#"[{"percent": 9}]"#, "after"),
        ] {
            let error = waves(text).expect_err(text);
            assert!(error.contains(told), "{text}: {error}");
        }
        let many =
            vec![Wave { percent: Decimal(1.0), after: HumanDuration::from_secs(0) }; MAX_WAVES + 1];
        assert!(Waves::try_from(many).is_err());
    }
}
