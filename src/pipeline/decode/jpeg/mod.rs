//! Sequential JPEGs made smaller while they are decoded, which spares most of the work.
//!
//! A JPEG holds blocks of 8 × 8 pixels as a mean and 63 waves (the DCT of ITU-T T.81): a picture of the means
//! alone is one of an eighth of the size, and never was anything else. What is read here is what cameras make:
//! one scan, Huffman codes, 8 bits, luma alone or with two planes of colour. Of everything else, and of what
//! is damaged, the answer is `None`: the decoder of whole pictures is to be asked then, and has the last word.

mod header;
mod huffman;
mod segments;

use self::header::Header;
use self::huffman::{Bits, pad};
pub(super) use self::segments::Segments;
use self::segments::take_compressed;
use super::thumbnail::{Cells, Thumbnail};

/// Pixels of a block, either way.
const BLOCK: usize = 8;

/// The brightness of a JPEG, from the means of its blocks.
pub(super) fn thumbnail(payload: &[u8]) -> Option<Thumbnail> {
    let header = Header::read(payload)?;
    let mut cells = Cells::new(header.size, BLOCK);
    // A mean counts eight times in its block, and is measured from the middle.
    let step = i32::from(header.parts[0].quantizer[0]);
    walk(&header, |bits, part, [x, y], mean| {
        *mean += bits.difference(header.means(part)?)?;
        bits.skip_waves(header.waves(part)?)?;
        if part == 0 {
            cells.add(x, y, (*mean * step / 8 + 128).clamp(0, 255).unsigned_abs());
        }
        Some(())
    })?;
    Some(cells.finish())
}

/// Gives each block of the scan in turn to `block`: its part, its place in blocks, and the mean of the block
/// before.
fn walk(
    header: &Header<'_>,
    mut block: impl FnMut(&mut Bits<'_>, usize, [usize; 2], &mut i32) -> Option<()>,
) -> Option<()> {
    let [across, down] = header.units();
    let (total, mut done) = (across * down, 0);
    let interval = if header.restart == 0 { total } else { header.restart };
    let (mut data, mut clean) = (header.data, Vec::new());
    for number in (0_u8..8).cycle() {
        clean.clear();
        let marker = take_compressed(&mut data, &mut clean)?;
        pad(&mut clean);
        let mut bits = Bits::new(&clean);
        let mut means = [0; 3];
        let end = total.min(done + interval);
        for unit in done..end {
            let [left, top] = [unit % across, unit / across];
            for (index, part) in header.parts.iter().enumerate() {
                let [wide, high] = part.blocks;
                for place in 0..wide * high {
                    let place = [left * wide + place % wide, top * high + place / wide];
                    block(&mut bits, index, place, &mut means[index])?;
                }
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
