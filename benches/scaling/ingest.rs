//! What an envelope costs before any model: made, queued, taken and decoded, on one thread.

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use eir::event::{Ack, DType, Envelope, Topics};
use eir::pipeline::decode::{DecodeConfig, Decoder, JsonConfig, RawConfig};
use eir::task::{Clock, Queue, SystemClock, WhenFull};

const BATCH: usize = 32;
const ROUNDS: usize = 20_000;

pub(crate) fn run() {
    println!("\n{:<48}{:>26}", "ingest", "envelopes/s on one core");
    let json = |fields: &[&str]| {
        let fields = fields.iter().map(ToString::to_string).collect();
        DecodeConfig::Json(JsonConfig { fields })
    };
    let axes = br#"{"seq":1000000000,"x":0.251,"y":-1.503,"z":9.812}"#;
    let numbers: Vec<f32> = (0..32_u8).map(|at| f32::from(at) * 0.031 - 0.5).collect();
    let many = serde_json::json!({ "seq": 1_000_000_000, "x": numbers.iter().map(|it| f64::from((it * 1e3).round()) / 1e3).collect::<Vec<_>>() }).to_string();
    let bytes: Vec<u8> = numbers.iter().flat_map(|it| it.to_le_bytes()).collect();
    let (endian, order) = Default::default();
    let raw = RawConfig { dtype: DType::F32, shape: Vec::new(), endian, order };
    measure("JSON, 3 numbers", &json(&["/x", "/y", "/z"]), axes);
    measure("JSON, 32 numbers of 3 decimals", &json(&["/x"]), many.as_bytes());
    measure("raw, 32 float32", &DecodeConfig::Raw(raw), &bytes);
}

fn measure(what: &str, config: &DecodeConfig, payload: &[u8]) {
    let decoder = Decoder::new(config).expect("a decoder");
    let queue = Queue::new(8192, WhenFull::DropOldest);
    let mut topics = Topics::<()>::default();
    let mut taken = Vec::with_capacity(BATCH);
    let mut best = 0.0_f64;
    for _ in 0..5 {
        let begin = Instant::now();
        for _ in 0..ROUNDS / 5 {
            for _ in 0..BATCH {
                let topic = topics.get("plant/7/vibration", |_| Ok::<_, Infallible>(()));
                let Ok((topic, ())) = topic;
                let payload: Arc<[u8]> = black_box(payload).into();
                queue.push(Envelope {
                    topic,
                    payload,
                    received_at: SystemClock.now(),
                    redelivered: false,
                    id: None,
                    correlation: None,
                    traceparent: None,
                    ack: Ack::none(),
                });
            }
            queue.pop_into(&mut taken, BATCH);
            for envelope in taken.drain(..) {
                black_box(decoder.decode(&envelope.payload).expect("numbers"));
                envelope.ack.settle();
            }
        }
        best = best.max((ROUNDS / 5 * BATCH) as f64 / begin.elapsed().as_secs_f64());
    }
    println!("{what:<48}{best:>26.0}");
}
