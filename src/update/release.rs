//! What is said of a release beside its bytes: who it is for, what it needs, when whose turn it is and how it is judged.
//!
//! That is the `custom` of a target, signed with it. Whoever reads it ignores what it does not know, except in `needs`: what
//! is needed and unknown is not met.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tough::schema::Target;

use super::decimal::Decimal;
use super::machine::Kind;
use super::wave::{Waves, place};
use crate::event::Name;

/// A target's name, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// `models/<name>/<version>.tar.zst`
    Model {
        /// As the pipelines call it.
        name: Name,
        /// A positive number.
        version: u64,
    },
    /// `eir/<version>/<target-triple>`
    Binary {
        /// As `eir --version` says it.
        version: String,
        /// What it runs on.
        triple: String,
    },
    /// `config/<name>/<version>.toml`
    Config {
        /// Of the layer.
        name: Name,
        /// A positive number.
        version: u64,
    },
}

impl Content {
    /// `None`: the target is no release of ours.
    pub fn of(target: &str) -> Option<Self> {
        let mut parts = target.split('/');
        let (kind, name, rest) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let number = |suffix| -> Option<u64> {
            let digits: &str = str::strip_suffix(rest, suffix)?;
            // One way to write a number: no sign, no zero in front.
            digits.parse().ok().filter(|number: &u64| *number > 0 && number.to_string() == digits)
        };
        match kind {
            "models" => {
                Some(Self::Model { name: name.parse().ok()?, version: number(".tar.zst")? })
            }
            "config" => Some(Self::Config { name: name.parse().ok()?, version: number(".toml")? }),
            "eir" => {
                let plain = |text: &str| text.parse::<Name>().is_ok();
                let (version, triple) = (name.to_owned(), rest.to_owned());
                (plain(name) && plain(rest)).then_some(Self::Binary { version, triple })
            }
            _ => None,
        }
    }

    /// What it brings.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Model { .. } => Kind::Model,
            Self::Binary { .. } => Kind::Binary,
            Self::Config { .. } => Kind::Config,
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model { name, version } => write!(f, "models/{name}/{version}.tar.zst"),
            Self::Binary { version, triple } => write!(f, "eir/{version}/{triple}"),
            Self::Config { name, version } => write!(f, "config/{name}/{version}.toml"),
        }
    }
}

/// What is said of a release.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    /// When it was published; the waves are counted from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published: Option<Timestamp>,
    /// What a device must be and have.
    pub needs: Needs,
    /// A device must have all of these; none: every device.
    pub labels: BTreeMap<String, String>,
    /// Whose turn it is when.
    pub waves: Waves,
    /// A share of failed devices in a wave, in percent, at which whoever watches is to halt it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_at: Option<Decimal>,
    /// How a model is judged before it serves.
    pub judge: Judge,
    /// It is not to be begun any more.
    pub halted: bool,
    /// For people.
    pub note: String,
}

/// What a device must be and have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Needs {
    /// The lowest version of eir, as `0.4.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eir: Option<String>,
    /// The engine, as `ort` or `tract`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// Bytes of memory that must be available.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// What a later eir may ask for.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// How a model is judged beside the one that serves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Judge {
    /// Its time a message may be at most so many times the other's.
    pub max_latency_ratio: Decimal,
    /// Share of messages, 0 to 1, on which both must say the same.
    pub min_agreement: Decimal,
    /// Share of messages, 0 to 1, on which it may fail.
    pub max_error_rate: Decimal,
}

impl Default for Judge {
    fn default() -> Self {
        let [max_latency_ratio, min_agreement, max_error_rate] = [1.5, 0.9, 0.01].map(Decimal);
        Self { max_latency_ratio, min_agreement, max_error_rate }
    }
}

/// A device, as a release sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Device<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// The version of eir that runs.
    pub eir: &'a str,
    /// What eir was built for.
    pub triple: &'a str,
    /// The engines that it has.
    pub engines: &'a [&'a str],
    /// Bytes of memory that are available; `None`: it does not know.
    pub memory: Option<u64>,
}

/// Whether and when a device takes a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offer {
    /// From then on, if it was said when.
    From(Duration),
    /// Not this device, for this reason.
    Not(String),
}

impl About {
    /// As a target has it; what cannot be read counts as not said, and needs something unknown.
    pub fn of(target: &Target) -> Self {
        let custom = serde_json::to_value(&target.custom).and_then(serde_json::from_value);
        custom.unwrap_or_else(|error: serde_json::Error| {
            let unknown = Map::from_iter([(error.to_string(), Value::Null)]);
            Self { needs: Needs { unknown, ..Needs::default() }, ..Self::default() }
        })
    }

    /// As a target has it.
    pub fn custom(&self) -> HashMap<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(custom)) => custom.into_iter().collect(),
            _ => HashMap::new(),
        }
    }

    /// Whether and when a device is to take it, counted from its publication.
    pub fn offer(&self, content: &Content, device: &Device<'_>) -> Offer {
        if self.halted {
            return Offer::Not("it is halted".to_owned());
        }
        if let Content::Binary { triple, .. } = content
            && triple != device.triple
        {
            return Offer::Not(format!("it is for {triple}, this is {}", device.triple));
        }
        let foreign =
            self.labels.iter().find(|(key, value)| device.labels.get(*key) != Some(value));
        if let Some((key, value)) = foreign {
            return Offer::Not(format!("it is for devices with the label {key} = {value}"));
        }
        if let Some(reason) = self.needs.unmet(device) {
            return Offer::Not(reason);
        }
        match self.waves.turn(place(device.id, &content.to_string())) {
            Some(turn) => Offer::From(turn),
            None => Offer::Not("its waves leave this device out".to_owned()),
        }
    }
}

