//! What a retrained model costs as a patch and as the whole, on the shipped models, and how long a patch takes to be made
//! and to be applied. Training is played: so many bytes of the middle four fifths of the graph, where its weights lie, go up
//! or down by a few steps.

use std::io::{self, Cursor, Read};
use std::ops::Range;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use eir::update::archive;
use eir::update::delta::{Plain, apply, make};
use sha2::{Digest, Sha256};

const LEVEL: i32 = 19;

fn delta(c: &mut Criterion) {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    for name in ["bearing", "vibration-anomaly", "defects"] {
        let packed = archive::pack(&models.join(name).join("1")).expect("packed");
        let mut old = Vec::new();
        archive::packed(&packed[..]).and_then(|mut tar| tar.read_to_end(&mut old)).expect("a tar");
        let weights = weights(&old);
        for percent in [1, 10, 100] {
            let new = trained(&old, &weights, percent);
            let whole = zstd::stream::encode_all(&new[..], LEVEL).expect("memory").len();
            let patch = make(&old, &new).expect("memory").len();
            eprintln!(
                "{name}, {percent} % of {} weights: {patch} bytes instead of {whole} ({:.1} %)",
                weights.len(),
                100.0 * patch as f64 / whole as f64
            );
        }
        let new = trained(&old, &weights, 100);
        let patch = make(&old, &new).expect("memory");
        let plain =
            Plain { sha256: Sha256::digest(&new).to_vec().into(), length: new.len() as u64 };
        c.bench_function(&format!("{name} patch made"), |b| b.iter(|| make(&old, &new)));
        c.bench_function(&format!("{name} patch applied"), |b| {
            b.iter(|| apply(&patch[..], Cursor::new(&old), io::sink(), &plain).expect("applied"));
        });
    }
}

/// Where the weights lie in a tar.
fn weights(tar: &[u8]) -> Range<usize> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().expect("a tar").map(|entry| entry.expect("an entry"));
    let mut graphs = entries.filter(|entry| {
        entry.path().is_ok_and(|path| path.extension().is_some_and(|end| end == "onnx"))
    });
    let graph = graphs.next().expect("a graph");
    let [at, size] = [graph.raw_file_position(), graph.size()]
        .map(|number| usize::try_from(number).expect("small"));
    at + size / 10..at + size - size / 10
}

fn trained(old: &[u8], weights: &Range<usize>, percent: u32) -> Vec<u8> {
    let mut new = old.to_vec();
    for (weight, number) in new[weights.clone()].iter_mut().zip(0_u32..) {
        let mixed = number.wrapping_mul(0x9e37_79b9);
        let mixed = (mixed ^ (mixed >> 15)).wrapping_mul(0x85eb_ca6b);
        let mixed = (mixed ^ (mixed >> 13)).wrapping_mul(0xc2b2_ae35);
        if (mixed >> 16) % 100 < percent {
            let [step, ..] = (mixed % 5).to_le_bytes();
            *weight = weight.wrapping_add(step).wrapping_sub(2);
        }
    }
    new
}

criterion_group!(benches, delta);
criterion_main!(benches);
