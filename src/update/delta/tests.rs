use std::io::{Cursor, Write};

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::make::number;
use super::*;

fn plain(new: &[u8]) -> Plain {
    Plain { sha256: Sha256::digest(new).to_vec().into(), length: new.len() as u64 }
}

fn applied(patch: &[u8], old: &[u8], plain: &Plain) -> Result<Vec<u8>, DeltaError> {
    let mut new = Vec::new();
    let made = apply(patch, Cursor::new(old), &mut new, plain);
    assert!(new.len() as u64 <= plain.length, "{} bytes were written", new.len());
    made.map(|()| new)
}

/// Bytes as weights have them: the same for the same seed.
fn noise(seed: u32, length: u32) -> Vec<u8> {
    let mix = |i: u32| {
        let mixed = (i ^ (seed << 20)).wrapping_mul(0x9e37_79b9);
        (mixed ^ (mixed >> 15)).wrapping_mul(0x85eb_ca6b)
    };
    (0..length).map(|i| mix(i).to_be_bytes()[0]).collect()
}

/// A patch as no honest tool makes it.
fn forged(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut steps = Vec::new();
    write(&mut steps);
    zstd::stream::encode_all(&steps[..], 1).expect("memory")
}

#[test]
fn what_was_trained_on_is_a_small_part_of_the_whole() {
    let weights = noise(1, 300_000);
    let trained = weights.iter().zip(noise(2, 300_000));
    // Each weight is one more or less or as it was, and what describes them is longer.
    let trained: Vec<u8> =
        trained.map(|(weight, step)| weight.wrapping_add((step % 3).wrapping_sub(1))).collect();
    let told = b"trained on the spring's data".repeat(9);
    let old = [b"name of the first layer", &weights[..], b"name of the next one"].concat();
    let new = [&told[..], b"name of the first layer", &trained, b"name of the next one"].concat();
    let all = make(&old, &new).expect("memory");
    assert_eq!(applied(&all, &old, &plain(&new)).expect("applied"), new);
    assert!(all.len() < new.len() / 3, "{} of {}", all.len(), new.len());
    // Pieces in another order.
    let moved = [&old[200_000..], b"between", &old[..200_000]].concat();
    let patch = make(&old, &moved).expect("memory");
    assert_eq!(applied(&patch, &old, &plain(&moved)).expect("applied"), moved);
    assert!(patch.len() < 200, "{}", patch.len());
}

#[test]
fn files_that_have_nothing_in_common_or_nothing_at_all_are_no_matter() {
    let (a, b) = (noise(3, 10_000), noise(4, 5_000));
    for (old, new) in [(&a[..], &b[..]), (b"", &a), (&a, b""), (b"", b""), (&a, &a), (b"1", b"2")] {
        let patch = make(old, new).expect("memory");
        assert_eq!(applied(&patch, old, &plain(new)).expect("applied"), new);
    }
}

#[test]
fn a_patch_without_an_end_is_stopped_where_the_new_file_has_its_own() {
    let old = noise(5, 100_000);
    let said = plain(&old);
    let zeros = vec![0; 64 << 20];
    for (told, patch) in [
        // It fills what was signed for, and is read no further.
        (
            "SHA-256",
            forged(|steps| {
                number(steps, 0).and(number(steps, 0)).expect("memory");
                number(steps, said.length).expect("memory");
                steps.extend(&noise(6, 100_000));
                steps.extend(&zeros);
            }),
        ),
        (
            "more than was signed for",
            forged(|steps| {
                number(steps, u64::MAX).expect("memory");
                steps.extend(&zeros);
            }),
        ),
        (
            "more than was signed for",
            forged(|steps| {
                for number_ in [0, 0, said.length + 1] {
                    number(steps, number_).expect("memory");
                }
                steps.extend(&zeros);
            }),
        ),
        // Steps that do nothing, for ever.
        ("does nothing", forged(|steps| steps.extend(&zeros))),
        ("too large", forged(|steps| steps.extend([0xff; 12]))),
    ] {
        assert!(patch.len() < 150_000, "{}", patch.len());
        let error = applied(&patch, &old, &said).expect_err(told).to_string();
        assert!(error.contains(told), "{told}: {error}");
    }
}

