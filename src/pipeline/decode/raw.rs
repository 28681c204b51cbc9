//! Numbers in binary: dtype, byte order and shape come from the configuration.

use half::f16;

use super::config::{Endian, RawConfig, RawOrder};
use super::{DecodeError, MAX_CHANNELS, MAX_VALUES};
use crate::event::{DType, Order, Samples};

#[derive(Debug, Clone)]
pub(super) struct RawDecoder {
    dtype: DType,
    endian: Endian,
    order: Order,
    channels: usize,
    /// `None`: any number.
    instants: Option<usize>,
}

impl RawDecoder {
    pub(super) fn new(config: &RawConfig) -> Result<Self, DecodeError> {
        let refuse =
            |reason| DecodeError::Config { value: format!("shape = {:?}", config.shape), reason };
        if config.dtype == DType::String {
            let (value, reason) = ("dtype = \"string\"".to_owned(), "is no number");
            return Err(DecodeError::Config { value, reason });
        }
        let (outer, channels) = match config.shape.as_slice() {
            [] => (None, 1),
            [instants] => (Some(*instants), 1),
            [outer @ .., channels] => {
                (outer.iter().try_fold(1_usize, |n, d| n.checked_mul(*d)), *channels)
            }
        };
        if config.shape.iter().skip(1).any(|dim| *dim == 0) {
            return Err(refuse("has a 0; only the first dimension may stay open"));
        }
        let size = config.shape.iter().try_fold(1_usize, |n, d| n.checked_mul(*d));
        if channels > MAX_CHANNELS || size.is_none_or(|size| size > MAX_VALUES) {
            return Err(refuse("is too large; at most 4096 channels and 4194304 numbers fit"));
        }
        let inner: usize = config.shape.iter().skip(1).product();
        if outer == Some(0) && inner != channels && config.shape.len() > 2 {
            return Err(refuse("stays open; then it can have no more than two dimensions"));
        }
        Ok(Self {
            dtype: config.dtype,
            endian: config.endian,
            order: match config.order {
                RawOrder::Interleaved => Order::Interleaved,
                RawOrder::Planar => Order::Planar,
            },
            channels,
            instants: outer.filter(|n| *n > 0),
        })
    }

    pub(super) fn decode(&self, payload: &[u8]) -> Result<Samples, DecodeError> {
        let wrong = |wanted| DecodeError::WrongLength {
            place: "the payload".to_owned(),
            found: format!("{} bytes", payload.len()),
            wanted,
        };
        let one = self.dtype.size() * self.channels;
        match self.instants {
            Some(instants) if payload.len() != instants * one => {
                let Self { dtype, channels, .. } = self;
                let all = instants * one;
                return Err(wrong(format!("{instants} x {channels} of {dtype} are {all}")));
            }
            None if !payload.len().is_multiple_of(one) => {
                let Self { dtype, channels, .. } = self;
                return Err(wrong(format!("no multiple of {one} ({channels} of {dtype})")));
            }
            _ => {}
        }
        if payload.len() / self.dtype.size() > MAX_VALUES {
            return Err(DecodeError::TooMany { limit: MAX_VALUES });
        }
        let values = numbers(payload, self.dtype, self.endian);
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(DecodeError::NotFinite { place: format!("number {at}") }),
            None => Ok(Samples { channels: self.channels, order: self.order, values }),
        }
    }
}

