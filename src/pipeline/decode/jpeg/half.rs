//! A picture of half the size, made of those waves that it can show.
//!
//! Of the 8 × 8 numbers of a block the first 4 × 4 make 4 × 4 pixels: the same transform with half as many points,
//! which is what `libjpeg` does too. A plane of colour that has half as many pixels as luma is taken as it is.

use std::f32::consts::{FRAC_1_SQRT_2, PI};

use super::header::Header;
use super::huffman::Numbers;
use super::walk;
use crate::event::{Frame, Pixels};

/// Pixels that a block of luma makes, either way.
const HALF: usize = 4;

/// The picture in half the size, rounded up; `None`: it is not one of those that can be made so, or is damaged.
pub(in crate::pipeline::decode) fn half(payload: &[u8]) -> Option<Frame> {
    let header = Header::read(payload)?;
    let [across, down] = header.units();
    let [wide, high] = header.parts[0].blocks;
    let stride = across * wide * HALF;
    let mut planes = vec![vec![0; stride * down * high * HALF]; header.parts.len()];
    let (four, eight) = (waves::<4>(), waves::<8>());
    let numbers = header.waves(Numbers::new);
    walk(&header, &header.coded(&numbers)?, |bits, part, [x, y], mean| {
        let mut block = [0.0; 64];
        block[0] = mean as f32 * f32::from(part.quantizer[0]);
        let extent = bits.waves(part.waves, part.quantizer, &mut block)?;
        let shape = if part.index == 0 { [1, 1] } else { [wide, high] };
        let to = &mut planes[part.index][(y * shape[1] * stride + x * shape[0]) * HALF..];
        match shape {
            [1, 1] => paint(&block, extent, (&four, &four), to, stride),
            [1, _] => paint(&block, extent, (&four, &eight), to, stride),
            [_, 1] => paint(&block, extent, (&eight, &four), to, stride),
            _ => paint(&block, extent, (&eight, &eight), to, stride),
        }
        Some(())
    })?;
    let [width, height] = header.size.map(|side| side.div_ceil(2));
    let rows =
        |plane: usize| planes[plane].chunks_exact(stride).take(height).map(|row| &row[..width]);
    let (pixels, data) = if planes.len() == 1 {
        (Pixels::Gray, rows(0).flatten().copied().collect())
    } else {
        let mut data = vec![0; width * height * 3];
        let colors = rows(1).zip(rows(2));
        for ((to, luma), (blue, red)) in data.chunks_exact_mut(width * 3).zip(rows(0)).zip(colors) {
            to_rgb(luma, blue, red, to);
        }
        (Pixels::Rgb, data)
    };
    let side = |side: usize| u32::try_from(side).ok();
    Some(Frame {
        width: side(width)?,
        height: side(height)?,
        pixels,
        data,
        source: [side(header.size[0])?, side(header.size[1])?],
    })
}

/// What each of the first waves is at each of `N` points; A.3.3, with `N` points for 8.
fn waves<const N: usize>() -> [[f32; N]; N] {
    std::array::from_fn(|wave| {
        let height = if wave == 0 { FRAC_1_SQRT_2 } else { 1.0 } / 2.0;
        std::array::from_fn(|point| {
            height * ((2 * point + 1) as f32 * wave as f32 * PI / (2 * N) as f32).cos()
        })
    })
}

/// Makes `X` × `Y` pixels of the numbers of a block.
#[inline]
fn paint<const X: usize, const Y: usize>(
    block: &[f32; 64],
    [rows, columns]: [usize; 2],
    (across, down): (&[[f32; X]; X], &[[f32; Y]; Y]),
    to: &mut [u8],
    stride: usize,
) {
    let mut half = [[0.0; X]; Y];
    for (numbers, wave) in block.as_chunks::<8>().0.iter().zip(down).take(rows) {
        for (sums, height) in half.iter_mut().zip(wave) {
            for (sum, number) in sums.iter_mut().zip(numbers) {
                *sum += height * number;
            }
        }
    }
    for (row, numbers) in to.chunks_mut(stride).zip(&half) {
        // The middle of what a byte holds, and rounding.
        let mut levels = [128.5; X];
        for (number, wave) in numbers.iter().zip(across).take(columns) {
            for (level, height) in levels.iter_mut().zip(wave) {
                *level += height * number;
            }
        }
        for (byte, level) in row.iter_mut().zip(levels) {
            *byte = to_byte(level);
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
fn to_byte(level: f32) -> u8 {
    level.clamp(0.0, 255.0) as i32 as u8
}

/// JFIF's colours, in steps of 1/65536.
fn to_rgb(luma: &[u8], blue: &[u8], red: &[u8], to: &mut [u8]) {
    let clamp = |level: i32| u8::try_from(level.clamp(0, 255)).unwrap_or(0);
    for (((to, y), blue), red) in to.as_chunks_mut::<3>().0.iter_mut().zip(luma).zip(blue).zip(red)
    {
        let y = (i32::from(*y) << 16) + (1 << 15);
        let (blue, red) = (i32::from(*blue) - 128, i32::from(*red) - 128);
        *to = [
            clamp((y + 91_881 * red) >> 16),
            clamp((y - 22_554 * blue - 46_802 * red) >> 16),
            clamp((y + 116_130 * blue) >> 16),
        ];
    }
}
