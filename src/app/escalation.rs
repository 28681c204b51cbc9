//! Uncertain cases on their way from a pipeline's thread to a remote model, and the answers on their way back.
//!
//! The thread hands a case over ([`Escalation::ask`]) and never waits: where there is no room, the case is not
//! escalated. A task sees to each case until its deadline, and wakes the thread when there is an answer, for the
//! thread alone knows the state of the rules. Every case holds one of as many places as there may be on their way,
//! so that nothing here grows.

mod desk;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use self::desk::Desk;
use super::arrival::Provenance;
use crate::action::escalate::{Answer, Case, EscalateConfig, Fate, Tally};
use crate::event::{Envelope, Name, Prediction, StreamKey};
use crate::model::{Model, Prepared};
use crate::pipeline::rules::RuleSet;
use crate::summary::Told;
use crate::task::{Group, Queue};

/// The end that a pipeline's thread holds.
pub(super) struct Escalation {
    band: [f32; 2],
    /// The remote takes the tensors of the model, not the input as it came.
    tensors: bool,
    deadline: Duration,
    places: Arc<Semaphore>,
    cases: mpsc::Sender<Sent>,
    opinions: mpsc::Receiver<Opinion>,
    pub tally: Arc<Tally>,
}

/// The end that the pipeline holds. Dropped, what is on its way is abandoned.
#[derive(Debug)]
pub(super) struct Escalating {
    tasks: Group,
    places: Arc<Semaphore>,
    queue: u32,
    tally: Arc<Tally>,
}

/// What was decided locally, as far as a second opinion may change it.
#[derive(Debug)]
pub(super) struct Occasion {
    /// The message, without its bytes.
    pub trace: Envelope,
    /// What of it the publisher gave a name.
    pub cause: Option<Provenance>,
    pub stream: StreamKey,
    /// When it was judged.
    pub at: Timestamp,
    pub prediction: Arc<Prediction>,
    /// The rules that judged it, …
    pub rules: Arc<RuleSet>,
    /// … and which of them fired: their marks, and the ids of their decisions.
    pub fired: Vec<(u64, Uuid)>,
    /// Which of its stream's predictions it was.
    pub judged: u64,
}

/// What becomes of the second opinions that are on their way when a pipeline stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnTheirWay {
    /// They are waited for: it is the end.
    Awaited,
    /// They are abandoned: a successor waits.
    Abandoned,
}

/// A second opinion, come back in time so far.
#[derive(Debug)]
pub(super) struct Opinion {
    pub occasion: Occasion,
    pub answer: Answer,
    cached: bool,
    until: Instant,
    case: Case,
    _place: OwnedSemaphorePermit,
}

impl Opinion {
    /// It was still in time when it was looked at, and its case is counted by that; `None`: it was not.
    pub(super) fn in_time(self, now: std::time::Instant) -> Option<(Occasion, Answer)> {
        if Instant::from_std(now) > self.until {
            self.case.ends(Fate::Late);
            return None;
        }
        self.case.ends(if self.cached { Fate::Cached } else { Fate::Answered });
        Some((self.occasion, self.answer))
    }
}

/// How an opinion gets back to the pipeline's thread.
#[derive(Debug)]
struct Answers {
    answered: mpsc::Sender<Opinion>,
    /// Whose thread is woken.
    queue: Arc<Queue<Envelope>>,
}

impl Answers {
    fn tell(&self, opinion: Opinion) {
        // There are no more opinions than places. Closed: the thread is gone, and the case abandoned.
        if self.answered.try_send(opinion).is_ok() {
            self.queue.wake();
        }
    }
}

/// A case on its way to the remote.
#[derive(Debug)]
struct Sent {
    asked: Arc<Asked>,
    occasion: Occasion,
    until: Instant,
    case: Case,
    place: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum Asked {
    Tensor(Prepared),
    Input(Told),
}

impl fmt::Debug for Escalation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Escalation").field("band", &self.band).finish_non_exhaustive()
    }
}

impl Escalation {
    /// The prediction is one of those that are escalated.
    pub(super) fn wants(&self, prediction: &Prediction) -> bool {
        prediction.is_uncertain(self.band)
    }

