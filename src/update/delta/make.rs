//! The patch between two files.

use std::io::{self, Write};

use super::matches::matches;

/// zstd's level: what is made once and fetched by a fleet may take a while.
const LEVEL: i32 = 19;

/// What makes the second file out of the first. Takes memory for both, and as much again.
pub fn make(old: &[u8], new: &[u8]) -> io::Result<Vec<u8>> {
    let mut patch = zstd::stream::Encoder::new(Vec::new(), LEVEL)?;
    let (mut done, mut place) = (0, 0);
    for piece in matches(old, new) {
        number(&mut patch, (piece.new - done) as u64)?;
        patch.write_all(&new[done..piece.new])?;
        let from = i64::try_from(piece.old).map_err(io::Error::other)?;
        let far: i64 = from - place;
        number(&mut patch, ((far << 1) ^ (far >> 63)).cast_unsigned())?;
        number(&mut patch, piece.length as u64)?;
        done = piece.new + piece.length;
        place = from + i64::try_from(piece.length).map_err(io::Error::other)?;
        let before = &old[piece.old..piece.old + piece.length];
        let pairs = new[piece.new..done].iter().zip(before);
        let differences: Vec<u8> = pairs.map(|(new, old)| new.wrapping_sub(*old)).collect();
        patch.write_all(&differences)?;
    }
    if done < new.len() {
        number(&mut patch, (new.len() - done) as u64)?;
        patch.write_all(&new[done..])?;
    }
    patch.finish()
}

/// LEB128: seven bits a byte, the lowest first.
pub(super) fn number(patch: &mut impl Write, mut number: u64) -> io::Result<()> {
    loop {
        let [low, ..] = (number & 0x7f).to_le_bytes();
        number >>= 7;
        if number == 0 {
            return patch.write_all(&[low]);
        }
        patch.write_all(&[low | 0x80])?;
    }
}
