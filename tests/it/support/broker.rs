//! The two brokers that every MQTT test runs against.

use eir::broker::{Broker, BrokerConfig};

use super::mosquitto::{Mosquitto, free_port};

/// Both of them.
pub(crate) const BOTH: [Kind; 2] = [Kind::Mosquitto, Kind::Embedded];

/// Which broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// mosquitto in a process of its own.
    Mosquitto,
    /// The one inside eir.
    Embedded,
}

/// A running broker on loopback.
#[derive(Debug)]
pub(crate) enum AnyBroker {
    Mosquitto(Mosquitto),
    Embedded(Option<Broker>, BrokerConfig),
}

impl AnyBroker {
    pub(crate) fn start(kind: Kind) -> Self {
        match kind {
            Kind::Mosquitto => Self::Mosquitto(Mosquitto::start()),
            Kind::Embedded => {
                let listen = format!("127.0.0.1:{}", free_port());
                let max_payload = 64 << 20;
                let config = BrokerConfig { listen, max_payload, ..BrokerConfig::default() };
                Self::Embedded(Some(Broker::start(&config).expect("broker")), config)
            }
        }
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Mosquitto(mosquitto) => format!("mqtt://127.0.0.1:{}", mosquitto.port()),
            Self::Embedded(_, config) => format!("mqtt://{}", config.listen),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::Mosquitto(mosquitto) => mosquitto.port(),
            Self::Embedded(_, config) => {
                let port = config.listen.rsplit(':').next().and_then(|port| port.parse().ok());
                port.expect("a port")
            }
        }
    }

    /// Ends it without a word to its clients.
    pub(crate) fn kill(&mut self) {
        match self {
            Self::Mosquitto(mosquitto) => mosquitto.kill(),
            Self::Embedded(broker, _) => drop(broker.take()),
        }
    }

    /// Starts it again, empty, on the same port.
    pub(crate) fn start_again(&mut self) {
        match self {
            Self::Mosquitto(mosquitto) => mosquitto.start_again(),
            Self::Embedded(broker, config) => {
                *broker = Some(Broker::start(config).expect("broker"));
            }
        }
    }
}