    /// What the model was given is to be kept for it.
    pub(super) fn wants_tensor(&self, prediction: &Prediction) -> bool {
        self.tensors && self.places.available_permits() > 0 && self.wants(prediction)
    }

    /// Hands a case over, if there is room for it; `told` and `occasion` are asked for then alone.
    pub(super) fn ask(
        &self,
        prepared: Option<Prepared>,
        told: impl FnOnce() -> Option<Told>,
        occasion: impl FnOnce() -> Occasion,
        now: std::time::Instant,
    ) {
        let case = self.tally.case();
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return case.ends(Fate::Queue);
        };
        let asked = if self.tensors {
            // Where it was not kept, there was no room then.
            prepared.map(Asked::Tensor).ok_or(Fate::Queue)
        } else {
            told().map(Asked::Input).ok_or(Fate::Failed)
        };
        match asked {
            Ok(asked) => {
                let until = Instant::from_std(now) + self.deadline;
                let asked = Arc::new(asked);
                let sent = Sent { asked, occasion: occasion(), until, case, place };
                // There are no more cases than places in the channel. Closed: it is over, and the case is
                // counted as abandoned.
                let _closed = self.cases.try_send(sent).is_err();
            }
            Err(fate) => case.ends(fate),
        }
    }

    /// The next second opinion that has come.
    pub(super) fn next(&mut self) -> Option<Opinion> {
        self.opinions.try_recv().ok()
    }
}

impl Escalating {
    /// Starts what asks the remote, on the runtime that this is called in. `queue` is that of the pipeline's
    /// thread. The configuration was checked.
    pub(super) fn start(
        config: &EscalateConfig,
        pipeline: &Name,
        model: &Model,
        queue: Arc<Queue<Envelope>>,
    ) -> Result<(Self, Escalation), String> {
        let places = Arc::new(Semaphore::new(config.queue));
        let tally = Arc::new(Tally::default());
        let (cases, sent) = mpsc::channel(config.queue.max(1));
        let (answered, opinions) = mpsc::channel(config.queue.max(1));
        let desk = Desk::new(config, pipeline, model, Arc::clone(&tally))?;
        let mut tasks = Group::default();
        let stop = tasks.stop_signal();
        tasks.spawn("escalation", desk.serve(sent, Answers { answered, queue }, stop));
        let escalation = Escalation {
            band: config.uncertain,
            tensors: config.model.is_some(),
            deadline: config.deadline.0,
            places: Arc::clone(&places),
            cases,
            opinions,
            tally: Arc::clone(&tally),
        };
        let queue = u32::try_from(config.queue).unwrap_or(u32::MAX);
        Ok((Self { tasks, places, queue, tally }, escalation))
    }

    /// Waits until nothing is on its way any more, no new cases taken meanwhile, at most for so long. To be called
    /// while the pipeline's thread still works.
    pub(super) async fn settle(&self, deadline: Duration) {
        let all = self.places.acquire_many(self.queue);
        if timeout(deadline, all).await.is_err() {
            tracing::debug!("second opinions are not waited for any longer");
        }
    }

    /// Ends it at once.
    pub(super) async fn stop(self) {
        self.tasks.drain(Duration::ZERO).await;
    }