/// Rounded to f32; what it cannot hold becomes infinite.
#[expect(clippy::cast_possible_truncation, reason = "see above")]
fn numbers(payload: &[u8], dtype: DType, endian: Endian) -> Vec<f32> {
    macro_rules! read {
        ($type:ty, $to_f32:expr) => {{
            let (chunks, _) = payload.as_chunks();
            let to_f32 = $to_f32;
            match endian {
                Endian::Little => {
                    chunks.iter().map(|c| to_f32(<$type>::from_le_bytes(*c))).collect()
                }
                Endian::Big => chunks.iter().map(|c| to_f32(<$type>::from_be_bytes(*c))).collect(),
            }
        }};
    }
    match dtype {
        DType::Bool => payload.iter().map(|b| f32::from(u8::from(*b != 0))).collect(),
        DType::U8 => payload.iter().map(|b| f32::from(*b)).collect(),
        DType::I8 => payload.iter().map(|b| f32::from(b.cast_signed())).collect(),
        DType::U16 => read!(u16, |x| f32::from(x)),
        DType::I16 => read!(i16, |x| f32::from(x)),
        DType::U32 => read!(u32, |x| x as f32),
        DType::I32 => read!(i32, |x| x as f32),
        DType::U64 => read!(u64, |x| x as f32),
        DType::I64 => read!(i64, |x| x as f32),
        DType::F16 => read!(f16, |x: f16| x.to_f32()),
        DType::F32 => read!(f32, |x| x),
        DType::F64 => read!(f64, |x| x as f32),
        // `RawDecoder::new` refuses it.
        DType::String => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn raw(dtype: DType, shape: &[usize], endian: Endian) -> RawConfig {
        RawConfig { dtype, shape: shape.to_vec(), endian, order: RawOrder::Interleaved }
    }

    fn decode(config: &RawConfig, payload: &[u8]) -> Result<Samples, DecodeError> {
        RawDecoder::new(config).expect("a shape").decode(payload)
    }

    #[test]
    fn every_type_in_both_orders() {
        let cases: [(DType, &[u8], f32); 12] = [
            (DType::Bool, &[7], 1.0),
            (DType::U8, &[200], 200.0),
            (DType::I8, &[200], -56.0),
            (DType::U16, &[0xFF, 0xFE], 65_534.0),
            (DType::I16, &[0xFF, 0xFE], -2.0),
            (DType::U32, &[0xFF, 0, 0, 0], 4_278_190_080.0),
            (DType::I32, &[0xFF, 0xFF, 0xFF, 0xFD], -3.0),
            (DType::U64, &[0, 0, 0, 1, 0, 0, 0, 0], 4_294_967_296.0),
            (DType::I64, &[255; 8], -1.0),
            (DType::F16, &[0x3E, 0x00], 1.5),
            (DType::F32, &[0xBF, 0x80, 0, 0], -1.0),
            (DType::F64, &[0x40, 0x04, 0, 0, 0, 0, 0, 0], 2.5),
        ];
        for (dtype, big, value) in cases {
            let little: Vec<u8> = big.iter().rev().copied().collect();
            let found = decode(&raw(dtype, &[], Endian::Big), big).expect("a number");
            assert_eq!(found.values, [value], "{dtype}");
            let found = decode(&raw(dtype, &[], Endian::Little), &little).expect("a number");
            assert_eq!(found.values, [value], "{dtype}");
        }
    }

    #[test]
    fn the_shape_is_kept_to() {
        let found = decode(&raw(DType::I8, &[2, 3], Endian::Little), &[1, 2, 3, 4, 5, 6]);
        assert_eq!(found.map(|s| (s.channels, s.len())), Ok((3, 2)));
        let found = decode(&raw(DType::I8, &[0, 3], Endian::Little), &[0; 9]);
        assert_eq!(found.map(|s| (s.channels, s.len())), Ok((3, 3)));
        for (shape, bytes) in [(&[2_usize, 3][..], 5_usize), (&[2, 3], 7), (&[0, 3], 4), (&[4], 3)]
        {
            let error = decode(&raw(DType::I8, shape, Endian::Little), &vec![0; bytes]);
            assert_eq!(error.map_err(|e| e.kind()), Err("wrong_length"), "{shape:?} {bytes}");
        }
        let error = RawDecoder::new(&raw(DType::String, &[], Endian::Little)).expect_err("texts");
        assert!(error.to_string().contains("is no number"), "{error}");
        let error = decode(&raw(DType::F32, &[], Endian::Little), &[0; 6]).expect_err("half");
        assert_eq!(error.to_string(), "the payload has 6 bytes, no multiple of 4 (1 of f32)");
    }

    #[test]
    fn a_shape_that_cannot_be_is_refused() {
        for shape in [&[3_usize, 0][..], &[0, 2, 3], &[usize::MAX, 2], &[1 << 23], &[1, 5000]] {
            let error = RawDecoder::new(&raw(DType::U8, shape, Endian::Little));
            assert_eq!(error.map(|_| ()).map_err(|e| e.kind()), Err("config"), "{shape:?}");
        }
    }

    #[test]
    fn what_is_not_finite_is_named() {
        let payload: Vec<u8> = [1.0, f32::NAN].iter().flat_map(|v| v.to_le_bytes()).collect();
        let error = decode(&raw(DType::F32, &[], Endian::Little), &payload).expect_err("NaN");
        assert_eq!(error.to_string(), "number 1 is not a finite 32-bit number");
        let error = decode(&raw(DType::F64, &[], Endian::Little), &1e300_f64.to_le_bytes());
        assert_eq!(error.map_err(|e| e.kind()), Err("not_finite"));
    }

    proptest! {
        #[test]
        fn numbers_survive_the_round_trip(values in prop::collection::vec(-1e30_f32..1e30, 1..50)) {
            let big: Vec<u8> = values.iter().flat_map(|v| v.to_be_bytes()).collect();
            let found = decode(&raw(DType::F32, &[], Endian::Big), &big).expect("numbers");
            prop_assert_eq!(found.values, values);
        }
    }
}
