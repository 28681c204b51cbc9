//! `[broker]` as the user writes it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::net::human;

/// The broker inside the process. It speaks MQTT 3.1.1 and 5 on one port, without TLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BrokerConfig {
    /// Address and port; port 0 takes a free one.
    pub listen: String,
    /// Who may connect, by user name.
    pub users: BTreeMap<String, UserConfig>,
    /// Whoever reaches the port may connect. Needed to listen beyond loopback without users.
    pub anonymous: bool,
    /// Connections at one time.
    #[schemars(range(min = 1))]
    pub max_connections: usize,
    /// The largest message.
    #[serde(with = "human::size")]
    #[schemars(schema_with = "human::size::schema")]
    pub max_payload: usize,
}

/// A user of the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserConfig {
    /// File that holds the password; a line break at its end does not count.
    pub password_file: PathBuf,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:1883".to_owned(),
            users: BTreeMap::new(),
            anonymous: false,
            max_connections: 100,
            max_payload: 8 << 20,
        }
    }
}

impl BrokerConfig {
    pub(super) fn address(&self) -> Result<SocketAddr, String> {
        self.listen.parse().map_err(|_| {
            format!("`{}` is no address; write it like 127.0.0.1:1883 or [::]:1883", self.listen)
        })
    }
}
