//! `[api]` as the user writes it.

use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::auth::Auth;
use crate::event::{ByteSize, Frequency, HumanDuration};
use crate::job::JobsConfig;
use crate::net::{Problem, ServerTlsConfig, listen_address};

/// Health, metrics and models over HTTP/1.1 and HTTP/2, and the models over gRPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ApiConfig {
    /// Address and port; port 0 takes a free one.
    pub listen: String,
    /// Address and port for gRPC, or `off`. Without it: the address of `listen` and the next port.
    pub grpc: Option<String>,
    /// Who may ask. Needed to listen beyond loopback.
    pub auth: Option<Auth>,
    /// Without it all goes in the clear.
    pub tls: Option<ServerTlsConfig>,
    /// How often one client may ask, by its address; by default as often as it likes.
    pub rate: Option<Frequency>,
    /// Work that outlasts a request. Without this table there is none.
    pub jobs: Option<JobsConfig>,
    /// Clients at one time. Who comes then takes the place of the one that has left the server waiting the longest.
    #[schemars(range(min = 1, max = 4096))]
    pub max_connections: usize,
    /// From 100 ms to an hour. A client that says nothing for this long, takes longer to say what it wants, or
    /// does not read the answer, is cut off.
    pub timeout: HumanDuration,
    /// The largest body of a request, 1KiB to 256MiB.
    pub max_body: ByteSize,
    /// How much memory the bodies of all requests may take together, from `max_body` to 1GiB; who finds no room is told to
    /// come again.
    pub max_bodies: ByteSize,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8000".to_owned(),
            grpc: None,
            auth: None,
            tls: None,
            rate: None,
            jobs: None,
            max_connections: 256,
            timeout: HumanDuration::from_secs(30),
            max_body: ByteSize(16 << 20),
            max_bodies: ByteSize(64 << 20),
        }
    }
}

