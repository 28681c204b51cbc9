//! Tiles of noise, made once and closing on themselves: what belts and brushed metal look like.

use rand::RngExt;
use rand::rngs::StdRng;
use rand_distr::StandardNormal;

/// Side of a tile.
pub(super) const TILE: usize = 512;

/// Independent values with mean 0 and standard deviation 1.
pub(super) fn white_tile(rng: &mut StdRng) -> Vec<f32> {
    (0..TILE * TILE).map(|_| rng.sample(StandardNormal)).collect()
}

/// Cloth: soft blots of a few pixels.
pub(super) fn cloth(white: &[f32]) -> Vec<f32> {
    normal(smear(&smear(white, 9, 1), 9, TILE))
}

/// Brushed metal: streaks along the rows.
pub(super) fn brushed(white: &[f32]) -> Vec<f32> {
    normal(smear(&smear(white, 60, 1), 2, TILE))
}

/// A moving average over a tile, along rows (`stride` 1) or columns (`TILE`).
fn smear(tile: &[f32], length: usize, stride: usize) -> Vec<f32> {
    let mut smeared = vec![0.0; TILE * TILE];
    for line in 0..TILE {
        // Rows begin TILE apart, columns one pixel apart.
        let first = line * (TILE / stride);
        let at = |k: usize| first + k % TILE * stride;
        // A running sum: what comes in at one end goes out at the other.
        let mut sum: f32 = (0..length).map(|k| tile[at(k)]).sum();
        for k in 0..TILE {
            smeared[at(k)] = sum / length as f32;
            sum += tile[at(k + length)] - tile[at(k)];
        }
    }
    smeared
}

/// Scales a tile with mean 0 to a standard deviation of 1.
fn normal(tile: Vec<f32>) -> Vec<f32> {
    let square = tile.iter().map(|v| v * v).sum::<f32>() / tile.len() as f32;
    let scale = 1.0 / square.sqrt().max(f32::MIN_POSITIVE);
    tile.into_iter().map(|v| v * scale).collect()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    /// How alike a tile is to itself moved by `offset` pixels: 1 = the same.
    fn likeness(tile: &[f32], offset: usize) -> f32 {
        let pairs = tile.iter().zip(tile.iter().cycle().skip(offset));
        pairs.map(|(a, b)| a * b).sum::<f32>() / tile.len() as f32
    }

    #[test]
    fn brushing_runs_along_the_rows_and_cloth_has_no_direction() {
        let white = white_tile(&mut StdRng::seed_from_u64(1));
        let metal = brushed(&white);
        assert!((likeness(&metal, 0) - 1.0).abs() < 0.01);
        assert!(likeness(&metal, 10) > 0.7 && likeness(&metal, 10 * TILE).abs() < 0.1);
        let belt = cloth(&white);
        assert!((likeness(&belt, 4) - likeness(&belt, 4 * TILE)).abs() < 0.1);
        assert!(likeness(&white, 1).abs() < 0.02);
    }
}
