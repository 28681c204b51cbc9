//! The embedded broker while it runs, and while it cannot.

use crate::broker::{Broker, BrokerConfig};

/// `[broker]`, where the configuration has one.
#[derive(Debug)]
pub(super) struct Embedded {
    config: BrokerConfig,
    state: Result<Broker, String>,
}

impl Embedded {
    /// Starts it. Where that fails, the connections that need it wait for it as for any other broker,
    /// and [`Embedded::heal`] tries again.
    pub(super) fn start(config: &BrokerConfig) -> Self {
        let state = Broker::start(config).map_err(|error| error.to_string());
        if let Err(problem) = &state {
            tracing::error!("the embedded broker does not run: {problem}");
        }
        Self { config: config.clone(), state }
    }

    /// Tries again what failed.
    pub(super) fn heal(&mut self) {
        let Err(before) = &self.state else { return };
        match Broker::start(&self.config) {
            Ok(broker) => {
                tracing::info!("the embedded broker runs");
                self.state = Ok(broker);
            }
            Err(error) => {
                let now = error.to_string();
                if now != *before {
                    tracing::error!("the embedded broker does not run: {now}");
                    self.state = Err(now);
                }
            }
        }
    }

    /// Why it does not run.
    pub(super) fn problem(&self) -> Option<&str> {
        self.state.as_ref().err().map(String::as_str)
    }

    /// Ends it with its connections.
    pub(super) fn stop(self) {
        if let Ok(broker) = self.state {
            broker.stop();
        }
    }
}
