//! What a patch makes of an old file: as much as was signed for, or nothing.

use std::io::{self, BufReader, Read, Seek, Write};

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::Plain;
use super::matches::SEED;
use crate::update::archive;
use crate::update::sign::hex;

/// Bytes that are worked on at a time.
const PIECE: usize = 64 << 10;

/// Bytes of the old file that are read ahead: a patch of a program jumps about in it.
const AHEAD: usize = 8 << 10;

/// A patch that leads nowhere.
#[derive(Debug, Error)]
pub enum DeltaError {
    /// The disk, or a patch that is cut off or damaged, or goes where its old file is not.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It says what no patch of ours does.
    #[error("the patch {0}")]
    Refused(&'static str),
    /// It makes another file than the one that was signed for.
    #[error("the patch makes a file whose SHA-256 is {0}")]
    Other(String),
}

/// Writes the new file. What was written before an error is of no use. It never writes more than `plain.length` bytes,
/// and never goes to more places of the old file than [`make`](super::make()) does.
pub fn apply(
    patch: impl Read,
    old: impl Read + Seek,
    mut new: impl Write,
    plain: &Plain,
) -> Result<(), DeltaError> {
    let mut patch = BufReader::with_capacity(PIECE, archive::packed(patch)?);
    let mut old = BufReader::with_capacity(AHEAD, old);
    let (mut hash, mut left) = (Sha256::new(), plain.length);
    let (mut bytes, mut before) = (vec![0; PIECE], vec![0; PIECE]);
    let mut places = plain.length / SEED as u64 + 1;
    while left > 0 {
        let mut more = number(&mut patch)?;
        left = left.checked_sub(more).ok_or(TOO_MUCH)?;
        while more > 0 {
            let piece = &mut bytes[..at_most(more)];
            patch.read_exact(piece)?;
            hash.update(&*piece);
            new.write_all(piece)?;
            more -= piece.len() as u64;
        }
        if left == 0 {
            break;
        }
        places = places.checked_sub(1).ok_or(DeltaError::Refused("goes to too many places"))?;
        let far = number(&mut patch)?;
        old.seek_relative((far >> 1).cast_signed() ^ -(far & 1).cast_signed())?;
        let mut like = number(&mut patch)?;
        if like == 0 {
            return Err(DeltaError::Refused("does nothing"));
        }
        left = left.checked_sub(like).ok_or(TOO_MUCH)?;
        while like > 0 {
            let length = at_most(like);
            let (piece, before) = (&mut bytes[..length], &mut before[..length]);
            patch.read_exact(piece)?;
            old.read_exact(before)?;
            for (byte, before) in piece.iter_mut().zip(before) {
                *byte = byte.wrapping_add(*before);
            }
            hash.update(&*piece);
            new.write_all(piece)?;
            like -= length as u64;
        }
    }
    new.flush()?;
    let found = hash.finalize();
    if found[..] == plain.sha256[..] { Ok(()) } else { Err(DeltaError::Other(hex(&found))) }
}

const TOO_MUCH: DeltaError = DeltaError::Refused("makes more than was signed for");

fn at_most(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(PIECE).min(PIECE)
}

/// LEB128 of 64 bits.
fn number(patch: &mut impl Read) -> Result<u64, DeltaError> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let mut byte = [0];
        patch.read_exact(&mut byte)?;
        let low = u64::from(byte[0] & 0x7f);
        if low << shift >> shift != low {
            break;
        }
        number |= low << shift;
        if byte[0] < 0x80 {
            return Ok(number);
        }
    }
    Err(DeltaError::Refused("holds a number that is too large"))
}
