//! Fuzzing on stable Rust, in bounded time.
//!
//! Each target is a plain function over bytes that must not panic. [`mutate::drive`] feeds it with
//! mutations of a corpus of valid inputs for `EIR_FUZZ_SECONDS` (5 by default) and, on a panic, prints
//! the seed and the input. `EIR_FUZZ_SEED` repeats a run; without it every run takes another way.
//!
//! A new target is a file like `decode.rs` and a line here.

mod decode;
mod escalate;
#[cfg(feature = "grpc")]
mod grpc;
mod mutate;
mod oip;
mod package;
mod rules;
