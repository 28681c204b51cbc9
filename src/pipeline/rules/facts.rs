//! What a rule sees, made only as far as the expression asks for it.

use std::sync::OnceLock;

use cel::common::types::{CelDouble, CelInt, CelString, Type};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::record::{Field, Record};
use super::value::{Entries, List, Numbers, Table, number};
use crate::event::{Device, Name, Prediction, StreamKey, Topic};
use crate::package::Task;

/// What happened, for the rules of a pipeline to judge. An expression sees it as:
///
/// | name | type | where |
/// |---|---|---|
/// | `label` | string | classification |
/// | `score` | double | classification, anomaly |
/// | `scores` | map from label to double | classification |
/// | `detections` | list of `{label, score, x, y, w, h}` in source pixels, best first | detection |
/// | `values` | list of double | regression, embedding, tensor |
/// | `stream` | string: the stream key | always |
/// | `topic` | list of string: its levels | always |
/// | `device` | `{id, labels}`; `labels` is a map from name to string | always |
/// | `now` | `{unix, hour, minute, weekday, date}` in local time | always |
/// | `model`, `version` | string, int | always |
///
/// `now.unix` is in seconds since 1970 with fractions, `now.weekday` counts from Monday = 1 to
/// Sunday = 7, `now.date` is `2026-03-01`. Scores come from f32, so compare them with `<` and `>`.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What the model said.
    pub prediction: &'a Prediction,
    /// The stream within the pipeline.
    pub stream: &'a StreamKey,
    /// The topic of the message.
    pub topic: &'a Topic,
    /// This device.
    pub device: &'a Device,
    /// Wall-clock time.
    pub now: Timestamp,
    /// The model.
    pub model: &'a Name,
    /// Its version.
    pub version: u64,
}

static DETECTION: Type = Type::new_unspecified_type("detection");
static DEVICE: Type = Type::new_unspecified_type("device");
static NOW: Type = Type::new_unspecified_type("now");

/// The names that some rule may use.
pub(super) const ALL_NAMES: &str = "label, score, scores, detections, values, stream, topic, device, \
                                    now, model, version (as the model's task has them)";

/// The names that a rule over predictions of this task may use.
pub(super) const fn known(task: Task) -> &'static [&'static str] {
    match task {
        Task::Classification => {
            &["label", "score", "scores", "stream", "topic", "device", "now", "model", "version"]
        }
        Task::Detection => &["detections", "stream", "topic", "device", "now", "model", "version"],
        Task::Anomaly => &["score", "stream", "topic", "device", "now", "model", "version"],
        Task::Regression | Task::Embedding | Task::Tensor => {
            &["values", "stream", "topic", "device", "now", "model", "version"]
        }
    }
}

/// The facts in CEL's types. What is cheap is there from the start, the rest is made when asked for.
#[derive(Debug)]
pub(super) struct View<'a> {
    facts: Facts<'a>,
    label: Option<CelString<'a>>,
    score: Option<CelDouble>,
    scores: Option<Table<'a>>,
    values: Option<Numbers<'a>>,
    stream: CelString<'a>,
    model: CelString<'a>,
    version: CelInt,
    detections: OnceLock<List<Record<'a, 6>>>,
    topic: OnceLock<List<CelString<'a>>>,
    device: OnceLock<Record<'a, 2>>,
    now: OnceLock<Record<'static, 5>>,
}

impl<'a> View<'a> {
    pub(super) fn new(facts: &Facts<'a>) -> Self {
        let (mut label, mut score, mut scores, mut values) = (None, None, None, None);
        match facts.prediction {
            Prediction::Classification { label: best, score: of_best, scores: all } => {
                label = Some(CelString::from(&**best));
                score = Some(number(*of_best));
                scores = Some(Table::new(Entries::Scores(all)));
            }
            Prediction::Anomaly { score: of_input } => score = Some(number(*of_input)),
            Prediction::Regression { values: all }
            | Prediction::Embedding { values: all }
            | Prediction::Tensor { values: all, .. } => values = Some(Numbers::new(all)),
            Prediction::Detection { .. } => {}
        }
        Self {
            facts: *facts,
            label,
            score,
            scores,
            values,
            stream: facts.stream.as_str().into(),
            model: facts.model.as_str().into(),
            version: CelInt::from(i64::try_from(facts.version).unwrap_or(i64::MAX)),
            detections: OnceLock::new(),
            topic: OnceLock::new(),
            device: OnceLock::new(),
            now: OnceLock::new(),
        }
    }

