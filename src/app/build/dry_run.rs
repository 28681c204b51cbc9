//! Whether what the messages of a pipeline become can fit into its model, as far as the configuration
//! alone says it: numbers or pictures, how many channels, how many instants.

use crate::app::config::PipelineConfig;
use crate::event::{Frame, Input, Order, Pixels, Samples};
use crate::model::Caller;
use crate::package::{InputKind, InputSpec, Layout, Package};
use crate::pipeline::decode::DecodeConfig;
use crate::pipeline::preprocess::PrepareError;
use crate::pipeline::window::{Window, WindowConfig};

/// A pipeline whose messages never fit its model.
#[derive(Debug)]
pub(super) struct Misfit {
    /// The key of the pipeline that would have to change.
    pub part: &'static str,
    pub reason: String,
}

/// Prepares what a message would become. Where its size is known only when it comes, it is taken to be
/// right.
pub(super) fn dry_run(config: &PipelineConfig, caller: &mut Caller) -> Result<(), Misfit> {
    let wanted = Wanted::by(caller.model().package());
    let (input, part) = match &config.decode {
        DecodeConfig::Image(_) if config.window.is_some() => {
            let reason = "a window gathers numbers, and pictures come".to_owned();
            return Err(Misfit { part: "window", reason });
        }
        DecodeConfig::Image(_) => (picture(), "decode"),
        decode => {
            let given = Given::by(decode);
            let channels = given.channels.or(wanted.channels).unwrap_or(1);
            let fits = wanted.channels.is_none_or(|wanted| wanted == channels);
            let (instants, part) = match &config.window {
                Some(window) => {
                    fill(window, channels)?;
                    (Some(window.samples), if fits { "window" } else { "decode" })
                }
                None => (given.instants, "decode"),
            };
            let instants = instants.unwrap_or_else(|| wanted.instants(channels));
            (zeros(instants, channels), part)
        }
    };
    caller.accepts(&input).map_err(|error| Misfit {
        part: if matches!(error, PrepareError::Kind { .. }) { "decode" } else { part },
        reason: error.to_string(),
    })
}

/// What the model says about the shape of its input; `None` where any will do.
struct Wanted {
    channels: Option<usize>,
    instants: Option<usize>,
    /// All numbers of an input, but for the dimensions that are open.
    numbers: usize,
}

impl Wanted {
    fn by(package: &Package) -> Self {
        let info = package.signature.inputs.first();
        let shape: &[Option<usize>] = info.map_or(&[], |info| info.shape.get(1..).unwrap_or(&[]));
        let numbers = shape.iter().flatten().fold(1, |n: usize, dim| n.saturating_mul(*dim)).max(1);
        let specs = &package.spec.input;
        let spec = info.and_then(|info| specs.get(&info.name)).or_else(|| specs.get(""));
        let (instants, channels) = match spec {
            Some(InputSpec { kind: InputKind::Samples, layout, .. }) => match (layout, shape) {
                (Some(Layout::T), [instants]) => (*instants, Some(1)),
                (Some(Layout::Ct), [channels, instants])
                | (Some(Layout::Tc) | None, [instants, channels]) => (*instants, *channels),
                _ => (None, None),
            },
            _ => (None, None),
        };
        // Values a channel also say how many there are.
        let listed = spec.map_or(0, |spec| spec.mean.len().max(spec.scale.len()));
        Self { channels: channels.or((listed > 1).then_some(listed)), instants, numbers }
    }

    /// So many instants as suit the model, if any do.
    fn instants(&self, channels: usize) -> usize {
        let plain = if self.numbers.is_multiple_of(channels) { self.numbers / channels } else { 1 };
        let known = self.channels.is_some() || self.instants.is_some();
        self.instants.unwrap_or(if known { 1 } else { plain })
    }
}

/// What the configuration says about the shape of a message; `None`: that depends on the message.
struct Given {
    channels: Option<usize>,
    instants: Option<usize>,
}

impl Given {
    fn by(decode: &DecodeConfig) -> Self {
        match decode {
            DecodeConfig::Json(json) => {
                let channels = match json.fields.len() {
                    0 => Some(1),
                    // It may be an array of arrays.
                    1 => None,
                    fields => Some(fields),
                };
                Self { channels, instants: None }
            }
            DecodeConfig::Raw(raw) => match raw.shape.as_slice() {
                [] => Self { channels: Some(1), instants: None },
                [instants] => Self { channels: Some(1), instants: Some(*instants) }.known(),
                [outer @ .., channels] => {
                    let instants = outer.iter().try_fold(1_usize, |n, dim| n.checked_mul(*dim));
                    Self { channels: Some(*channels), instants }.known()
                }
            },
            DecodeConfig::Text(text) => Self { channels: Some(text.channels), instants: None },
            DecodeConfig::Image(_) => Self { channels: None, instants: None },
        }
    }

