//! Starting and stopping the broker.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use rmqtt::context::ServerContext;
use rmqtt::hook::Type;
use rmqtt::net::{Builder, Listener};
use rmqtt::server::MqttServer;
use thiserror::Error;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::net::{listen_problem, read_secret};

use super::auth::{Door, Users};
use super::retain::Retained;
use super::share::InTurn;
use super::size::Fits;
use super::{BrokerConfig, UserConfig};

/// How many messages wait for one client that is slow or away.
const WAITING_MESSAGES: usize = 10_000;

/// How many QoS 1 and 2 messages are on their way to one client, if it takes that many.
const IN_FLIGHT: NonZeroU16 = NonZeroU16::new(256).expect("it is not zero");

/// How long a client may take to say who it is.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long connections may take to end when the broker stops.
const SHUTDOWN: Duration = Duration::from_secs(1);

/// Why the broker did not start.
#[derive(Debug, Error)]
pub enum BrokerError {
    /// The configuration cannot work.
    #[error("[broker] {key}: {problem}")]
    Config {
        /// The key in `[broker]`.
        key: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The port could not be opened.
    #[error("{address}: {}", listen_problem(source, TAKEN))]
    Listen {
        /// Where it should have listened.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The system has no thread for it.
    #[error("the broker's thread cannot be started")]
    Thread(#[from] io::Error),
}

/// What helps where the port is in use.
const TAKEN: &str = "another broker runs there, so stop it, connect to it without [broker], or choose \
                     another port";

/// A running broker. It ends when it is stopped or dropped.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Broker {
    /// Opens the port and serves it on a thread of its own. Blocks until the port is open.
    pub fn start(config: &BrokerConfig) -> Result<Self, BrokerError> {
        if let Some(problem) = config.check().into_iter().next() {
            return Err(BrokerError::Config { key: problem.key, problem: problem.message });
        }
        let address = config.address().map_err(|problem| invalid("listen", problem))?;
        let users = Users::new(passwords(config)?);
        let (stop, stopped) = oneshot::channel();
        let (opened, result) = mpsc::sync_channel(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let config = config.clone();
        let thread = std::thread::Builder::new()
            .name("broker".to_owned())
            .spawn(move || serve(runtime, &config, address, users, &opened, stopped))?;
        let address = result.recv().unwrap_or_else(|_| {
            Err(BrokerError::Thread(io::Error::other("it ended before the port was open")))
        })?;
        tracing::info!(%address, "broker listens");
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens; the port that was chosen for port 0.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Closes the port and every connection; sessions and retained messages are gone. Blocks for a
    /// moment.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Without a receiver the thread has ended already.
        let _ended = self.stop.take().map(|stop| stop.send(()));
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the broker's thread panicked");
        }
    }
}

fn invalid(key: &str, problem: String) -> BrokerError {
    BrokerError::Config { key: key.to_owned(), problem }
}

fn passwords(config: &BrokerConfig) -> Result<Vec<(String, String)>, BrokerError> {
    let read = |(name, user): (&String, &UserConfig)| {
        read_secret(&user.password_file)
            .map(|password| (name.clone(), password))
            .map_err(|problem| invalid(&format!("users.{name}.password_file"), problem))
    };
    config.users.iter().map(read).collect()
}

/// The broker's thread.
fn serve(
    runtime: Runtime,
    config: &BrokerConfig,
    address: SocketAddr,
    users: Users,
    opened: &mpsc::SyncSender<Result<SocketAddr, BrokerError>>,
    stopped: oneshot::Receiver<()>,
) {
    runtime.block_on(async {
        let listener = match listen(config, address) {
            Ok(listener) => listener,
            Err(source) => {
                // Nobody waits if the starting thread is gone.
                let _unheard = opened.send(Err(BrokerError::Listen { address, source }));
                return;
            }
        };
        let bound = listener.local_addr().unwrap_or(address);
        let context = context(config, users).await;
        let server = MqttServer::new(context).listener_by_id(listener, bound.port()).build();
        let _unheard = opened.send(Ok(bound));
        tokio::select! {
            ended = server.run() => tracing::error!(?ended, "the broker ended by itself"),
            _stop = stopped => {}
        }
    });
    runtime.shutdown_timeout(SHUTDOWN);
}

fn listen(config: &BrokerConfig, address: SocketAddr) -> io::Result<Listener> {
    let plain = |error: rmqtt::Error| match error.downcast::<io::Error>() {
        Ok(error) => error,
        Err(error) => io::Error::other(error.to_string()),
    };
    Builder::new()
        .name("eir")
        .laddr(address)
        .reuseaddr(Some(true))
        .nodelay(true)
        // `Door` decides, also about those who give no name.
        .allow_anonymous(false)
        .max_connections(config.max_connections)
        .max_handshaking_limit(config.max_connections)
        .handshake_timeout(HANDSHAKE)
        .max_packet_size(u32::try_from(config.max_payload).unwrap_or(u32::MAX))
        .max_inflight(IN_FLIGHT)
        .max_mqueue_len(WAITING_MESSAGES)
        .max_clientid_len(256)
        .max_topic_levels(64)
        .max_subscriptions(1000)
        // A message is delivered again on a new connection, and never before (MQTT 5.0 §4.4).
        .message_retry_interval(Duration::ZERO)
        .message_expiry_interval(Duration::ZERO)
        .bind()
        .and_then(Listener::tcp)
        .map_err(plain)
}

async fn context(config: &BrokerConfig, users: Users) -> ServerContext {
    let context = ServerContext::new()
        .busy_check_enable(false)
        .task_exec_workers(config.max_connections)
        .task_exec_queue_max(WAITING_MESSAGES)
        .build()
        .await;
    *context.extends.retain_mut().await = Box::new(Retained::new());
    *context.extends.shared_subscription_mut().await = Box::new(InTurn::default());
    let hooks = context.extends.hook_mgr().register();
    let door = Door { users, max_connections: config.max_connections, context: context.clone() };
    hooks.add(Type::ClientAuthenticate, Box::new(door)).await;
    hooks.add(Type::MessageExpiryCheck, Box::new(Fits)).await;
    hooks.start().await;
    context
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_says_what_to_do() {
        let config = BrokerConfig { listen: "127.0.0.1:0".to_owned(), ..BrokerConfig::default() };
        let first = Broker::start(&config).expect("a broker");
        let taken = first.local_addr();
        assert_ne!(taken.port(), 0);
        let again = BrokerConfig { listen: taken.to_string(), ..config };
        let error = Broker::start(&again).expect_err("taken").to_string();
        assert!(error.contains(&taken.to_string()) && error.contains("in use"), "{error}");
        first.stop();
        assert_eq!(Broker::start(&again).expect("free again").local_addr(), taken);
    }
}