    fn detections(&self) -> Option<&List<Record<'a, 6>>> {
        let Prediction::Detection { detections } = self.facts.prediction else { return None };
        Some(self.detections.get_or_init(|| {
            let records = detections.iter().map(|found| Record {
                kind: &DETECTION,
                names: &["label", "score", "x", "y", "w", "h"],
                fields: [
                    Field::Text(CelString::from(&*found.label)),
                    Field::Number(number(found.score)),
                    Field::Number(number(found.x)),
                    Field::Number(number(found.y)),
                    Field::Number(number(found.w)),
                    Field::Number(number(found.h)),
                ],
            });
            List(records.collect())
        }))
    }

    fn topic(&self) -> &List<CelString<'a>> {
        self.topic.get_or_init(|| List(self.facts.topic.levels().map(CelString::from).collect()))
    }

    fn device(&self) -> &Record<'a, 2> {
        self.device.get_or_init(|| Record {
            kind: &DEVICE,
            names: &["id", "labels"],
            fields: [
                Field::Text(CelString::from(self.facts.device.id.as_str())),
                Field::Table(Table::new(Entries::Labels(&self.facts.device.labels))),
            ],
        })
    }
}

/// The time as a rule sees it.
fn local_time(now: Timestamp, zone: TimeZone) -> Record<'static, 5> {
    let local = now.to_zoned(zone);
    let whole = |value: i8| Field::Whole(CelInt::from(i64::from(value)));
    Record {
        kind: &NOW,
        names: &["unix", "hour", "minute", "weekday", "date"],
        fields: [
            Field::Number(CelDouble::from(now.as_duration().as_secs_f64())),
            whole(local.hour()),
            whole(local.minute()),
            whole(local.weekday().to_monday_one_offset()),
            Field::Text(CelString::from(local.date().to_string())),
        ],
    }
}

fn lend<'b, T: Val + 'b>(value: &'b T) -> CowVal<'b, 'b> {
    CowVal::Borrowed(value)
}

impl VariableResolver for View<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        match name {
            "label" => self.label.as_ref().map(lend),
            "score" => self.score.as_ref().map(lend),
            "scores" => self.scores.as_ref().map(lend),
            "values" => self.values.as_ref().map(lend),
            "detections" => self.detections().map(lend),
            "stream" => Some(lend(&self.stream)),
            "model" => Some(lend(&self.model)),
            "version" => Some(lend(&self.version)),
            "topic" => Some(lend(self.topic())),
            "device" => Some(lend(self.device())),
            "now" => {
                Some(lend(self.now.get_or_init(|| local_time(self.facts.now, TimeZone::system()))))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use cel::common::traits::Indexer;
    use jiff::tz;

    use super::*;

    #[test]
    fn the_time_is_local() {
        let sunday = "2026-03-01T23:30:15.5Z".parse().expect("time");
        let now = local_time(sunday, TimeZone::fixed(tz::offset(2)));
        let whole = |name: &str| {
            let field = now.get(&CelString::from(name)).expect(name);
            field.downcast_ref::<CelInt>().map(|value| *value.inner())
        };
        assert_eq!(
            (whole("hour"), whole("minute"), whole("weekday")),
            (Some(1), Some(30), Some(1))
        );
        let date = now.get(&CelString::from("date")).expect("date");
        let date = date.downcast_ref::<CelString<'_>>().map(|text| text.inner().to_owned());
        assert_eq!(date.as_deref(), Some("2026-03-02"));
        let unix = now.get(&CelString::from("unix")).expect("unix");
        assert_eq!(unix.downcast_ref::<CelDouble>().map(|v| *v.inner()), Some(1_772_407_815.5));
    }
}
