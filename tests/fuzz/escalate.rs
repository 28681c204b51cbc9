//! Whatever a remote answers is an answer or a mistake, in either protocol.

use eir::action::escalate::plain;
use eir::oip::client;

use crate::mutate::drive;

#[test]
fn open_inference_protocol() {
    let json = r#"{"id":"42","outputs":[{"name":"y","shape":[3,2],"datatype":"FP32","data":[1.0,1.1,[2.0,2.1],3,3.1]}]}"#;
    let head = r#"{"model_name":"m","model_version":"1","outputs":[
        {"name":"x","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":3}},
        {"name":"y","shape":[1,2],"datatype":"FP16","parameters":{"binary_data_size":4}}]}"#;
    let framed = |head: &str, bytes: &[u8]| {
        let length = u16::try_from(head.len()).expect("short");
        [&length.to_le_bytes()[..], head.as_bytes(), bytes].concat()
    };
    let corpus = [framed(json, b""), framed(head, b"abc\x00\x3c\x00\x40"), framed("{}", b"")];
    drive("oip", &corpus, |data| {
        // The first two bytes are what the header tells.
        let Some((length, body)) = data.split_first_chunk() else { return };
        let header = u16::from_le_bytes(*length).to_string();
        for header in [Some(&*header), None] {
            match client::answer(header, body, &["y"]) {
                Ok(found) => {
                    let [tensor] = &*found.tensors else { panic!("{found:?}") };
                    assert_eq!(tensor.data().len(), tensor.shape().iter().product::<usize>());
                }
                Err(error) => assert!(error.to_string().len() < 800, "{error}"),
            }
        }
    });
}

#[test]
fn plain_json() {
    let corpus: Vec<Vec<u8>> = [
        r#"{"task":"anomaly","score":0.75}"#,
        r#"{"prediction":{"task":"classification","label":"a","score":0.5,"scores":{"a":0.5,"b":0.5}},"model":"m","version":4}"#,
        r#"{"task":"detection","detections":[{"label":"a","score":1e3,"x":0,"y":1,"w":2,"h":3}]}"#,
        r#"{"task":"tensor","shape":[2],"values":[1,2]}"#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .into();
    drive("plain", &corpus, |data| drop(plain::answer(data)));
}
