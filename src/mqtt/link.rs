//! The handle of a connection.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use crate::task::{Clock, Group, SystemClock};

use super::driver::Driver;
use super::state::Tally;
use super::{ConnectionConfig, Counters, LinkState, Message, Publish, QoS, TopicFilter, is_topic};

/// How many publishes may wait to be written before [`Link::publish`] itself waits.
const WAITING_PUBLISHES: usize = 64;

/// Why a link cannot even be tried.
#[derive(Debug, Error)]
pub enum MqttError {
    /// The URL is no broker's.
    #[error("[mqtt.{name}] url: {problem}")]
    Url {
        /// The connection's name.
        name: String,
        /// What is wrong and what would be right.
        problem: String,
    },
}

/// Why a publish was not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PublishError {
    /// The broker will not take this message, now or later.
    #[error("refused: {0}")]
    Refused(String),
    /// There is no connection; the message may or may not have reached the broker.
    #[error("no connection to the broker")]
    Disconnected,
    /// The broker did not confirm in time; the message may or may not have reached it.
    #[error("no acknowledgement from the broker within {0:?}")]
    Timeout(Duration),
}

impl PublishError {
    /// Trying again is pointless.
    pub const fn is_refused(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

/// A connection to a broker; clones share it. It ends with the task group it was started in.
#[derive(Clone)]
pub struct Link(Arc<Inner>);

struct Inner {
    name: Arc<str>,
    wanted: watch::Sender<BTreeMap<TopicFilter, QoS>>,
    commands: mpsc::Sender<Command>,
    questions: mpsc::Sender<Question>,
    state: watch::Receiver<LinkState>,
    tally: Arc<Tally>,
    publish_timeout: Duration,
}

/// A message on its way out and who waits for the broker's word on it.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) publish: Publish,
    /// The payload of `publish`, shared between attempts.
    pub(super) payload: Bytes,
    pub(super) reply: oneshot::Sender<Result<(), PublishError>>,
}

impl Command {
    /// There is no connection.
    pub(super) fn turn_away(self) {
        // Nobody may be waiting any more.
        let _unheard = self.reply.send(Err(PublishError::Disconnected));
    }
}

/// Whether the task gets round to it.
pub(super) type Question = oneshot::Sender<()>;

/// Called with each message on the link's own task: quick, and never blocking.
pub(super) type Handler = Arc<dyn Fn(Message) + Send + Sync>;

impl Link {
    /// Starts to connect in the background and returns at once. `name` and `device` make the client
    /// identifier and the status topic. Files are read at each attempt, so that a missing one heals;
    /// [`ConnectionConfig::check`] finds it beforehand.
    pub fn start(
        name: &str,
        device: &str,
        config: &ConnectionConfig,
        handler: Arc<dyn Fn(Message) + Send + Sync>,
        group: &mut Group,
    ) -> Result<Self, MqttError> {
        let endpoint = config
            .endpoint()
            .map_err(|problem| MqttError::Url { name: name.to_owned(), problem })?;
        let (commands, incoming) = mpsc::channel(WAITING_PUBLISHES);
        let (questions, asked) = mpsc::channel(1);
        let since = SystemClock.now();
        let (report, state) = watch::channel(LinkState::Connecting { since, last_error: None });
        let wanted = watch::Sender::new(BTreeMap::new());
        let tally = Arc::new(Tally::default());
        let driver = Driver::new(
            (name, device),
            (config.clone(), endpoint),
            handler,
            (incoming, asked, wanted.subscribe()),
            (report, Arc::clone(&tally)),
        );
        let stop = group.stop_signal();
        group.spawn("mqtt", driver.run(stop));
        Ok(Self(Arc::new(Inner {
            name: name.into(),
            wanted,
            commands,
            questions,
            state,
            tally,
            publish_timeout: config.publish_timeout,
        })))
    }

    /// The name in the configuration.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether both are handles of the same connection.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Says which subscriptions are wanted from now on, now and after every reconnect. Only the
    /// difference goes to the broker. Of a filter that is named twice the higher QoS counts.
    pub fn set_subscriptions(&self, wanted: impl IntoIterator<Item = (TopicFilter, QoS)>) {
        let mut filters = BTreeMap::new();
        for (filter, qos) in wanted {
            let entry = filters.entry(filter).or_insert(qos);
            *entry = qos.max(*entry);
        }
        self.0.wanted.send_if_modified(|current| {
            let changed = *current != filters;
            *current = filters;
            changed
        });
    }

    /// Publishes and waits for the broker's word: PUBACK at QoS 1, PUBCOMP at QoS 2; at QoS 0 until
    /// it is queued for writing. While there is no connection it fails at once; what was written
    /// when the connection broke is sent again on the next one, within the publish timeout.
    pub async fn publish(&self, mut publish: Publish) -> Result<(), PublishError> {
        if !is_topic(&publish.topic) {
            return Err(PublishError::Refused(format!(
                "`{:.80}` is no topic; it must not be empty, and + and # are for filters",
                publish.topic
            )));
        }
        if !self.0.state.borrow().is_up() {
            return Err(PublishError::Disconnected);
        }
        let (reply, answer) = oneshot::channel();
        let payload = Bytes::from(std::mem::take(&mut publish.payload));
        let command = Command { publish, payload, reply };
        let confirmed = async {
            self.0.commands.send(command).await.map_err(|_| PublishError::Disconnected)?;
            answer.await.unwrap_or(Err(PublishError::Disconnected))
        };
        let limit = self.0.publish_timeout;
        tokio::time::timeout(limit, confirmed).await.unwrap_or(Err(PublishError::Timeout(limit)))
    }

    /// Waits until the broker has accepted the connection and answered for every wanted subscription.
    pub async fn ready(&self) {
        let wanted = self.0.wanted.borrow().len();
        let answered = |state: &LinkState| match state {
            LinkState::Up { subscribed, refused, .. } => subscribed + refused.len() >= wanted,
            LinkState::Connecting { .. } | LinkState::Stopped => false,
        };
        let mut state = self.state();
        // An error means that the link is gone: nobody is left to wait for.
        let _gone = state.wait_for(answered).await.is_err();
    }

    /// Resolves when the task behind the link gets round to it, connected or not: it hangs nowhere.
    /// False: the task is gone.
    pub async fn answers(&self) -> bool {
        let (question, answer) = oneshot::channel();
        self.0.questions.send(question).await.is_ok() && answer.await.is_ok()
    }

    /// How the link is doing, now and at every change.
    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.0.state.clone()
    }

    /// What went through so far.
    pub fn counters(&self) -> Counters {
        self.0.tally.read()
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("name", &self.0.name)
            .field("state", &*self.0.state.borrow())
            .finish_non_exhaustive()
    }
}
