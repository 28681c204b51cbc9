//! This device, as rules and templates see it.

use std::collections::BTreeMap;

use super::Name;

/// The device that eir runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// `[device].id`, safe as one level of a topic.
    pub id: Name,
    /// `[device].labels`: where it stands and what it belongs to.
    pub labels: BTreeMap<String, String>,
}