    /// A dimension of 0 is open.
    fn known(self) -> Self {
        Self { instants: self.instants.filter(|instants| *instants > 0), ..self }
    }
}

/// The limits of a window; nothing is gathered.
fn fill(config: &WindowConfig, channels: usize) -> Result<(), Misfit> {
    let empty = Samples { channels, order: Order::Interleaved, values: Vec::new() };
    let window = Window::new(config).and_then(|mut window| window.next(&empty, &mut 0));
    window.map(drop).map_err(|error| Misfit { part: "window", reason: error.to_string() })
}

fn zeros(instants: usize, channels: usize) -> Input {
    let values = vec![0.0; instants.saturating_mul(channels)];
    Input::Samples(Samples { channels, order: Order::Interleaved, values })
}

fn picture() -> Input {
    let data = vec![0; 16 * 16 * 3];
    Input::Frame(Frame::new(16, 16, Pixels::Rgb, data))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::app::check;
    use crate::app::config::{Sources, load};

    /// What is wrong with a pipeline of these parts.
    fn tried(decode: &str, more: &str, model: &str) -> Option<(String, String)> {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        let text = format!(
            "[models]\ndir = {models:?}\nengine = \"tract\"\n\
             [mqtt.local]\nurl = \"mqtt://127.0.0.1:1\"\n\
             [pipeline.p]\ninput = {{ mqtt = {{ broker = \"local\", topic = \"a/b\", qos = 1 }} }}\n\
             decode = {decode}\nmodel = \"{model}\"\n{more}\n"
        );
        let text = Some(("eir.toml".to_owned(), text));
        let config = load(&Sources { text, ..Sources::default() }).expect("a configuration");
        let found = check(&config).remove(0).outcome.err()?;
        assert_eq!(found.len(), 1, "{found:?}");
        Some((found[0].key.clone(), found[0].message.clone()))
    }

    #[test]
    fn what_can_never_fit_is_told_with_what_the_model_wants() {
        let xyz = r#"{ json = { fields = ["/x", "/y", "/z"] } }"#;
        let window = "window = { samples = 256 }";
        for (decode, more, model, key, told) in [
            (r#"{ json = { fields = ["/x"] } }"#, "", "defects", "decode", "wants a picture"),
            ("{ image = {} }", "", "bearing", "decode", "is a picture, the model wants numbers"),
            (xyz, "window = { samples = 128 }", "bearing", "window", "wants 256 of 3 (bearing@1)"),
            (
                r#"{ json = { fields = ["/x", "/y"] } }"#,
                window,
                "bearing",
                "decode",
                "of 2 channels",
            ),
            (r#"{ json = { fields = ["/x", "/y"] } }"#, "", "bearing", "decode", "of 2 channels"),
            ("{ json = {} }", "", "bearing", "decode", "of 1 channels"),
            ("{ text = { channels = 4 } }", window, "bearing", "decode", "of 4 channels"),
            (
                "{ raw = { dtype = \"i16\", shape = [64, 3] } }",
                "",
                "bearing",
                "decode",
                "64 instants",
            ),
            (
                "{ raw = { dtype = \"i16\", shape = [256] } }",
                "",
                "bearing",
                "decode",
                "of 1 channels",
            ),
        ] {
            let (at, message) =
                tried(decode, more, model).unwrap_or_else(|| panic!("{decode} {more}"));
            assert_eq!(at, format!("pipeline.p.{key}"), "{message}");
            assert!(message.contains(told), "{message}");
        }
    }

    #[test]
    fn what_may_fit_is_let_through() {
        for (decode, more, model) in [
            (
                r#"{ json = { fields = ["/x", "/y", "/z"] } }"#,
                "window = { samples = 256 }",
                "bearing",
            ),
            (r#"{ json = { fields = ["/x", "/y", "/z"] } }"#, "", "bearing"),
            (r#"{ json = { fields = ["/rows"] } }"#, "", "bearing"),
            ("{ raw = { dtype = \"i16\", shape = [0, 3] } }", "", "bearing"),
            ("{ raw = { dtype = \"i16\", shape = [256, 3] } }", "", "bearing"),
            (
                "{ raw = { dtype = \"i16\", shape = [64, 3] } }",
                "window = { samples = 256 }",
                "bearing",
            ),
            ("{ image = {} }", "", "defects"),
        ] {
            assert_eq!(tried(decode, more, model), None, "{decode} {more}");
        }
    }
}