impl Needs {
    /// What of it a device does not meet.
    fn unmet(&self, device: &Device<'_>) -> Option<String> {
        if let Some((need, _)) = self.unknown.iter().next() {
            return Some(format!("it needs `{need}`, which this version of eir does not know"));
        }
        if let Some(lowest) = &self.eir
            && version(device.eir).is_none_or(|found| version(lowest).is_none_or(|low| found < low))
        {
            return Some(format!("it needs eir {lowest} at least, this is {}", device.eir));
        }
        if let Some(engine) = &self.engine
            && !device.engines.contains(&engine.as_str())
        {
            return Some(format!("it needs the engine {engine}, which is not here"));
        }
        if let Some((needed, found)) = self.memory.zip(device.memory)
            && found < needed
        {
            return Some(format!("it needs {needed} bytes of memory, {found} are available"));
        }
        None
    }
}

/// A version of eir is newer than another; one that is no version is newer than none.
pub fn newer(a: &str, b: &str) -> bool {
    version(a).is_some_and(|a| version(b).is_none_or(|b| a > b))
}

/// `0.4.0` as numbers; what follows a `-` comes before the version itself.
fn version(text: &str) -> Option<([u64; 3], bool)> {
    let (numbers, is_whole) = match text.split_once('-') {
        Some((numbers, _)) => (numbers, false),
        None => (text, true),
    };
    let mut parts = numbers.split('.').map(str::parse::<u64>);
    let mut next = || parts.next()?.ok();
    let found = [next()?, next()?, next()?];
    parts.next().is_none().then_some((found, is_whole))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_target_is_what_its_name_says_and_nothing_else_is_a_release() {
        for (target, kind) in [
            ("models/defects/4.tar.zst", Kind::Model),
            ("eir/0.5.0/aarch64-unknown-linux-gnu", Kind::Binary),
            ("eir/0.5.0-rc.1/x86_64-unknown-linux-musl", Kind::Binary),
            ("config/rules/12.toml", Kind::Config),
        ] {
            let content = Content::of(target).expect(target);
            assert_eq!((content.kind(), content.to_string()), (kind, target.to_owned()));
        }
        for target in [
            "",
            "models",
            "models/defects",
            "models/defects/0.tar.zst",
            "models/defects/04.tar.zst",
            "models/defects/+4.tar.zst",
            "models/defects/4.tar",
            "models/defects/4.tar.zst/x",
            "models/../4.tar.zst",
            "models//4.tar.zst",
            "config/rules/-1.toml",
            "eir/0.5.0/../x",
            "eir/../x86_64",
            "other/a/1",
            "models/defects/99999999999999999999.tar.zst",
        ] {
            assert_eq!(Content::of(target), None, "{target}");
        }
    }

    fn refusal(about: Value, target: &str) -> Option<String> {
        let about: About = serde_json::from_value(about).expect("custom");
        let labels = BTreeMap::from([("site".to_owned(), "oslo".to_owned())]);
        let device = Device {
            id: "line-7",
            labels: &labels,
            eir: "0.4.2",
            triple: "aarch64-unknown-linux-gnu",
            engines: &["tract"],
            memory: Some(64 << 20),
        };
        match about.offer(&Content::of(target).expect("a release"), &device) {
            Offer::From(_) => None,
            Offer::Not(reason) => Some(reason),
        }
    }

    #[test]
    fn who_does_not_fit_is_told_why() {
        let model = "models/defects/4.tar.zst";
        for about in [
            json!({}),
            json!({"labels": {"site": "oslo"}, "note": "for all", "of a later version": 1}),
            json!({"needs": {"eir": "0.4.2", "engine": "tract", "memory": 1024}}),
            json!({"needs": {"eir": "0.4.2-rc.1"}}),
        ] {
            assert_eq!(refusal(about.clone(), model), None, "{about}");
        }
        for (about, told) in [
            (json!({"halted": true}), "halted"),
            (json!({"labels": {"site": "rome"}}), "label site = rome"),
            (json!({"labels": {"line": "7"}}), "label line = 7"),
            (
                json!({"needs": {"eir": "0.4.3-rc.1"}}),
                "needs eir 0.4.3-rc.1 at least, this is 0.4.2",
            ),
            (json!({"needs": {"eir": "new"}}), "needs eir new"),
            (json!({"needs": {"engine": "ort"}}), "engine ort"),
            (json!({"needs": {"memory": 1_u64 << 30}}), "1073741824 bytes of memory, 67108864"),
            (json!({"needs": {"npu": "hailo8"}}), "needs `npu`, which this version"),
            (json!({"waves": [{"percent": 1e-6, "after": "0s"}]}), "leave this device out"),
        ] {
            let reason = refusal(about.clone(), model).expect("it does not fit");
            assert!(reason.contains(told), "{about}: {reason}");
        }
        let other = refusal(json!({}), "eir/0.5.0/armv7-unknown-linux-gnueabihf").expect("foreign");
        assert!(other.starts_with("it is for armv7"), "{other}");
        assert_eq!(refusal(json!({}), "eir/0.5.0/aarch64-unknown-linux-gnu"), None);
    }

    #[test]
    fn it_is_everybodys_turn_when_their_wave_comes() {
        let waves =
            json!({"waves": [{"percent": 60, "after": "0s"}, {"percent": 100, "after": "2h"}]});
        let about: About = serde_json::from_value(waves).expect("custom");
        let labels = BTreeMap::new();
        // Its place is 67 %.
        let device = Device {
            id: "line-7",
            labels: &labels,
            eir: "0.4.2",
            triple: "",
            engines: &[],
            memory: None,
        };
        let content = Content::of("models/defects/4.tar.zst").expect("a release");
        assert_eq!(about.offer(&content, &device), Offer::From(Duration::from_hours(2)));
    }
}
