//! Mutations of a corpus, and the loop that feeds a target with them.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};

/// No input grows beyond this.
const MAX_LENGTH: usize = 1 << 16;

/// Calls `target` with mutations of `corpus` until the time is over; first with the corpus itself.
/// Panics with the seed and the input as hex when the target does.
pub(crate) fn drive(name: &str, corpus: &[Vec<u8>], target: impl Fn(&[u8])) {
    let seed = setting("EIR_FUZZ_SEED").unwrap_or_else(|| rand::rng().next_u64());
    let time = Duration::from_secs(setting("EIR_FUZZ_SECONDS").unwrap_or(5));
    #[expect(clippy::disallowed_methods, reason = "the time of the test, not of the program")]
    let start = Instant::now();
    let mut random = StdRng::seed_from_u64(seed);
    let mut runs = 0_u64;
    for input in corpus {
        attempt(name, seed, input, &target);
    }
    while start.elapsed() < time {
        let input = mutated(corpus, &mut random);
        attempt(name, seed, &input, &target);
        runs += 1;
    }
    eprintln!("{name}: {runs} inputs, EIR_FUZZ_SEED={seed}");
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn attempt(name: &str, seed: u64, input: &[u8], target: &impl Fn(&[u8])) {
    let survived = catch_unwind(AssertUnwindSafe(|| target(input))).is_ok();
    assert!(survived, "{name} panicked with EIR_FUZZ_SEED={seed} on {}", hex(input));
}

fn hex(input: &[u8]) -> String {
    input.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a string takes everything");
        hex
    })
}

/// One to eight mutations of one input of the corpus.
fn mutated(corpus: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
    let mut input = corpus.choose(random).cloned().unwrap_or_default();
    for _ in 0..random.random_range(1..=8) {
        mutate(&mut input, corpus, random);
        input.truncate(MAX_LENGTH);
    }
    input
}

fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut StdRng) {
    /// What parsers compare with, and where integers end.
    const ODD: [&[u8]; 16] = [
        b"\0",
        b"\xFF",
        b"\x7F",
        b"\x80",
        b"\xFF\xFF\xFF\xFF",
        b"\0\0\0\0",
        b"-",
        b"1e999",
        b"NaN",
        b"[",
        b"]",
        b"{\"",
        b"\\u",
        b"\"",
        b",",
        b"18446744073709551616",
    ];
    let part = |input: &[u8], random: &mut StdRng| {
        let from = random.random_range(0..=input.len());
        from..random.random_range(from..=input.len().min(from + 64))
    };
    let at = random.random_range(0..=input.len());
    match random.random_range(0..8) {
        0 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
        1 if at < input.len() => input[at] = random.random(),
        2 => input.truncate(at),
        3 => drop(input.drain(part(input, random))),
        4 => {
            let odd = ODD.choose(random).copied().unwrap_or_default();
            input.splice(at..at, odd.iter().copied());
        }
        5 => {
            let piece = input[part(input, random)].repeat(random.random_range(1..40));
            input.splice(at..at, piece);
        }
        6 => {
            let other = corpus.choose(random).map(Vec::as_slice).unwrap_or_default();
            let piece = other[part(other, random)].to_vec();
            input.splice(at..at, piece);
        }
        _ => {
            let (a, b) = (part(input, random), part(input, random));
            let piece = input[a].to_vec();
            input.splice(b, piece);
        }
    }
}
