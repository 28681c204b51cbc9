//! Sequential JPEGs made smaller while they are decoded, which spares most of the work.
//!
//! A JPEG holds blocks of 8 × 8 pixels as a mean and 63 waves (the DCT of ITU-T T.81): a picture of the means
//! alone is one of an eighth of the size, and never was anything else. What is read here is what cameras make:
//! one scan, Huffman codes, 8 bits, luma alone or with two planes of colour. Of everything else, and of what
//! is damaged, the answer is `None`: the decoder of whole pictures is to be asked then, and has the last word.

mod half;
mod header;
mod huffman;
mod segments;

pub(super) use self::half::half;
use self::header::{Coded, Header};
use self::huffman::{Bits, Jumps, pad};
pub(super) use self::segments::Segments;
use self::segments::take_compressed;
use super::thumbnail::Thumbnail;

/// Pixels of a block, either way.
const BLOCK: usize = 8;

/// No mean is farther from the middle, in steps of its quantizer.
const FARTHEST: i32 = 1 << 14;

/// The brightness of a JPEG, from the means of its blocks.
pub(super) fn thumbnail(payload: &[u8]) -> Option<Thumbnail> {
    let header = Header::read(payload)?;
    let [width, height] = header.size.map(|side| side.div_ceil(BLOCK));
    let mut levels = vec![0; width * height];
    // A mean counts eight times in its block, and is measured from the middle.
    let step = i32::from(header.parts[0].quantizer[0]);
    let waves = header.waves(Jumps::new);
    walk(&header, &header.coded(&waves)?, |bits, part, [x, y], mean| {
        bits.skip_waves(part.waves)?;
        if part.index == 0 && x < width && y < height {
            levels[y * width + x] = u8::try_from((mean * step / 8 + 128).clamp(0, 255)).ok()?;
        }
        Some(())
    })?;
    Some(Thumbnail::new(header.size, &levels, BLOCK))
}

/// Gives each block of the scan in turn to `block`, which is to read all of it but its mean: its part, its place in
/// blocks, and its mean in steps of its quantizer.
fn walk<W>(
    header: &Header<'_>,
    parts: &[Coded<'_, W>],
    mut block: impl FnMut(&mut Bits<'_>, &Coded<'_, W>, [usize; 2], i32) -> Option<()>,
) -> Option<()> {
    let [across, down] = header.units();
    let (total, mut done) = (across * down, 0);
    let interval = if header.restart == 0 { total } else { header.restart };
    let (mut data, mut clean) = (header.data, Vec::new());
    let (mut left, mut top) = (0, 0);
    for number in (0_u8..8).cycle() {
        clean.clear();
        let marker = take_compressed(&mut data, &mut clean)?;
        pad(&mut clean);
        let mut bits = Bits::new(&clean);
        let mut means = [0; 3];
        let end = total.min(done + interval);
        for _ in done..end {
            for (part, mean) in parts.iter().zip(&mut means) {
                let [wide, high] = part.blocks;
                for y in top * high..(top + 1) * high {
                    for x in left * wide..(left + 1) * wide {
                        *mean += bits.difference(part.means)?;
                        (-FARTHEST..=FARTHEST).contains(mean).then_some(())?;
                        block(&mut bits, part, [x, y], *mean)?;
                    }
                }
            }
            left += 1;
            if left == across {
                (left, top) = (0, top + 1);
            }
        }
        done = end;
        let wanted = if done < total { 0xD0 + number } else { 0xD9 };
        if !bits.is_used_up() || marker != wanted {
            return None;
        }
        if done == total {
            break;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests;
