//! A sample in two parts, where a cloud takes files beside records: its input, and what is said of it.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::outbox::Record;

/// The key of a sample's body that holds its input.
const INPUT: &str = "input";

/// The input of a sample.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct File {
    /// The id of the record and what kind of file it is: `<id>.jpg`.
    pub name: String,
    pub content_type: String,
    pub bytes: Vec<u8>,
    pub device: String,
    pub pipeline: String,
    pub sampler: String,
}

/// What stands in the record in the place of its input.
#[derive(Debug, Serialize)]
struct Elsewhere<'a> {
    content_type: &'a str,
    bytes: usize,
    upload: String,
}

#[derive(Deserialize)]
struct Line {
    id: String,
    device: String,
    body: Body,
}

#[derive(Deserialize)]
struct Body {
    pipeline: String,
    sampler: String,
    input: Box<RawValue>,
}

/// An input as a record holds it: a picture is a file already, everything else is kept as JSON.
enum Input<'a> {
    Picture(Picture),
    Json(&'a str),
}

#[derive(Deserialize)]
struct Picture {
    content_type: String,
    base64: String,
}

impl<'a> Input<'a> {
    fn of(json: &'a RawValue) -> Self {
        serde_json::from_str(json.get()).map_or(Self::Json(json.get()), Self::Picture)
    }

    fn content_type(&self) -> &str {
        match self {
            Self::Picture(picture) => &picture.content_type,
            Self::Json(_) => "application/json",
        }
    }

    fn length(&self) -> usize {
        match self {
            Self::Picture(Picture { base64, .. }) => {
                let filling = base64.bytes().rev().take_while(|byte| *byte == b'=').count();
                (base64.len() / 4 * 3).saturating_sub(filling)
            }
            Self::Json(text) => text.len(),
        }
    }

    fn name(&self, id: &impl std::fmt::Display) -> String {
        let extension = match self.content_type() {
            "image/jpeg" => "jpg",
            "image/png" => "png",
            "application/json" => "json",
            _ => "bin",
        };
        format!("{id}.{extension}")
    }
}

/// The record of a sample without its input, which names the file instead.
pub(super) fn without_input(mut record: Record) -> Record {
    if let Some(body) = shortened(&record) {
        record.body = body;
    }
    record
}

fn shortened(record: &Record) -> Option<Box<RawValue>> {
    let mut body: BTreeMap<&str, Box<RawValue>> = serde_json::from_str(record.body.get()).ok()?;
    let input = body.remove(INPUT)?;
    let input = Input::of(&input);
    let elsewhere = Elsewhere {
        content_type: input.content_type(),
        bytes: input.length(),
        upload: input.name(&record.id),
    };
    body.insert(INPUT, to_raw_value(&elsewhere).ok()?);
    to_raw_value(&body).ok()
}

/// The input of a sample, out of the JSON of its record. An error says why there is none.
pub(super) fn file(line: &[u8]) -> Result<File, String> {
    let line: Line = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let Line { id, device, body: Body { pipeline, sampler, input } } = line;
    let input = Input::of(&input);
    let (name, content_type) = (input.name(&id), input.content_type().to_owned());
    let bytes = match input {
        Input::Picture(Picture { base64, .. }) => {
            STANDARD.decode(base64).map_err(|error| error.to_string())?
        }
        Input::Json(text) => text.as_bytes().to_vec(),
    };
    Ok(File { name, content_type, bytes, device, pipeline, sampler })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(input: &serde_json::Value) -> Vec<u8> {
        let line = json!({
            "v": 1, "id": "019a", "origin": null, "device": "press-07", "epoch": 1, "seq": 2, "kind": "sample",
            "at": "2026-03-01T10:00:00Z",
            "body": { "pipeline": "bearing", "sampler": "hard", "prediction": {}, "input": input }
        });
        line.to_string().into_bytes()
    }

    #[test]
    fn a_picture_is_the_file_that_it_was_and_numbers_are_json() {
        for (kind, name) in
            [("image/jpeg", "019a.jpg"), ("image/png", "019a.png"), ("image/x-unknown", "019a.bin")]
        {
            for bytes in [&b"\xff\xd8\xff"[..], b"1234", b"12345", b""] {
                let input = json!({ "content_type": kind, "base64": STANDARD.encode(bytes) });
                let found = file(&line(&input)).expect("a file");
                assert_eq!((&*found.name, &*found.content_type), (name, kind));
                assert_eq!(found.bytes, bytes);
                assert_eq!((&*found.device, &*found.sampler), ("press-07", "hard"));
                let input = to_raw_value(&input).expect("json");
                assert_eq!(Input::of(&input).length(), bytes.len());
            }
        }
        let input = json!({ "channels": 1, "interleaved": true, "values": [0.5, 1.0] });
        let found = file(&line(&input)).expect("a file");
        assert_eq!((&*found.name, &*found.content_type), ("019a.json", "application/json"));
        let again: serde_json::Value = serde_json::from_slice(&found.bytes).expect("json");
        assert_eq!(again, input);
    }

    #[test]
    fn what_holds_no_input_says_so() {
        for (line, told) in [
            (&b"{}"[..], "missing field `id`"),
            (b"not json", "expected"),
            (&line(&json!({ "content_type": "image/png", "base64": "?" })), "Invalid"),
        ] {
            let error = file(line).expect_err(told);
            assert!(error.contains(told), "{error}");
        }
    }
}