    /// What became of the cases so far.
    pub(super) const fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Ack, Frame, Input, Pixels, Topic};
    use crate::task::{Clock, SystemClock};

    fn occasion(now: std::time::Instant) -> Occasion {
        let rules = RuleSet::compile(&[], crate::package::Task::Anomaly, &[]).expect("no rules");
        Occasion {
            trace: Envelope {
                topic: Topic::new("a"),
                payload: Arc::default(),
                received_at: now,
                id: None,
                correlation: None,
                traceparent: None,
                redelivered: false,
                ack: Ack::none(),
            },
            cause: None,
            stream: StreamKey::new("a"),
            at: Timestamp::UNIX_EPOCH,
            prediction: Arc::new(Prediction::Anomaly { score: 0.5 }),
            rules: Arc::new(rules),
            fired: vec![],
            judged: 1,
        }
    }

    /// The pipeline's thread may have been busy when the answer came.
    #[test]
    fn an_answer_that_is_looked_at_too_late_counts_for_nothing() {
        let (tally, places) = (Arc::new(Tally::default()), Arc::new(Semaphore::new(4)));
        let now = SystemClock.now();
        let opinion = |cached| Opinion {
            occasion: occasion(now),
            answer: Answer {
                prediction: Arc::new(Prediction::Anomaly { score: 0.9 }),
                model: Name::near("big"),
                version: 1,
            },
            cached,
            until: Instant::from_std(now) + Duration::from_secs(2),
            case: tally.case(),
            _place: Arc::clone(&places).try_acquire_owned().expect("a place"),
        };
        assert!(opinion(false).in_time(now + Duration::from_secs(2)).is_some());
        assert!(opinion(true).in_time(now).is_some());
        assert!(opinion(false).in_time(now + Duration::from_secs(3)).is_none());
        let status = tally.status();
        let counts = ["answered", "cached", "dropped_late"].map(|name| status.count(name));
        assert_eq!((counts, places.available_permits()), ([1, 1, 1], 4));
    }

    #[test]
    fn without_room_a_case_is_dropped_before_anything_is_copied() {
        let tally = Arc::new(Tally::default());
        let places = Arc::new(Semaphore::new(1));
        let (cases, mut sent) = mpsc::channel(1);
        let (_answered, opinions) = mpsc::channel(1);
        let escalation = Escalation {
            band: [0.3, 0.7],
            tensors: false,
            deadline: Duration::from_secs(1),
            places: Arc::clone(&places),
            cases,
            opinions,
            tally: Arc::clone(&tally),
        };
        let now = SystemClock.now();
        let told = || Some(Told::Samples { channels: 1, interleaved: true, values: vec![0.5] });
        escalation.ask(None, told, || occasion(now), now);
        let never = || panic!("there is no room");
        escalation.ask(None, never, || occasion(now), now);
        assert_eq!(tally.status().count("dropped_queue"), 1);
        drop(sent.try_recv().expect("one is on its way"));
        escalation.ask(None, || None, || occasion(now), now);
        let status = tally.status();
        assert_eq!((status.escalated, places.available_permits()), (3, 1));
        assert_eq!((status.count("dropped_abandoned"), status.count("dropped_failed")), (1, 1));
        assert!(escalation.wants(&Prediction::Anomaly { score: 0.7 }));
        assert!(!escalation.wants(&Prediction::Anomaly { score: 0.71 }));
    }
    fn started(more: &str) -> (Escalating, Escalation) {
        use crate::model::{Models, ModelsConfig};
        let text = format!("uncertain = [0.0, 1.0]\n{more}");
        let config: EscalateConfig = toml::from_str(&text).expect("config");
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        let engine = crate::package::EngineChoice::Tract;
        let models = Models::new(&ModelsConfig { dir, engine, ..ModelsConfig::default() });
        let model = models.load(&"bearing".parse().expect("reference")).expect("model");
        let queue = Arc::new(Queue::new(1, crate::task::WhenFull::Hold));
        Escalating::start(&config, &Name::near("p"), &model, queue).expect("started")
    }

    /// Its base64, its JSON and its hash took the runtime's threads, which carry everybody's bytes.
    #[tokio::test]
    async fn a_large_picture_does_not_hold_up_the_runtime() {
        // By the time that it is a question it is too late to ask.
        let (escalating, escalation) = started("url = \"http://127.0.0.1:1\"\ndeadline = \"1ms\"");
        let mut picture = vec![0; 8 << 20];
        picture[..3].copy_from_slice(&[0xFF, 0xD8, 0xFF]);
        let (picture, now) = (Arc::from(picture), SystemClock.now());
        let data = vec![0; 3];
        let frame = Frame::new(1, 1, Pixels::Rgb, data);
        let told = || Told::new(&Input::Frame(frame), &picture);
        escalation.ask(None, told, || occasion(now), now);
        let mut turns = 0;
        while escalation.tally.status().count("dropped_late") == 0 {
            turns += 1;
            tokio::task::yield_now().await;
        }
        assert!(turns > 50, "others had {turns} turns meanwhile");
        escalating.stop().await;
    }
}
