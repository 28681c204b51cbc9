//! The configuration: one checked tree made of layers (`interfaces.md` names the contract; `eir schema
//! config` prints it).
//!
//! A number that a user may set lives in the `Config` of the room that uses it; this file only says
//! where each room's table stands.

mod check;
mod draft;
mod examine;
mod good;
mod layer;
mod problem;
mod schema;
mod tree;

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use examine::{Examined, examine, load};
pub use good::{keep_good, last_good};
pub use layer::{NOT_RELEASED, Sources, update_directory};
pub use problem::{Problem, Problems};
pub use schema::schema;
pub(super) use tree::join;

use crate::action::ActionConfig;
use crate::action::escalate::EscalateConfig;
use crate::api::ApiConfig;
use crate::broker::BrokerConfig;
use crate::event::{Device, HumanDuration, KeyTemplate, LogLevel, Name};
use crate::ingest::MqttInputConfig;
use crate::model::ModelsConfig;
use crate::mqtt::ConnectionConfig;
use crate::outbox::OutboxConfig;
use crate::pipeline::decode::DecodeConfig;
use crate::pipeline::degrade::DegradeConfig;
use crate::pipeline::gate::GateConfig;
use crate::pipeline::rules::{Condition, Hits};
use crate::pipeline::window::{StreamLimits, WindowConfig};
use crate::summary::{GroupConfig, SampleConfig, SummaryConfig};
use crate::sync::{CloudConfig, TracesConfig};
use crate::task::WhenFull;
use crate::update::config::UpdateConfig;
use crate::update::depot::Depot;

/// Everything a user may set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Who this device is.
    pub device: DeviceConfig,
    /// What is logged.
    pub log: LogConfig,
    /// Connections to brokers, by name.
    pub mqtt: BTreeMap<Name, ConnectionConfig>,
    /// A broker inside the process, for sites with none.
    pub broker: Option<BrokerConfig>,
    /// Clouds that records are sent to, by name.
    pub cloud: BTreeMap<Name, CloudConfig>,
    /// Where models lie and what runs them.
    pub models: ModelsConfig,
    /// What is done with the messages, by name.
    pub pipeline: BTreeMap<Name, PipelineConfig>,
    /// Records on their way to the clouds. Where there is a cloud and this is not written, the usual one;
    /// without either no records are kept.
    pub outbox: Option<OutboxConfig>,
    /// What happened, told to the clouds at regular times; without this table every minute. `enabled = false`
    /// stops it.
    pub summary: Option<SummaryConfig>,
    /// Spans of what is done for messages and requests; without this table nothing is traced.
    pub traces: Option<TracesConfig>,
    /// Health and metrics over HTTP; without this table no port is open.
    pub api: Option<ApiConfig>,
    /// Releases over the air; without this table there are none.
    pub update: Option<UpdateConfig>,
    /// How the process ends.
    pub shutdown: ShutdownConfig,
    /// Models that came over the air are left alone.
    #[serde(skip)]
    pub without_releases: bool,
}

impl Config {
    /// Where models lie that came over the air.
    pub(in crate::app) fn came(&self) -> Option<PathBuf> {
        let update = self.update.as_ref().filter(|_| !self.without_releases)?;
        Some(Depot::at(&update.dir).place("models"))
    }
}

/// Who this device is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeviceConfig {
    /// Its name in topics and records; by default made from `/etc/machine-id`.
    pub id: Option<Name>,
    /// Free words, for rules and rollouts.
    pub labels: BTreeMap<String, String>,
}

impl DeviceConfig {
    /// The device with its name filled in.
    pub fn resolve(&self) -> Device {
        let id = self.id.clone().unwrap_or_else(machine_name);
        Device { id, labels: self.labels.clone() }
    }
}

/// `eir-` and the first 12 digits of the machine id; `eir` where the system has none.
fn machine_name() -> Name {
    let machine = crate::disk::read_bounded("/etc/machine-id".as_ref(), 256).unwrap_or_default();
    let digits: String = String::from_utf8_lossy(&machine).trim().chars().take(12).collect();
    if digits.is_empty() { Name::near("eir") } else { Name::near(&format!("eir-{digits}")) }
}

/// What is logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// The least level that is written.
    pub level: LogLevel,
    /// How often the counters of every pipeline are written.
    pub every: HumanDuration,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: LogLevel::Info, every: HumanDuration::from_secs(60) }
    }
}

