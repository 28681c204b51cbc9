//! Numbers in text, as a serial port or a spreadsheet gives them.

use super::config::{Separator, TextConfig};
use super::{DecodeError, MAX_CHANNELS, MAX_VALUES};
use crate::event::{Order, Samples};

pub(super) fn check(config: &TextConfig) -> Result<(), DecodeError> {
    if (1..=MAX_CHANNELS).contains(&config.channels) {
        Ok(())
    } else {
        let value = format!("channels = {}", config.channels);
        Err(DecodeError::Config { value, reason: "must be 1 to 4096" })
    }
}

pub(super) fn decode(config: &TextConfig, payload: &[u8]) -> Result<Samples, DecodeError> {
    let text = str::from_utf8(payload).map_err(|error| DecodeError::Syntax {
        format: "text",
        reason: format!("byte {} is not UTF-8", error.valid_up_to()),
    })?;
    let mut values = Vec::new();
    for line in text.lines() {
        read_line(config.separator, line, &mut values)?;
    }
    if values.is_empty() {
        return Err(DecodeError::Empty { what: "the text".to_owned() });
    }
    if !values.len().is_multiple_of(config.channels) {
        return Err(DecodeError::WrongLength {
            place: "the payload".to_owned(),
            found: format!("{} numbers", values.len()),
            wanted: format!("no multiple of {} channels", config.channels),
        });
    }
    Ok(Samples { channels: config.channels, order: Order::Interleaved, values })
}

/// Between two separators there must be a number; behind the last one of a line there need not.
fn read_line(separator: Separator, line: &str, values: &mut Vec<f32>) -> Result<(), DecodeError> {
    let separates = |c: char| match separator {
        Separator::Any => c == ',' || c == ';',
        Separator::Comma => c == ',',
        Separator::Semicolon => c == ';',
        Separator::Whitespace => false,
    };
    let spaced = matches!(separator, Separator::Any | Separator::Whitespace);
    let mut cells = line.split(separates).map(str::trim).peekable();
    while let Some(cell) = cells.next() {
        match cell {
            "" if cells.peek().is_none() => {}
            "" => {
                return Err(DecodeError::Syntax {
                    format: "list of numbers",
                    reason: format!("nothing stands where number {} should", values.len()),
                });
            }
            cell if spaced => {
                for word in cell.split_whitespace() {
                    read_number(word, values)?;
                }
            }
            cell => read_number(cell, values)?,
        }
    }
    Ok(())
}

fn read_number(word: &str, values: &mut Vec<f32>) -> Result<(), DecodeError> {
    let place = || format!("number {}", values.len());
    let value: f32 = word.parse().map_err(|_| DecodeError::WrongType {
        place: place(),
        found: format!("{:?}", word.chars().take(20).collect::<String>()),
    })?;
    if !value.is_finite() {
        return Err(DecodeError::NotFinite { place: place() });
    }
    if values.len() == MAX_VALUES {
        return Err(DecodeError::TooMany { limit: MAX_VALUES });
    }
    values.push(value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(channels: usize, separator: Separator, text: &str) -> Result<Samples, DecodeError> {
        decode(&TextConfig { channels, separator }, text.as_bytes())
    }

    #[test]
    fn people_write_numbers_in_many_ways() {
        for good in ["1,2,3", "1 2 3", " 1;2\t3 \r\n", "1, 2, 3,\n", "1\n2\n\n3", "+1e0;2.;.3e1"] {
            let found = text(1, Separator::Any, good).expect(good);
            assert_eq!(found.values, [1., 2., 3.], "{good:?}");
        }
        let found = text(3, Separator::Comma, "1,2,3\n4,5,6").expect("rows");
        assert_eq!((found.channels, found.len(), found.at(1, 0)), (3, 2, 4.0));
    }

    #[test]
    fn what_is_no_number_is_named() {
        for (channels, separator, bad, kind, named) in [
            (1, Separator::Any, "1,,2", "syntax", "number 1"),
            (1, Separator::Any, "1,x=2", "wrong_type", "number 1 is \"x=2\""),
            (1, Separator::Comma, "1 2", "wrong_type", "\"1 2\""),
            (1, Separator::Semicolon, "1,5;2", "wrong_type", "\"1,5\""),
            (1, Separator::Any, "1 nan", "not_finite", "number 1"),
            (1, Separator::Any, "1e39", "not_finite", "number 0"),
            (2, Separator::Any, "1 2 3", "wrong_length", "3 numbers"),
            (1, Separator::Any, " \n", "empty", "text"),
        ] {
            let error = text(channels, separator, bad).expect_err(bad);
            assert_eq!(error.kind(), kind, "{bad:?}");
            assert!(error.to_string().contains(named), "{error}");
        }
        let error = decode(&TextConfig::default(), &[b'1', 0xFF]).expect_err("not UTF-8");
        assert_eq!(error.kind(), "syntax");
        assert!(check(&TextConfig { channels: 0, ..TextConfig::default() }).is_err());
    }

    proptest! {
        #[test]
        fn numbers_survive_the_round_trip(
            values in prop::collection::vec(-1e30_f32..1e30, 1..50), separator in "[,; \n]"
        ) {
            let words: Vec<_> = values.iter().map(f32::to_string).collect();
            let found = text(1, Separator::Any, &words.join(&separator)).expect("numbers");
            prop_assert_eq!(found.values, values);
        }
    }
}
