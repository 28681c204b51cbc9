//! The parts that a JPEG file is made of.

use std::io::BufRead;

/// Stands before every marker; in compressed data a 0 follows it.
const PREFIX: u8 = 0xFF;

/// The segments of a JPEG (ITU-T T.81, annex B): the marker's second byte and what belongs to it.
/// Compressed data between them is skipped.
#[derive(Debug, Clone)]
pub(in crate::pipeline::decode) struct Segments<'a>(pub(super) &'a [u8]);

impl<'a> Segments<'a> {
    pub(in crate::pipeline::decode) fn new(payload: &'a [u8]) -> Self {
        Self(payload)
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.0.skip_until(PREFIX).ok()?;
            let fill = self.0.iter().take_while(|b| **b == PREFIX).count();
            let (marker, rest) = self.0.get(fill..)?.split_first()?;
            self.0 = rest;
            match marker {
                // A stuffed 0xFF, TEM, restarts, the start of the image.
                0x00 | 0x01 | 0xD0..=0xD8 => {}
                0xD9 => return Some((0xD9, &[])),
                marker => {
                    let (length, _) = rest.split_first_chunk::<2>()?;
                    let body = rest.get(2..usize::from(u16::from_be_bytes(*length)))?;
                    self.0 = rest.get(2 + body.len()..)?;
                    return Some((*marker, body));
                }
            }
        }
    }
}

/// Takes compressed data up to the next marker, which is returned, and adds it to `clean` without what is
/// stuffed into it. `None`: there is no marker.
pub(super) fn take_compressed(data: &mut &[u8], clean: &mut Vec<u8>) -> Option<u8> {
    loop {
        let all = *data;
        let length = data.skip_until(PREFIX).ok()?;
        clean.extend_from_slice(all.get(..length.checked_sub(1)?)?);
        let fill = data.iter().take_while(|b| **b == PREFIX).count();
        let (marker, rest) = data.get(fill..)?.split_first()?;
        *data = rest;
        match marker {
            0x00 => clean.push(PREFIX),
            marker => return Some(*marker),
        }
    }
}
