//! What is known of a job, and why one is not taken.

use std::io;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::event::{ModelName, Prediction};
use crate::task::{Clock, SystemClock};

/// A job as it is told of, and kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// Names it; later ones are larger.
    #[schemars(with = "String")]
    pub id: Uuid,
    /// How far it is.
    pub state: State,
    /// The model.
    pub model_name: ModelName,
    /// Its version.
    pub model_version: String,
    /// What it is made of.
    #[serde(flatten)]
    pub plan: Plan,
    /// The client's name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Files.
    pub inputs: usize,
    /// Lines of results so far.
    pub results: u64,
    /// Those among them that tell of an error.
    pub errors: u64,
    /// What part of the work is done, 0 to 1.
    pub progress: f64,
    /// How often it was begun in a row without getting on, an orderly end of eir aside.
    #[serde(default)]
    pub begun: u32,
    /// When it was asked for.
    #[schemars(with = "String")]
    pub created_at: Timestamp,
    /// When its first run began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub ended_at: Option<Timestamp>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Job {
    /// One that nobody has worked on.
    pub(super) fn new(model: ModelName, version: u64, plan: Plan, key: Option<String>) -> Self {
        Self {
            id: Uuid::now_v7(),
            state: State::Pending,
            model_name: model,
            model_version: version.to_string(),
            plan,
            idempotency_key: key,
            inputs: 0,
            results: 0,
            errors: 0,
            progress: 0.0,
            begun: 0,
            created_at: SystemClock.wall(),
            started_at: None,
            ended_at: None,
            error: None,
        }
    }

    /// The same is to be done, as far as that is known without its files.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let what =
            |job: &Self| (job.model_name.clone(), job.model_version.clone(), job.plan.clone());
        what(self) == what(other)
    }
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// Others are before it.
    Pending,
    /// It is being worked on.
    Running,
    /// All is done. Single inputs may have failed.
    Succeeded,
    /// It could not be done, or none of its inputs could be used.
    Failed,
    /// Somebody did not want it any more.
    Cancelled,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Pending, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled];

    /// In lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Nothing more comes of it.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// What a client wants done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// A folder on the device, below the one that the configuration names, instead of files that are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Instants of a recording that make one input; by default as many as the model takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<usize>,
    /// Instants from the beginning of one input to that of the next; by default as many as an input has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<usize>,
}

/// One line of results.
#[derive(Debug, Serialize)]
pub(super) struct Line<'a> {
    /// The file.
    pub input: &'a str,
    /// The first instant, in a recording.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prediction: Option<Prediction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Why a job is not taken, or not found.
#[derive(Debug, Error)]
pub enum JobError {
    /// It cannot be done as it is asked for.
    #[error("{0}")]
    Invalid(String),
    /// There is none of this name, or not any more.
    #[error("there is no job {0}")]
    Unknown(String),
    /// Its key names another one.
    #[error("this Idempotency-Key is that of job {0}, which is another")]
    Another(Uuid),
    /// Its key names one that is being sent.
    #[error("the job of this Idempotency-Key is being sent")]
    Underway,
    /// Too many wait.
    #[error("{0} jobs wait already")]
    Busy(usize),
    /// It is larger than all may be.
    #[error("it takes more than the {0} bytes that there are for jobs")]
    TooLarge(u64),
    /// Others take the room.
    #[error("other jobs take the room at the moment")]
    NoRoom,
    /// The disk refuses.
    #[error("jobs cannot be kept at the moment")]
    Disk(#[from] io::Error),
}
