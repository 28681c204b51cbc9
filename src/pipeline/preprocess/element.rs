//! One number in the element type of a model.

use half::f16;

/// What a tensor is made of.
pub(super) trait Element: Copy + Default {
    /// Rounded to the nearest (halves to even) and saturated where the type is an integer.
    fn from_f32(value: f32) -> Self;
}

macro_rules! integers {
    ($($(#[$lint:meta])? $type:ty;)*) => {
        $(impl Element for $type {
            $(#[$lint])?
            #[expect(clippy::cast_possible_truncation, reason = "`as` saturates")]
            fn from_f32(value: f32) -> Self {
                value.round_ties_even() as Self
            }
        })*
    };
}

integers! {
    #[expect(clippy::cast_sign_loss, reason = "`as` saturates")] u8;
    #[expect(clippy::cast_sign_loss, reason = "`as` saturates")] u16;
    #[expect(clippy::cast_sign_loss, reason = "`as` saturates")] u32;
    #[expect(clippy::cast_sign_loss, reason = "`as` saturates")] u64;
    i8; i16; i32; i64;
}

impl Element for bool {
    fn from_f32(value: f32) -> Self {
        value != 0.0
    }
}

impl Element for f16 {
    fn from_f32(value: f32) -> Self {
        Self::from_f32(value)
    }
}

impl Element for f32 {
    fn from_f32(value: f32) -> Self {
        value
    }
}

impl Element for f64 {
    fn from_f32(value: f32) -> Self {
        Self::from(value)
    }
}

/// Runs `$body` with the vector of whatever type [`crate::event::Data`] holds.
macro_rules! with_elements {
    ($data:expr, $values:ident => $body:expr) => {
        match $data {
            crate::event::Data::Bool($values) => $body,
            crate::event::Data::U8($values) => $body,
            crate::event::Data::I8($values) => $body,
            crate::event::Data::U16($values) => $body,
            crate::event::Data::I16($values) => $body,
            crate::event::Data::U32($values) => $body,
            crate::event::Data::I32($values) => $body,
            crate::event::Data::U64($values) => $body,
            crate::event::Data::I64($values) => $body,
            crate::event::Data::F16($values) => $body,
            crate::event::Data::F32($values) => $body,
            crate::event::Data::F64($values) => $body,
            // `Preparer` takes none.
            crate::event::Data::String(_) => {}
        }
    };
}
pub(super) use with_elements;
