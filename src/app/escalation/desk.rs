//! Where the cases of one pipeline are seen to: each is answered from what was answered before, or by the remote,
//! or not at all.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::value::to_raw_value;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::{Answers, Asked, Occasion, Opinion, Sent};
use crate::action::escalate::{
    Answer, Cache, EscalateConfig, Fate, Gate, Inquiry, Question, Refusal, Remote, RemoteError,
    Tally, Words,
};
use crate::event::{Name, Prediction, StreamKey};
use crate::model::{Model, Reader};
use crate::net::Reply;
use crate::task::{Group, Stop};

/// Where the cases of one pipeline are seen to.
#[derive(Debug)]
pub(super) struct Desk {
    pipeline: Name,
    /// The local model.
    model: Name,
    version: u64,
    remote: Remote,
    reader: Reader,
    gate: Mutex<Gate>,
    cache: Mutex<Cache>,
    tally: Arc<Tally>,
}

impl Desk {
    /// The configuration was checked.
    pub(super) fn new(
        config: &EscalateConfig,
        pipeline: &Name,
        model: &Model,
        tally: Arc<Tally>,
    ) -> Result<Self, String> {
        let package = model.package();
        Ok(Self {
            pipeline: pipeline.clone(),
            model: package.name.clone(),
            version: package.version,
            remote: Remote::new(config)?,
            reader: model.reader().map_err(|error| error.to_string())?,
            gate: Mutex::new(Gate::new(config)),
            cache: Mutex::new(Cache::new(config.cache.0)),
            tally,
        })
    }

    /// Takes cases until it is told to stop; what is on its way then is abandoned.
    pub(super) async fn serve(
        self,
        mut cases: mpsc::Receiver<Sent>,
        answers: Answers,
        mut stop: Stop,
    ) {
        let (desk, answers) = (Arc::new(self), Arc::new(answers));
        let mut asking = Group::default();
        loop {
            let sent = tokio::select! {
                biased;
                () = stop.stopped() => return,
                sent = cases.recv() => sent,
            };
            let Some(sent) = sent else { return };
            let (desk, answers) = (Arc::clone(&desk), Arc::clone(&answers));
            asking.spawn("ask", async move { desk.see_to(sent, &answers).await });
        }
    }

    async fn see_to(self: Arc<Self>, sent: Sent, answers: &Answers) {
        match self.answer(&sent).await {
            Ok((answer, cached)) => {
                let Sent { occasion, until, case, place, .. } = sent;
                answers.tell(Opinion { occasion, answer, cached, until, case, _place: place });
            }
            Err(fate) => sent.case.ends(fate),
        }
    }

    /// The answer, and whether it was there already.
    async fn answer(self: &Arc<Self>, sent: &Sent) -> Result<(Answer, bool), Fate> {
        let question = self.question(sent).await.map_err(|error| {
            tracing::debug!(pipeline = %self.pipeline, "a case makes no question: {error}");
            Fate::Failed
        })?;
        if let Some(answer) = lock(&self.cache).get(question.content()) {
            return Ok((answer, true));
        }
        let now = Instant::now();
        if now >= sent.until {
            return Err(Fate::Late);
        }
        self.admit(now)?;
        let asked = timeout_at(sent.until, self.ask(sent, &question)).await;
        match asked {
            Ok(Ok(answer)) => {
                self.works();
                lock(&self.cache).put(*question.content(), answer.clone());
                Ok((answer, false))
            }
            Ok(Err(error)) => {
                self.fails(&error.in_short(), error.is_for_good(), error.retry_after());
                Err(if error.is_late() { Fate::Late } else { Fate::Failed })
            }
            Err(_late) => {
                self.fails("no answer in time", false, None);
                Err(Fate::Late)
            }
        }
    }

    async fn question(self: &Arc<Self>, sent: &Sent) -> Result<Question, String> {
        let (desk, asked) = (Arc::clone(self), Arc::clone(&sent.asked));
        let Occasion { stream, prediction, .. } = &sent.occasion;
        let (stream, prediction) = (stream.clone(), Arc::clone(prediction));
        let made = aside(move || desk.make(&asked, &stream, &prediction)).await?;
        made.map_err(|error| error.to_string())
    }

    fn make(
        &self,
        asked: &Asked,
        stream: &StreamKey,
        prediction: &Prediction,
    ) -> Result<Question, serde_json::Error> {
        match asked {
            Asked::Tensor(prepared) => Ok(Question::tensors(
                (self.reader.input(), &prepared.tensor),
                &self.reader.outputs(),
                &prepared.placement_bytes(),
            )),
            Asked::Input(told) => Question::input(&Inquiry {
                pipeline: &self.pipeline,
                stream,
                model: &self.model,
                version: self.version,
                prediction,
                input: &to_raw_value(told)?,
            }),
        }
    }

    async fn ask(
        self: &Arc<Self>,
        sent: &Sent,
        question: &Question,
    ) -> Result<Answer, RemoteError> {
        let reply = self.remote.ask(question, sent.occasion.trace.traceparent).await?;
        let (desk, asked) = (Arc::clone(self), Arc::clone(&sent.asked));
        let question = question.clone();
        let read = aside(move || desk.read(&asked, &question, reply)).await;
        read.map_err(RemoteError::Unfit).flatten()
    }

    fn read(
        &self,
        asked: &Asked,
        question: &Question,
        reply: Reply,
    ) -> Result<Answer, RemoteError> {
        let said = self.remote.read(question, reply, &self.reader.outputs())?;
        let unfit = |error: String| RemoteError::Unfit(error);
        let prediction = match (said.words, asked) {
            (Words::Tensors(outputs), Asked::Tensor(prepared)) => {
                self.reader.read(prepared, &outputs).map_err(|error| unfit(error.to_string()))?
            }
            (Words::Prediction(prediction), _) => prediction,
            (Words::Tensors(_), Asked::Input(_)) => {
                return Err(unfit("tensors, where a prediction was asked for".to_owned()));
            }
        };
        self.reader.check(&prediction).map_err(unfit)?;
        Ok(Answer { prediction: Arc::new(prediction), model: said.model, version: said.version })
    }

    fn admit(&self, now: Instant) -> Result<(), Fate> {
        let mut gate = lock(&self.gate);
        let admitted = gate.admit(now);
        self.tally.set_breaker(gate.state());
        admitted.map_err(|refusal| match refusal {
            Refusal::Breaker => Fate::Breaker,
            Refusal::Rate => Fate::Rate,
        })
    }

    fn works(&self) {
        let closed = {
            let mut gate = lock(&self.gate);
            let closed = gate.answered();
            self.tally.set_breaker(gate.state());
            closed
        };
        if closed {
            tracing::info!(pipeline = %self.pipeline, remote = self.remote.host(), "the remote answers again");
        }
    }

    /// One line when it begins, whatever the traffic; local decisions go on.
    fn fails(&self, why: &str, for_good: bool, after: Option<Duration>) {
        let opened = {
            let mut gate = lock(&self.gate);
            let opened = gate.failed(Instant::now(), for_good, after);
            self.tally.set_breaker(gate.state());
            opened
        };
        let (pipeline, remote) = (&self.pipeline, self.remote.host());
        if opened {
            tracing::warn!(%pipeline, remote, "nothing is escalated for a while: {why}");
        } else {
            tracing::debug!(%pipeline, remote, "no second opinion: {why}");
        }
    }
}

/// A large picture or answer takes its time: not that of the threads which carry everybody's bytes.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())
}

// No code that can panic runs under these locks.
fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
