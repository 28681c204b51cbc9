//! `[broker]` as the user writes it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::net::{Problem, human, listen_address, read_secret};

/// The broker inside the process. It speaks MQTT 3.1.1 and 5 on one port, without TLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BrokerConfig {
    /// Address and port; port 0 takes a free one.
    pub listen: String,
    /// Who may connect, by user name. Without any, whoever reaches the port may.
    pub users: BTreeMap<String, UserConfig>,
    /// Says aloud that nobody has to give a password. Needed to listen beyond loopback without users.
    pub anonymous: bool,
    /// Clients at one time.
    #[schemars(range(min = 1))]
    pub max_connections: usize,
    /// The largest packet, and so nearly the largest message.
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
    /// Everything that cannot work, all at once. Reads the files, opens no port.
    pub fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        match self.address() {
            Err(message) => problems.push(Problem::new("listen", message)),
            Ok(address)
                if !address.ip().is_loopback() && self.users.is_empty() && !self.anonymous =>
            {
                problems.push(Problem::new(
                    "listen",
                    format!(
                        "{address} is open to the network; add users, say anonymous = true, or \
                         listen on 127.0.0.1"
                    ),
                ));
            }
            Ok(_) => {}
        }
        if self.anonymous && !self.users.is_empty() {
            let message = "contradicts users; remove one of them";
            problems.push(Problem::new("anonymous", message));
        }
        for (name, user) in &self.users {
            if let Err(message) = read_secret(&user.password_file) {
                problems.push(Problem::new(&format!("users.{name}.password_file"), message));
            }
        }
        if self.max_connections == 0 {
            problems.push(Problem::new("max_connections", "must be at least 1"));
        }
        if !(1024..=256 << 20).contains(&self.max_payload) {
            problems.push(Problem::new("max_payload", "must be from 1KiB to 256MiB"));
        }
        problems
    }

    pub(super) fn address(&self) -> Result<SocketAddr, String> {
        listen_address(&self.listen, 1883)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_open_to_the_network_says_so() {
        let keys = |text: &str| -> Vec<String> {
            let config: BrokerConfig = toml::from_str(text).expect(text);
            config.check().into_iter().map(|p| p.key).collect()
        };
        assert_eq!(keys(""), Vec::<String>::new());
        assert_eq!(keys("listen = '0.0.0.0:1883'"), ["listen"]);
        assert_eq!(keys("listen = '0.0.0.0:1883'\nanonymous = true"), Vec::<String>::new());
        assert_eq!(keys("listen = 'localhost'\nmax_payload = '1GiB'"), ["listen", "max_payload"]);
        assert_eq!(
            keys("listen = '[::]:1883'\n[users.a]\npassword_file = '/nonexistent/a'"),
            ["users.a.password_file"]
        );
        assert!(toml::from_str::<BrokerConfig>("port = 1").is_err());
    }
}
