//! The elements of a tensor: as JSON, flat or nested, and as bytes, lowest first; texts behind their length in 32 bits.

use std::fmt;

use half::f16;
use serde::de::value::Error as ValueError;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, IntoDeserializer, SeqAccess, Visitor,
};

use serde::{Serialize, Serializer};

use super::text_of;
use crate::event::{DType, Data};

/// Element types that have one form as bytes.
macro_rules! numbers {
    ($($variant:ident $type:ty;)*) => {
        /// Adds the bytes of the elements.
        pub(super) fn write(data: &Data, bytes: &mut Vec<u8>) {
            match data {
                Data::Bool(values) => bytes.extend(values.iter().map(|value| u8::from(*value))),
                Data::String(texts) => {
                    for text in texts {
                        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
                        bytes.extend(length.to_le_bytes());
                        bytes.extend(text.as_bytes());
                    }
                }
                $(Data::$variant(values) => {
                    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                })*
            }
        }

        /// Reads the elements of so many bytes; `None` where the last is not whole, a truth is neither 0 nor 1, or a text
        /// is none.
        pub(super) fn read(dtype: DType, bytes: &[u8]) -> Option<Data> {
            match dtype {
                DType::Bool => {
                    let truth = |byte: &u8| (*byte <= 1).then_some(*byte == 1);
                    bytes.iter().map(truth).collect::<Option<Vec<_>>>().map(Data::Bool)
                }
                DType::String => texts(bytes).map(Data::String),
                $(DType::$variant => {
                    let (whole, rest) = bytes.as_chunks();
                    let values = || whole.iter().map(|bytes| <$type>::from_le_bytes(*bytes));
                    rest.is_empty().then(|| Data::$variant(values().collect()))
                })*
            }
        }

        /// Elements as JSON writes them: flat.
        #[derive(Debug)]
        pub(super) struct Elements<'a>(pub(super) &'a Data);

        impl Serialize for Elements<'_> {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                match self.0 {
                    Data::Bool(values) => values.serialize(to),
                    Data::String(texts) => texts.serialize(to),
                    $(Data::$variant(values) => {
                        to.collect_seq(values.iter().copied().map(json::$variant))
                    })*
                }
            }
        }
    };
}

/// Texts, each behind its length.
fn texts(mut bytes: &[u8]) -> Option<Vec<String>> {
    let mut texts = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (text, rest) = rest.split_at_checked(length)?;
        texts.push(text_of(text)?);
        bytes = rest;
    }
    bytes.is_empty().then_some(texts)
}

/// What JSON has of each type.
#[expect(non_snake_case, reason = "each is named as its type is")]
mod json {
    macro_rules! same {
        ($($variant:ident $type:ty;)*) => {
            $(pub(super) const fn $variant(value: $type) -> $type { value })*
        };
    }
    same! { U8 u8; I8 i8; U16 u16; I16 i16; U32 u32; I32 i32; U64 u64; I64 i64; F32 f32; F64 f64; }
    pub(super) fn F16(value: half::f16) -> f32 {
        value.to_f32()
    }
}

numbers! {
    U8 u8; I8 i8; U16 u16; I16 i16; U32 u32; I32 i32; U64 u64; I64 i64; F16 f16; F32 f32; F64 f64;
}

/// Reads the elements of JSON, whatever the depth of its arrays; one more than `most` is an error.
pub(super) fn read_json(dtype: DType, json: &str, most: usize) -> Result<Data, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let data = Typed { dtype, most }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(data)
}

/// The same within a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Typed {
    pub dtype: DType,
    pub most: usize,
}

impl<'de> DeserializeSeed<'de> for Typed {
    type Value = Data;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Data, D::Error> {
        let most = self.most;
        Ok(match self.dtype {
            DType::Bool => Data::Bool(flat(from, most)?),
            DType::U8 => Data::U8(flat(from, most)?),
            DType::I8 => Data::I8(flat(from, most)?),
            DType::U16 => Data::U16(flat(from, most)?),
            DType::I16 => Data::I16(flat(from, most)?),
            DType::U32 => Data::U32(flat(from, most)?),
            DType::I32 => Data::I32(flat(from, most)?),
            DType::U64 => Data::U64(flat(from, most)?),
            DType::I64 => Data::I64(flat(from, most)?),
            DType::F16 => Data::F16(flat(from, most)?.into_iter().map(f16::from_f32).collect()),
            DType::F32 => Data::F32(flat(from, most)?),
            DType::F64 => Data::F64(flat(from, most)?),
            DType::String => Data::String(flat(from, most)?),
        })
    }
}

/// So many elements have a place before the first is read.
const ROOM: usize = 1024;

fn flat<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    from: D,
    most: usize,
) -> Result<Vec<T>, D::Error> {
    let mut values = Vec::with_capacity(most.min(ROOM));
    Flat { values: &mut values, most }.deserialize(from)?;
    Ok(values)
}

