//! What is sent to a cloud by which way.

use std::fmt;

use super::Kind;
use crate::event::Name;

/// Stands behind the name of the cloud. No name has a stroke in it.
const SAMPLES: &str = "/samples";

/// One way to a cloud, which has a place in the outbox of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Every record.
    Records(Name),
    /// Samples alone: a cloud that takes their inputs beside the records.
    Samples(Name),
}

impl Lane {
    /// The cloud.
    pub const fn cloud(&self) -> &Name {
        match self {
            Self::Records(cloud) | Self::Samples(cloud) => cloud,
        }
    }

    /// The one kind of records that goes this way; `None`: all do.
    pub(super) const fn only(&self) -> Option<Kind> {
        match self {
            Self::Records(_) => None,
            Self::Samples(_) => Some(Kind::Sample),
        }
    }

    /// As it is named on disk.
    pub(super) fn named(text: &str) -> Self {
        match text.strip_suffix(SAMPLES) {
            Some(cloud) => Self::Samples(Name::near(cloud)),
            None => Self::Records(Name::near(text)),
        }
    }
}

impl From<Name> for Lane {
    fn from(cloud: Name) -> Self {
        Self::Records(cloud)
    }
}

/// The name of the cloud, and `/samples` where it is not all that it gets.
impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Records(cloud) => cloud.fmt(f),
            Self::Samples(cloud) => write!(f, "{cloud}{SAMPLES}"),
        }
    }
}
