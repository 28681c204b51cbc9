//! Bytes into meaning: a payload becomes numbers or pixels, or an error with a name.
//!
//! A decoder is made once from the configuration and looks at nothing but the payload: no topic, no
//! file name, no state. Whatever the payload holds, the answer is an [`Input`] or a [`DecodeError`].

mod capture;
mod config;
mod cursor;
mod error;
mod image;
mod jpeg;
mod json;
mod number;
mod pointer;
mod raw;
mod text;
mod thumbnail;

pub use config::{
    DecodeConfig, Endian, ImageConfig, JsonConfig, RawConfig, RawOrder, Separator, TextConfig,
};
pub use error::DecodeError;
pub use pointer::{check_pointer, pointer_text};
pub use thumbnail::Thumbnail;

use crate::event::{Frame, Input};
use crate::package::Fit;

/// No message gives more numbers than this (16 MiB of them).
pub const MAX_VALUES: usize = 1 << 22;

/// No message gives more channels than this.
pub const MAX_CHANNELS: usize = 4096;

/// Turns payloads of one kind into inputs.
#[derive(Debug, Clone)]
pub struct Decoder(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Json(json::JsonDecoder),
    Raw(raw::RawDecoder),
    Text(TextConfig),
    Image(ImageConfig, Vec<Wanted>),
}

/// What becomes of a picture: so it fits into the input of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Width and height of the input.
    pub size: [u32; 2],
    /// How the picture is fitted into it.
    pub fit: Fit,
}

impl Wanted {
    /// Nothing is lost where a picture of this size is made half as large first.
    fn needs_half(&self, source: [u32; 2]) -> bool {
        let [across, down] = [0, 1].map(|axis| self.size[axis] * 2 <= source[axis]);
        // Letterboxed, the longer side of the two decides, and fills the input.
        if self.fit == Fit::Letterbox { across || down } else { across && down }
    }
}

impl Decoder {
    /// Checks the configuration; the error names the value that cannot be.
    pub fn new(config: &DecodeConfig) -> Result<Self, DecodeError> {
        Ok(Self(match config {
            DecodeConfig::Json(json) => Kind::Json(json::JsonDecoder::new(&json.fields)?),
            DecodeConfig::Raw(raw) => Kind::Raw(raw::RawDecoder::new(raw)?),
            DecodeConfig::Text(text) => {
                text::check(text)?;
                Kind::Text(text.clone())
            }
            DecodeConfig::Image(image) => Kind::Image(image.clone(), Vec::new()),
        }))
    }

    /// Pictures are only ever made into these: where half the size of a JPEG is enough for them, that is what it is
    /// decoded to, at less cost. Does nothing where the configuration wants whole ones.
    #[must_use]
    pub fn wanted(mut self, all: Vec<Wanted>) -> Self {
        if let Kind::Image(ImageConfig { scaled: true, .. }, wanted) = &mut self.0 {
            *wanted = all;
        }
        self
    }

    /// Decodes one payload. Numbers are finite and at least one; pictures have at least one pixel.
    pub fn decode(&self, payload: &[u8]) -> Result<Input, DecodeError> {
        if payload.is_empty() {
            return Err(DecodeError::Empty { what: "the payload".to_owned() });
        }
        match &self.0 {
            Kind::Json(decoder) => decoder.decode(payload).map(Input::Samples),
            Kind::Raw(decoder) => decoder.decode(payload).map(Input::Samples),
            Kind::Text(config) => text::decode(config, payload).map(Input::Samples),
            Kind::Image(config, wanted) => {
                let enough =
                    |size| !wanted.is_empty() && wanted.iter().all(|it| it.needs_half(size));
                image::decode(config, payload, enough).map(Input::Frame)
            }
        }
    }

    /// What it decodes are pictures.
    pub fn gives_pictures(&self) -> bool {
        matches!(self.0, Kind::Image(..))
    }

