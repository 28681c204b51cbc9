//! What a person would write in Rust for this one task, of the libraries that eir uses: what the machine allows, but for
//! sharing runs.

use eir::engine::{EngineKind, Form, Session, SessionOptions};
use eir::event::Tensor;
use eir::model::{Models, ModelsConfig};
use fast_image_resize::images::Image;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use serde::Deserialize;

const SIDE: u32 = 224;

#[derive(Deserialize)]
struct Told {
    seq: u64,
    x: Vec<f32>,
}

fn setting(name: &str) -> String {
    std::env::var(format!("BENCH_{name}")).expect("a setting")
}

pub(crate) fn run() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(serve());
}

async fn serve() {
    let qos = if setting("QOS") == "0" { QoS::AtMostOnce } else { QoS::AtLeastOnce };
    let threshold: f32 = setting("THRESHOLD").parse().expect("a number");
    let (is_camera, out) = (setting("KIND") == "camera", setting("OUT"));
    let (mut session, mut outputs) = (session(), Vec::new());

    let mut options =
        MqttOptions::new("plain", "127.0.0.1", setting("PORT").parse().expect("a port"));
    options.set_receive_maximum(Some(1_000));
    options.set_max_packet_size(Some(1 << 20));
    let mut network = rumqttc::NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    let (client, mut events) = AsyncClient::new(options, 4_096);
    client.subscribe(setting("IN"), qos).await.expect("a subscription");
    let mut resizer = Resizer::new();
    loop {
        let Event::Incoming(Packet::Publish(message)) = events.poll().await.expect("the broker")
        else {
            continue;
        };
        let (tensor, seq) = if is_camera {
            (picture(&message.payload, &mut resizer), 0)
        } else {
            let told: Told = serde_json::from_slice(&message.payload).expect("JSON");
            (Tensor::new(vec![1, told.x.len()], told.x).expect("a tensor"), told.seq)
        };
        session.run(&[tensor], &mut outputs).expect("a run");
        let numbers = outputs[0].as_f32().expect("float32");
        let decision = if is_camera {
            let best = (0..numbers.len()).max_by(|a, b| numbers[*a].total_cmp(&numbers[*b]));
            let label = best.expect("some");
            format!(r#"{{"label":{label},"score":{}}}"#, numbers[label])
        } else if numbers[0] > threshold {
            format!(r#"{{"seq":{seq},"value":{}}}"#, numbers[0])
        } else {
            continue;
        };
        client.publish(&out, qos, false, decision).await.expect("a publish");
    }
}

/// ONNX Runtime, with one thread.
fn session() -> Box<dyn Session> {
    let file = std::path::PathBuf::from(setting("MODEL"));
    let model = file.parent().and_then(std::path::Path::parent).expect("below a model");
    let name = model.file_name().and_then(|name| name.to_str()).expect("a name");
    let dir = model.parent().expect("below models").to_owned();
    let models = Models::new(&ModelsConfig { dir, ..ModelsConfig::default() });
    let package = models.find(name).expect("the model");
    let engine = models.engine(EngineKind::Ort, Form::Stored).expect("ONNX Runtime");
    engine.load(&package, SessionOptions::default()).expect("a session")
}

fn picture(jpeg: &[u8], resizer: &mut Resizer) -> Tensor {
    let decoded = image::load_from_memory(jpeg).expect("a JPEG").into_rgb8();
    let (width, height) = decoded.dimensions();
    let whole =
        Image::from_vec_u8(width, height, decoded.into_raw(), PixelType::U8x3).expect("RGB");
    let mut small = Image::new(SIDE, SIDE, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    resizer.resize(&whole, &mut small, &options).expect("resized");
    let side = SIDE as usize;
    let mut planes = vec![0.0; 3 * side * side];
    for (at, pixel) in small.buffer().chunks_exact(3).enumerate() {
        for (channel, level) in pixel.iter().enumerate() {
            planes[channel * side * side + at] = (f32::from(*level) - 127.5) / 127.5;
        }
    }
    Tensor::new(vec![1, 3, side, side], planes).expect("a tensor")
}
