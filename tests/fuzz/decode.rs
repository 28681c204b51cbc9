//! Payloads: whatever comes in, a decoder answers with an input or an error.

use eir::event::{DType, Input};
use eir::package::Fit;
use eir::pipeline::decode::{
    DecodeConfig, Decoder, Endian, ImageConfig, JsonConfig, RawConfig, RawOrder, TextConfig,
    Wanted, pointer_text,
};

use crate::mutate::drive;

fn check(decoder: &Decoder, payload: &[u8]) {
    match decoder.decode(payload) {
        Ok(Input::Samples(samples)) => {
            assert!(samples.channels > 0 && !samples.values.is_empty());
            assert!(samples.values.len().is_multiple_of(samples.channels));
            assert!(samples.values.iter().all(|value| value.is_finite()));
        }
        Ok(Input::Frame(frame)) => {
            let pixels = frame.width as usize * frame.height as usize;
            assert!(pixels > 0 && frame.data.len() == pixels * frame.pixels.channels());
        }
        Err(error) => assert!(error.to_string().len() < 400, "{error}"),
    }
    if let Some((thumbnail, _)) = decoder.glance(payload) {
        assert!(thumbnail.changed_since(&thumbnail) < f32::EPSILON);
    }
}

fn decoder(config: &DecodeConfig) -> Decoder {
    Decoder::new(config).expect("a configuration")
}

#[test]
fn json() {
    let corpus: Vec<Vec<u8>> = [
        r#"{"x":[0.1,-2,3e2],"y":[4,5,6],"z":[7.5,8,9],"seq":17}"#,
        r#"{"a":{"b":[[1,2,3],[4,5,6]]},"id":"m-1","t":"2026-01-01T00:00:00Z"}"#,
        r#"[{"x":1,"y":2},{"x":3,"y":null}]"#,
        r#"{"x":NaN,"y":Infinity,"\u00e9":true}"#,
        "[[[[[[1]]]]]]",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into();
    let fields = [&["/x", "/y"][..], &["/a/b"], &["/0/x", "/1/x"], &[""], &[]];
    let decoders = fields.map(|fields| {
        let fields = fields.iter().map(|field| (*field).to_owned()).collect();
        decoder(&DecodeConfig::Json(JsonConfig { fields }))
    });
    drive("json", &corpus, |payload| {
        for decoder in &decoders {
            check(decoder, payload);
        }
        for pointer in ["/seq", "/a/b/0/1", "/id", ""] {
            let text = pointer_text(payload, pointer).unwrap_or_default();
            assert!(text.len() <= 128);
        }
    });
}

#[test]
fn raw_and_text() {
    let floats: Vec<u8> = [1.5_f32, -2.0, 1e30, 0.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let corpus = vec![
        floats,
        b"1.5,2;3 4\n5e-3,\n".to_vec(),
        b"-1 +2 .5 6. inf nan".to_vec(),
        "1,5;2,5 \u{2003}3".as_bytes().to_vec(),
    ];
    let mut decoders = vec![decoder(&DecodeConfig::Text(TextConfig::default()))];
    decoders
        .push(decoder(&DecodeConfig::Text(TextConfig { channels: 3, ..TextConfig::default() })));
    for (dtype, shape) in [
        (DType::F32, vec![]),
        (DType::F16, vec![0, 2]),
        (DType::F64, vec![2]),
        (DType::I16, vec![0, 4]),
    ] {
        let (endian, order) = (Endian::Big, RawOrder::Planar);
        decoders.push(decoder(&DecodeConfig::Raw(RawConfig { dtype, shape, endian, order })));
    }
    drive("raw and text", &corpus, |payload| {
        for decoder in &decoders {
            check(decoder, payload);
        }
    });
}

#[test]
fn image() {
    let corpus: Vec<Vec<u8>> = [
        &include_bytes!("../data/images/baseline.jpg")[..],
        include_bytes!("../data/images/progressive.jpg"),
        include_bytes!("../data/images/restart.jpg"),
        include_bytes!("../data/images/gray.jpg"),
        include_bytes!("../data/images/cmyk.jpg"),
        include_bytes!("../data/images/palette.png"),
    ]
    .map(<[u8]>::to_vec)
    .into();
    // Small enough that a mutated size is either refused or quickly decoded.
    let max_pixels = "100k".parse().expect("a count");
    let config = DecodeConfig::Image(ImageConfig { max_pixels, ..ImageConfig::default() });
    let decoder = decoder(&config);
    drive("image", &corpus, |payload| check(&decoder, payload));
    let half = decoder.wanted(vec![Wanted { size: [1, 1], fit: Fit::Stretch }]);
    drive("image-half", &corpus, |payload| check(&half, payload));
}