#[test]
fn a_patch_that_leads_out_of_the_old_file_or_is_cut_off_or_none_is_an_error() {
    let old = noise(7, 1000);
    let said = plain(&old);
    for far in [1_u64, 1 << 20, 2001, u64::MAX, u64::MAX - 1] {
        let patch = forged(|steps| {
            for number_ in [0, far, 1000] {
                number(steps, number_).expect("memory");
            }
            steps.extend([0; 1000]);
        });
        applied(&patch, &old, &said).expect_err("it is not there");
    }
    let new = noise(8, 1000);
    let whole = make(&old, &new).expect("memory");
    for length in [0, 1, 4, whole.len() / 2, whole.len() - 200] {
        applied(&whole[..length], &old, &plain(&new)).expect_err("cut off");
    }
    applied(b"no patch at all", &old, &said).expect_err("no zstd");
}

#[test]
fn what_was_made_for_another_file_makes_none() {
    let (old, other) = (noise(9, 50_000), noise(10, 50_000));
    let mut new = old.clone();
    new[100] ^= 1;
    let patch = make(&old, &new).expect("memory");
    let error = applied(&patch, &other, &plain(&new)).expect_err("another file").to_string();
    assert!(error.contains("a file whose SHA-256 is"), "{error}");
    applied(&patch, &old[..40_000], &plain(&new)).expect_err("it is too short");
    // A hash that was signed for something else.
    applied(&patch, &old, &Plain { length: 50_000, ..plain(&old) }).expect_err("another hash");
}

/// More memory than a device wants to give is never asked for.
#[test]
fn a_window_that_is_too_large_is_refused() {
    let new = noise(11, 100);
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).expect("zstd");
    encoder.window_log(27).expect("known");
    number(&mut encoder, 100).expect("memory");
    encoder.write_all(&new).expect("memory");
    let patch = encoder.finish().expect("memory");
    let error = applied(&patch, b"", &plain(&new)).expect_err("too large").to_string();
    assert!(error.contains("memory"), "{error}");
}

#[test]
fn a_patch_is_called_by_its_ends() {
    let name = name(&[0xab, 1], &[0xcd]);
    assert_eq!((name.as_str(), ends(&name)), ("deltas/ab01-cd", Some(("ab01", "cd"))));
    assert_eq!(Content::of(&name), None);
    for other in ["models/a-b/1.tar.zst", "deltas", "deltas/abcd", "ab01-cd"] {
        assert_eq!(ends(other), None, "{other}");
    }
}

proptest! {
    // Whatever is made takes its time.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn whatever_was_done_to_a_file_its_patch_does(
        old in prop::collection::vec(0..4_u8, 0..600),
        other in prop::collection::vec(any::<u8>(), 0..200),
        cuts in prop::collection::vec((0..600_usize, 0..600_usize, any::<bool>()), 0..8),
    ) {
        let mut new = Vec::new();
        for (a, b, is_old) in cuts {
            let from = if is_old { &old } else { &other };
            let [a, b] = [a.min(b), a.max(b)].map(|at| at.min(from.len()));
            new.extend_from_slice(&from[a..b]);
        }
        let patch = make(&old, &new).expect("memory");
        prop_assert_eq!(applied(&patch, &old, &plain(&new)).expect("applied"), new);
    }

    #[test]
    fn no_patch_does_any_harm(
        steps in prop::collection::vec(any::<u8>(), 0..300),
        old in prop::collection::vec(any::<u8>(), 0..100),
        length in 0..400_u64,
    ) {
        let patch = zstd::stream::encode_all(&steps[..], 1).expect("memory");
        let said = Plain { length, ..plain(b"") };
        let made = applied(&patch, &old, &said);
        prop_assert!(made.is_err() || length == 0);
    }
}