impl ApiConfig {
    /// Everything that cannot work, all at once. Opens no port.
    pub fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        match self.address() {
            Err(message) => problems.push(Problem::new("listen", message)),
            Ok(address) => {
                problems.extend(self.too_open(address).map(|open| Problem::new("listen", open)));
                problems.extend(self.check_grpc(address).map(|wrong| Problem::new("grpc", wrong)));
            }
        }
        if let Some(Auth::Tokens(tokens)) = &self.auth {
            let found = tokens.check().into_iter();
            problems.extend(found.map(|(key, message)| Problem::new(&key, message)));
        }
        if let Some(jobs) = &self.jobs {
            let found = jobs.check().into_iter();
            problems.extend(found.map(|(key, told)| Problem::new(&format!("jobs.{key}"), told)));
        }
        if !(1..=4096).contains(&self.max_connections) {
            problems.push(Problem::new("max_connections", "must be from 1 to 4096"));
        }
        if !(Duration::from_millis(100)..=Duration::from_hours(1)).contains(&self.timeout.0) {
            problems.push(Problem::new("timeout", "must be from 100ms to 1h"));
        }
        if !(1 << 10..=256 << 20).contains(&self.max_body.0) {
            problems.push(Problem::new("max_body", "must be from 1KiB to 256MiB"));
        }
        if !(self.max_body.0..=1 << 30).contains(&self.max_bodies.0) {
            problems.push(Problem::new("max_bodies", "must be from max_body to 1GiB"));
        }
        problems
    }

    fn too_open(&self, address: SocketAddr) -> Option<String> {
        (!address.ip().is_loopback() && self.auth.is_none()).then(|| {
            format!(
                "{address} is open to the network; make a token with `eir token new`, or say \
                 auth = \"none\" if whoever reaches it may ask, and load models, or listen on \
                 127.0.0.1"
            )
        })
    }

    /// What of `grpc` cannot work beside `listen`.
    fn check_grpc(&self, listen: SocketAddr) -> Option<String> {
        let address = match self.grpc_address() {
            Err(message) => return Some(message),
            Ok(address) => address?,
        };
        if address == listen && address.port() != 0 {
            return Some(format!("{address} is where HTTP listens; choose another port, or off"));
        }
        // The other is told of, and this one follows it.
        self.grpc.as_ref().and_then(|_| self.too_open(address))
    }

    pub(super) fn address(&self) -> Result<SocketAddr, String> {
        listen_address(&self.listen, 8000)
    }

    /// Where gRPC is spoken, if it is.
    pub(super) fn grpc_address(&self) -> Result<Option<SocketAddr>, String> {
        match self.grpc.as_deref() {
            Some("off") => Ok(None),
            Some(_) if !cfg!(feature = "grpc") => {
                Err("this program was built without gRPC; leave it out, or say off".to_owned())
            }
            Some(text) => {
                listen_address(text, 8001).map(Some).map_err(|no| format!("{no}, or off"))
            }
            None if !cfg!(feature = "grpc") => Ok(None),
            None => {
                let mut address = self.address()?;
                if address.port() != 0 {
                    let next = address.port().checked_add(1);
                    let none =
                        || format!("there is no port behind that of {address}; name one, or off");
                    address.set_port(next.ok_or_else(none)?);
                }
                Ok(Some(address))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_open_to_the_network_says_so() {
        let keys = |text: &str| -> Vec<String> {
            let config: ApiConfig = toml::from_str(text).expect(text);
            config.check().into_iter().map(|p| p.key).collect()
        };
        assert_eq!(keys(""), Vec::<String>::new());
        assert_eq!(keys("listen = '[::1]:0'"), Vec::<String>::new());
        assert_eq!(keys("listen = '0.0.0.0:8000'"), ["listen"]);
        assert_eq!(keys("listen = '0.0.0.0:8000'\nauth = 'none'"), Vec::<String>::new());
        assert_eq!(
            keys("listen = ':8000'\nmax_connections = 0\ntimeout = '1ms'"),
            ["listen", "max_connections", "timeout"]
        );
        assert_eq!(keys("max_body = '1GiB'"), ["max_body", "max_bodies"]);
        assert_eq!(keys("max_bodies = '1MiB'"), ["max_bodies"]);
        assert!(toml::from_str::<ApiConfig>("auth = 'some'").is_err());
        let wide = "listen = '0.0.0.0:8000'\nauth.tokens";
        let token = |sha256: &str| format!("{{ a = {{ role = 'read', sha256 = '{sha256}' }} }}");
        assert_eq!(keys(&format!("{wide} = {{}}")), ["auth.tokens"]);
        assert_eq!(keys(&format!("{wide} = {}", token("12"))), ["auth.tokens.a.sha256"]);
        assert_eq!(keys(&format!("{wide} = {}", token(&"aB".repeat(32)))), Vec::<String>::new());
    }

    #[cfg(feature = "grpc")]
    #[test]
    fn grpc_is_next_to_http_unless_it_is_told_where() {
        let at = |text: &str| {
            let config: ApiConfig = toml::from_str(text).expect(text);
            let problems: Vec<_> = config.check().into_iter().map(|p| p.key).collect();
            let address = config.grpc_address().ok().flatten();
            (problems, address.map(|address| address.to_string()))
        };
        let good = |address: &str| (Vec::new(), Some(address.to_owned()));
        let wrong =
            |key: &str, address: Option<&str>| (vec![key.to_owned()], address.map(str::to_owned));
        assert_eq!(at(""), good("127.0.0.1:8001"));
        assert_eq!(at("listen = '[::1]:9000'"), good("[::1]:9001"));
        assert_eq!(at("listen = '127.0.0.1:0'"), good("127.0.0.1:0"));
        assert_eq!(at("grpc = 'off'"), (Vec::new(), None));
        assert_eq!(at("grpc = '127.0.0.1:0'"), good("127.0.0.1:0"));
        assert_eq!(at("grpc = '127.0.0.1:8000'"), wrong("grpc", Some("127.0.0.1:8000")));
        assert_eq!(at("grpc = '0.0.0.0:8001'"), wrong("grpc", Some("0.0.0.0:8001")));
        assert_eq!(at("grpc = '0.0.0.0:8001'\nauth = 'none'"), good("0.0.0.0:8001"));
        assert_eq!(at("listen = '0.0.0.0:8000'"), wrong("listen", Some("0.0.0.0:8001")));
        assert_eq!(at("grpc = '8001'"), wrong("grpc", None));
        assert_eq!(at("listen = '127.0.0.1:65535'"), wrong("grpc", None));
        assert_eq!(at("listen = '127.0.0.1:65535'\ngrpc = 'off'"), (Vec::new(), None));
    }

    #[cfg(not(feature = "grpc"))]
    #[test]
    fn without_grpc_nobody_is_promised_it() {
        let keys = |text: &str| -> Vec<String> {
            let config: ApiConfig = toml::from_str(text).expect(text);
            config.check().into_iter().map(|p| p.key).collect()
        };
        assert_eq!((keys(""), keys("grpc = 'off'")), (Vec::new(), Vec::new()));
        assert_eq!(keys("grpc = '127.0.0.1:8001'"), ["grpc"]);
    }
}