/// Takes one element, or an array of whatever it takes.
struct Flat<'a, T> {
    values: &'a mut Vec<T>,
    most: usize,
}

impl<T: DeserializeOwned> Flat<'_, T> {
    fn take<'de, E: Error>(self, element: impl IntoDeserializer<'de, ValueError>) -> Result<(), E> {
        if self.values.len() >= self.most {
            return Err(E::custom(format_args!("more than {} elements", self.most)));
        }
        let read = T::deserialize(element.into_deserializer());
        self.values.push(read.map_err(E::custom)?);
        Ok(())
    }
}

impl<'de, T: DeserializeOwned> DeserializeSeed<'de> for Flat<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, T: DeserializeOwned> Visitor<'de> for Flat<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers, or arrays of numbers")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.take(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.take(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.take(value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.take(value)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        if text.contains('\0') {
            return Err(E::custom("a text with a NUL in it"));
        }
        self.take(text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        let Self { values, most } = self;
        while sequence.next_element_seed(Flat { values, most })?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [DType; 13] = [
        DType::Bool,
        DType::U8,
        DType::I8,
        DType::U16,
        DType::I16,
        DType::U32,
        DType::I32,
        DType::U64,
        DType::I64,
        DType::F16,
        DType::F32,
        DType::F64,
        DType::String,
    ];

    #[test]
    fn every_type_reads_what_it_wrote() {
        for dtype in ALL {
            let json = match dtype {
                DType::Bool => "[true, [false]]",
                // As many bytes as their lengths.
                DType::String => "[\"\", [\"\"]]",
                _ => "[1, [0]]",
            };
            let data = read_json(dtype, json, 2).expect("elements");
            let mut bytes = Vec::new();
            write(&data, &mut bytes);
            assert_eq!(bytes.len(), 2 * dtype.size(), "{dtype}");
            assert_eq!(read(dtype, &bytes), Some(data), "{dtype}");
            bytes.push(9);
            // Of one byte more nothing is left over where an element is one.
            assert_eq!(read(dtype, &bytes).is_some(), dtype.size() == 1 && dtype != DType::Bool);
        }
    }

    #[test]
    fn bytes_are_lowest_first() {
        let mut bytes = Vec::new();
        write(&Data::U32(vec![0x0102_0304]), &mut bytes);
        write(&Data::F32(vec![1.0]), &mut bytes);
        assert_eq!(bytes, [4, 3, 2, 1, 0, 0, 0x80, 0x3F]);
    }

    #[test]
    fn texts_have_their_length_before_them() {
        let data = Data::String(vec!["a".to_owned(), "é".to_owned()]);
        let mut bytes = Vec::new();
        write(&data, &mut bytes);
        assert_eq!(bytes, [1, 0, 0, 0, b'a', 2, 0, 0, 0, 0xC3, 0xA9]);
        assert_eq!(read(DType::String, &bytes), Some(data));
        for wrong in [&bytes[..10], &bytes[..3], &[1, 0, 0, 0, 0xC3], &[1, 0, 0, 0, 0], &[255; 4]] {
            assert_eq!(read(DType::String, wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn json_may_be_nested_and_is_bounded() {
        let nested = read_json(DType::F32, "[[1.5, -2], [3, [4.25]]]", 4).expect("numbers");
        assert_eq!(nested, Data::F32(vec![1.5, -2.0, 3.0, 4.25]));
        assert_eq!(read_json(DType::I64, "7", 1).expect("a number"), Data::I64(vec![7]));
        let large = read_json(DType::U64, "[18446744073709551615]", 1).expect("exact");
        assert_eq!(large, Data::U64(vec![u64::MAX]));
        for (dtype, json) in [
            (DType::F32, "[1, 2, 3]"),
            (DType::U8, "[256]"),
            (DType::U8, "[-1]"),
            (DType::I32, "[1.5]"),
            (DType::F32, "[null]"),
            (DType::F32, "[\"1\"]"),
            (DType::String, "[1]"),
            (DType::String, "[\"a\\u0000\"]"),
            (DType::F32, "{}"),
            (DType::F32, "[1"),
            (DType::Bool, "[1]"),
            (DType::F32, "[true]"),
            (DType::F32, "[1] 2"),
        ] {
            assert!(read_json(dtype, json, 2).is_err(), "{dtype} {json}");
        }
        assert!(read_json(DType::F32, &"[".repeat(100_000), 2).is_err(), "no depth is too much");
    }

    proptest! {
        #[test]
        fn any_text_and_any_bytes_are_numbers_or_a_mistake(
            text in any::<String>(),
            bytes in any::<Vec<u8>>(),
        ) {
            for dtype in ALL {
                let _numbers = read_json(dtype, &text, 100);
                let _numbers = read(dtype, &bytes);
            }
        }
    }
}
