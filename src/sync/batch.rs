//! What goes over the wire: records one a line, compressed, with a name of their own.

use std::fmt::Write as _;
use std::io;

use bytes::Bytes;
use sha2::{Digest, Sha256};

/// zstd's own default: telemetry becomes a tenth at the pace of a small core.
const LEVEL: i32 = 3;

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// JSON, one record a line.
    Plain,
    /// The same, compressed with zstd.
    Zstd,
}

/// Records on their way to a cloud.
#[derive(Debug, Clone)]
pub struct Batch {
    key: String,
    body: Bytes,
    records: usize,
    raw_bytes: usize,
}

impl Batch {
    /// One batch of these records, each the JSON of one line. The same records make
    /// the same batch, also after a restart.
    pub fn new<'a>(
        records: impl Iterator<Item = &'a [u8]> + Clone,
        encoding: Encoding,
    ) -> io::Result<Self> {
        let length: usize = records.clone().map(|record| record.len() + 1).sum();
        let mut lines = Vec::with_capacity(length);
        let mut count = 0;
        for record in records {
            // In JSON a line break stands between values alone, where a space says the same.
            let in_one_line = record.iter().map(|byte| match byte {
                b'\n' | b'\r' => b' ',
                other => *other,
            });
            lines.extend(in_one_line);
            lines.push(b'\n');
            count += 1;
        }
        let (key, raw_bytes) = (key(&lines), lines.len());
        let body = match encoding {
            Encoding::Plain => lines,
            Encoding::Zstd => zstd::bulk::compress(&lines, LEVEL)?,
        };
        Ok(Self { key, body: body.into(), records: count, raw_bytes })
    }

    /// The `Idempotency-Key`: the first 128 bits of the SHA-256 of the lines, in hexadecimal.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Newline-delimited JSON, in the encoding that was asked for.
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// How many records it holds.
    pub const fn records(&self) -> usize {
        self.records
    }

    /// How many bytes they are before they are compressed.
    pub const fn raw_bytes(&self) -> usize {
        self.raw_bytes
    }
}

fn key(lines: &[u8]) -> String {
    let digest = Sha256::digest(lines);
    digest.iter().take(16).fold(String::with_capacity(32), |mut text, byte| {
        // Writing to a string does not fail.
        let _written = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(records: &[&str]) -> Batch {
        let lines = records.iter().map(|record| record.as_bytes());
        Batch::new(lines, Encoding::Zstd).expect("a batch")
    }

    #[test]
    fn a_batch_is_lines_of_json_that_any_zstd_reads() {
        let batch = batch(&["{\"seq\":1}", "{\"seq\":2}"]);
        let lines = zstd::stream::decode_all(&batch.body()[..]).expect("zstd");
        assert_eq!(lines, b"{\"seq\":1}\n{\"seq\":2}\n");
        assert_eq!((batch.records(), batch.raw_bytes()), (2, 20));
        let spread = self::batch(&["{\n\"seq\":\r\n1}"]);
        let lines = zstd::stream::decode_all(&spread.body()[..]).expect("zstd");
        assert_eq!(lines, b"{ \"seq\":  1}\n");
    }

    #[test]
    fn the_same_records_have_the_same_key_and_others_another() {
        let first = batch(&["{\"seq\":1}", "{\"seq\":2}"]);
        assert_eq!(first.key(), batch(&["{\"seq\":1}", "{\"seq\":2}"]).key());
        assert_eq!(first.key().len(), 32);
        for other in [&["{\"seq\":1}"][..], &["{\"seq\":2}", "{\"seq\":1}"]] {
            assert_ne!(first.key(), batch(other).key(), "{other:?}");
        }
    }
}