/// One way from a source through a model to decisions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PipelineConfig {
    /// Where messages come from.
    pub input: InputConfig,
    /// How their bytes become numbers or a picture.
    pub decode: DecodeConfig,
    /// Which stream a message belongs to, e.g. `{topic.1}`; by default what the wildcards of the topic
    /// matched, or the whole topic where it has none.
    #[serde(default)]
    pub key: Option<KeyTemplate>,
    /// Gathers samples into windows; without it one message is one model input.
    #[serde(default)]
    pub window: Option<WindowConfig>,
    /// Spares pictures in which nothing has changed a run of the model: they are counted, and rules are not
    /// evaluated on them. Without it every picture is run.
    #[serde(default)]
    pub gate: Option<GateConfig>,
    /// What is done with less while there is too much to do; without it all goes on as it is, and the queue's policy
    /// decides.
    #[serde(default)]
    pub degrade: Option<DegradeConfig>,
    /// How many streams are kept, and for how long.
    #[serde(default)]
    pub streams: StreamLimits,
    /// The model: a name in the repository, newest version, or `name@version`.
    pub model: String,
    /// Messages that wait for this pipeline.
    #[serde(default)]
    pub queue: QueueConfig,
    /// What its rules do, on its way out.
    #[serde(default)]
    pub actions: ActionsConfig,
    /// What its summaries tell apart.
    #[serde(default)]
    pub summary: GroupConfig,
    /// Inputs that are sent or kept to be labelled, by name.
    #[serde(default)]
    pub sample: BTreeMap<Name, SampleConfig>,
    /// Cases that are sent to a remote model for a second opinion.
    #[serde(default)]
    pub escalate: Option<EscalateConfig>,
    /// What is decided, by name.
    #[serde(default)]
    pub rule: BTreeMap<Name, RuleConfig>,
}

impl PipelineConfig {
    /// The connection that its messages come from.
    pub(in crate::app) fn connection(&self) -> &Name {
        let InputConfig::Mqtt(input) = &self.input;
        &input.broker
    }

    /// Every connection that it needs: for its input and for what it publishes.
    pub(in crate::app) fn connections(&self) -> impl Iterator<Item = &Name> {
        let of_rules = self.rule.values().flat_map(|rule| &rule.actions);
        let of_amendments = self.escalate.iter().flat_map(|escalate| &escalate.actions);
        let published = of_rules.chain(of_amendments).filter_map(|action| match action {
            ActionConfig::Publish(publish) => Some(&publish.broker),
            _ => None,
        });
        std::iter::once(self.connection()).chain(published)
    }
}

/// Where messages come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum InputConfig {
    /// A topic filter on a broker connection.
    Mqtt(MqttInputConfig),
}

/// Messages that wait for a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueueConfig {
    /// How many, 1 to 65,536. With `hold` there is room for at least all that the broker may have on
    /// its way unacknowledged, so that none of it has to be turned away.
    #[schemars(range(min = 1, max = 65_536))]
    pub capacity: usize,
    /// What happens to the next one.
    pub when_full: WhenFull,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self { capacity: 1024, when_full: WhenFull::Hold }
    }
}

/// Actions on their way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ActionsConfig {
    /// How many may wait for one broker or one webhook; of one more the oldest is dropped and counted.
    #[schemars(range(min = 1, max = 65_536))]
    pub queue: usize,
}

impl Default for ActionsConfig {
    fn default() -> Self {
        Self { queue: crate::action::DEFAULT_QUEUE }
    }
}

/// When to decide, and what to do then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// A CEL expression over the prediction: true means that the rule is met.
    pub when: String,
    /// A CEL expression that releases a rule that fired; by default that `when` is no longer true.
    #[serde(default)]
    pub until: Option<String>,
    /// How many of the last evaluations must be met.
    #[serde(default)]
    pub hits: Option<Hits>,
    /// How long it must stay met before the rule fires.
    #[serde(default)]
    pub hold: Option<HumanDuration>,
    /// The least time between two firings in one stream.
    #[serde(default)]
    pub cooldown: Option<HumanDuration>,
    /// Also a record to the clouds, where there is a `[cloud.NAME]` or an `[outbox]`.
    #[serde(default = "yes")]
    pub record: bool,
    /// What is done at once, locally.
    #[serde(default, rename = "do")]
    #[schemars(length(max = 16))]
    pub actions: Vec<ActionConfig>,
}

fn yes() -> bool {
    true
}

impl RuleConfig {
    /// The part that the rules evaluate.
    pub fn condition(&self) -> Condition {
        Condition {
            when: self.when.clone(),
            until: self.until.clone(),
            hits: self.hits.unwrap_or_default(),
            hold: self.hold.unwrap_or_default(),
            cooldown: self.cooldown.unwrap_or_default(),
        }
    }
}

/// How the process ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ShutdownConfig {
    /// After this long what is still queued is left, counted and named.
    pub drain: HumanDuration,
}

impl Default for ShutdownConfig {
    fn default() -> Self {
        Self { drain: HumanDuration::from_secs(10) }
    }
}