    /// What a picture shows in a few cells, at a fraction of the cost of decoding it wherever that can be; and
    /// the picture, where it cannot. `None`: it is no picture.
    pub fn glance(&self, payload: &[u8]) -> Option<(Thumbnail, Option<Frame>)> {
        match &self.0 {
            Kind::Image(config, _) => image::glance(config, payload),
            Kind::Json(_) | Kind::Raw(_) | Kind::Text(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn config(toml: &str) -> DecodeConfig {
        #[derive(serde::Deserialize)]
        struct Pipeline {
            decode: DecodeConfig,
        }
        toml::from_str::<Pipeline>(toml).expect(toml).decode
    }

    fn all() -> Vec<Decoder> {
        [
            r#"decode = { json = { fields = ["/x", "/y"] } }"#,
            r"decode = { json = {} }",
            r#"decode = { json = { fields = ["/a/0/b"] } }"#,
            r#"decode = { raw = { dtype = "f16" } }"#,
            r#"decode = { raw = { dtype = "i16", shape = [0, 3], endian = "big", order = "planar" } }"#,
            r"decode = { text = {} }",
            r#"decode = { image = { max_pixels = "1M" } }"#,
        ]
        .iter()
        .map(|toml| Decoder::new(&config(toml)).expect(toml))
        .collect()
    }

    #[test]
    fn the_configuration_reads_as_it_is_documented() {
        assert_eq!(
            config(r#"decode = { image = { max_pixels = "12M" } }"#),
            DecodeConfig::Image(ImageConfig::default())
        );
        assert_eq!(
            config(r#"decode = { raw = { dtype = "i16" } }"#),
            DecodeConfig::Raw(RawConfig {
                dtype: crate::event::DType::I16,
                shape: vec![],
                endian: Endian::Little,
                order: RawOrder::Interleaved
            })
        );
    }

    #[test]
    fn an_empty_payload_is_named_so() {
        for decoder in all() {
            assert_eq!(decoder.decode(&[]).map_err(|e| e.kind()), Err("empty"));
        }
    }

    #[test]
    fn a_jpeg_is_decoded_in_half_its_size_where_that_is_enough_for_every_model() {
        let mut file = Vec::new();
        let color = ::image::ExtendedColorType::Rgb8;
        ::image::codecs::jpeg::JpegEncoder::new(&mut file)
            .encode(&vec![90; 641 * 480 * 3], 641, 480, color)
            .expect("a JPEG");
        let size = |toml: &str, wanted: &[([u32; 2], Fit)]| {
            let wanted = wanted.iter().map(|&(size, fit)| Wanted { size, fit }).collect();
            let decoder = Decoder::new(&config(toml)).expect(toml).wanted(wanted);
            match decoder.decode(&file) {
                Ok(Input::Frame(frame)) => {
                    assert_eq!(frame.source, [641, 480]);
                    [frame.width, frame.height]
                }
                other => panic!("{other:?}"),
            }
        };
        let (usual, half, whole) = ("decode = { image = {} }", [321, 240], [641, 480]);
        assert_eq!(size(usual, &[]), whole);
        assert_eq!(size(usual, &[([224, 224], Fit::Stretch)]), half);
        assert_eq!(size(usual, &[([224, 240], Fit::Crop)]), half);
        for fit in [Fit::Stretch, Fit::Crop] {
            assert_eq!(size(usual, &[([320, 320], fit)]), whole, "{fit:?}");
        }
        assert_eq!(size(usual, &[([320, 320], Fit::Letterbox)]), half);
        assert_eq!(size(usual, &[([416, 416], Fit::Letterbox)]), whole);
        assert_eq!(size(usual, &[([224, 224], Fit::Stretch), ([480, 480], Fit::Stretch)]), whole);
        let all = "decode = { image = { scaled = false } }";
        assert_eq!(size(all, &[([224, 224], Fit::Stretch)]), whole);
    }

    proptest! {
        #[test]
        fn rubbish_never_panics(payload in prop::collection::vec(any::<u8>(), 0..400)) {
            for decoder in all() {
                check(decoder.decode(&payload));
            }
        }

        #[test]
        fn json_like_text_never_panics(
            payload in r#"([\[\]{},:]|"[xyab0/~]?"|-?[0-9]{1,3}(\.[0-9])?(e[0-9]{1,3})?|null|true| ){0,60}"#
        ) {
            for decoder in all() {
                check(decoder.decode(payload.as_bytes()));
            }
        }
    }

    fn check(result: Result<Input, DecodeError>) {
        match result {
            Ok(Input::Samples(samples)) => {
                assert!(samples.channels > 0 && !samples.is_empty());
                assert_eq!(samples.values.len() % samples.channels, 0);
                assert!(samples.values.iter().all(|v| v.is_finite()));
            }
            Ok(Input::Frame(frame)) => assert!(!frame.data.is_empty()),
            Err(error) => assert!(error.to_string().len() < 400, "{error}"),
        }
    }
}
