//! The MQTT link against mosquitto and the embedded broker, in both protocol versions.

mod faults;
mod flow;
mod oversize;
mod routing;
mod security;
mod sessions;
mod twins;

use eir::mqtt::Version;

use crate::support::broker::Kind;

/// Every broker in every version.
const EVERY: [(Kind, Version); 4] = [
    (Kind::Mosquitto, Version::V5),
    (Kind::Mosquitto, Version::V4),
    (Kind::Embedded, Version::V5),
    (Kind::Embedded, Version::V4),
];
