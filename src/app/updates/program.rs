//! eir itself as a release: checked by its own `eir check`, started by the packaged program, and kept once it does well.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::carry::{AGAIN, Carried, Done};
use super::probation::Probation;
use super::{SystemClock, Worker};
use crate::api::What;
use crate::disk;
use crate::outbox::Inspector;
use crate::task::Clock;
use crate::update::depot::OUTBOX_COPY;
use crate::update::journal::Subject;
use crate::update::machine::{Event, Kind, Progress, State};
use crate::update::release::Content;
use crate::update::slots::{self, Slots};

/// Where the packaged program lies that started this one; not set: this one is it.
pub const BASE: &str = "EIR_BASE";

/// How long a new program may take to check the configuration: every model is loaded.
const CHECK_WITHIN: Duration = Duration::from_mins(10);

/// How long a look may take.
const LOOK_WITHIN: Duration = Duration::from_mins(1);

/// What a program may say, in bytes; one that says more is left talking to nobody, and ends.
const MAX_WORDS: u64 = 64 << 10;

/// What of a program's last words is told.
const LAST_WORDS: usize = 600;

/// The version that runs.
const RUNS: &str = env!("CARGO_PKG_VERSION");

impl Worker {
    /// What the packaged program did since may be news: it gave a version up, or came back itself.
    pub(super) fn reconcile(&mut self) {
        let Some(failed) = Slots::read(&self.config().dir).failed else { return };
        let found = self.agent.all().find(|(subject, known)| {
            let content = Content::of(&known.release);
            let is_it = |content| matches!(content, Content::Binary { version, .. } if version == failed.version);
            subject.kind == Kind::Binary && content.is_some_and(is_it)
        });
        let Some((subject, state)) = found.map(|(subject, known)| (subject.clone(), known.state))
        else {
            return;
        };
        let event = match state {
            State::Probation | State::Committing => Event::Failed,
            State::Committed => Event::Undone,
            _ => return,
        };
        if let Err(error) = self.agent.step(&subject, event, &failed.reason) {
            tracing::error!("what became of {} is not saved: {error}", failed.version);
        }
    }

    /// The new program says its version, finds no mistake in this device's configuration, and can read its outbox.
    pub(super) async fn check_program(&self, content: &Content, version: &str) -> Done {
        if self.sources.text.is_some() {
            return Err("this eir was not started from a file, and starts no other".to_owned());
        }
        let program = self.agent.depot().staged(content).join("eir");
        let said = run(&program, &["--version".to_owned()], LOOK_WITHIN).await?;
        let expected = format!("eir {version}");
        if said.trim() != expected {
            return Err(format!("it says that it is `{}`, not `{expected}`", said.trim()));
        }
        let mut arguments = vec!["check".to_owned()];
        arguments.extend(self.sources.arguments());
        run(&program, &arguments, CHECK_WITHIN).await?;
        let Some(outbox) = &self.outbox else { return Ok(()) };
        let (from, copy) = (outbox.path().to_owned(), self.agent.depot().place(OUTBOX_COPY));
        let to = copy.clone();
        let copied = tokio::task::spawn_blocking(move || copy_outbox(&from, &to)).await;
        copied.map_err(|error| error.to_string()).flatten()?;
        let path = copy.display().to_string();
        let arguments = ["outbox", "verify", "--path", &path].map(str::to_owned);
        let looked = run(&program, &arguments, CHECK_WITHIN).await;
        remove_copy(&copy);
        looked.map(drop).map_err(|why| format!("with a copy of the outbox: {why}"))
    }

    /// Has the new program start; once it is this one, it is watched.
    pub(super) async fn prove_program(
        &mut self,
        subject: &Subject,
        progress: &Progress,
        content: &Content,
        version: &str,
    ) -> Carried {
        let directory = self.config().dir.clone();
        let mut slots = match Slots::load(&directory) {
            Ok(slots) => slots,
            Err(error) => return Carried::Waits(AGAIN, error.to_string()),
        };
        if RUNS == version && std::env::var_os(BASE).is_some() {
            if self.probation.as_ref().is_none_or(|known| !known.is_of(&progress.release)) {
                let now = (SystemClock.now(), SystemClock.uptime());
                self.probation = Some(Probation::begin(&directory, &progress.release, now));
            }
            return self.watch(subject);
        }
        if let Some(busy) = self.busy(subject).or_else(|| self.closed()) {
            return Carried::Waits(Duration::from_secs(5), busy);
        }
        let staged = self.agent.depot().staged(content);
        let place = directory.join("slots").join(version);
        let shown = self.shown.load();
        let placed = self
            .present(&shown, |_| true)
            .note(&directory, &progress.release, |_| true)
            .and_then(|()| if place.is_dir() { Ok(()) } else { disk::rename(&staged, &place) })
            .and_then(|()| {
                slots.try_out(version);
                slots.failed = None;
                slots.save(&directory)
            });
        if let Err(error) = placed {
            return self.settle(subject, Err(error.to_string()));
        }
        self.exchange().await
    }

    /// It has proved itself: it starts from now on.
    pub(super) fn keep_program(&self, version: &str) -> Done {
        let directory = &self.config().dir;
        let mut slots = Slots::load(directory).map_err(|error| error.to_string())?;
        if slots.trial.as_deref() == Some(version) {
            slots.confirm();
        }
        if slots.current.as_deref() != Some(version) {
            return Err(format!("{version} is not what starts"));
        }
        slots.save(directory).map_err(|error| error.to_string())?;
        if let Err(error) = slots::thin(directory, &slots) {
            tracing::warn!("an old program stays: {error}");
        }
        Ok(())
    }

    /// The way back: another program starts, if it is this one that goes. `None`: it may be thrown away.
    pub(super) async fn leave_program(
        &mut self,
        subject: &Subject,
        version: &str,
    ) -> Option<Carried> {
        let directory = self.config().dir.clone();
        let mut slots = match Slots::load(&directory) {
            Ok(slots) => slots,
            Err(error) => return Some(Carried::Waits(AGAIN, error.to_string())),
        };
        let counts = [&slots.trial, &slots.current].map(|known| known.as_deref() == Some(version));
        if counts.contains(&true) {
            let progress = self.agent.progress(subject);
            let why = progress.and_then(|progress| progress.reason.clone()).unwrap_or_default();
            slots.give_up(&why);
            if let Err(error) = slots.save(&directory) {
                return Some(Carried::Waits(AGAIN, error.to_string()));
            }
        }
        let is_this = RUNS == version && std::env::var_os(BASE).is_some();
        if is_this { Some(self.exchange().await) } else { None }
    }

    /// A program that came over the air and does well is started again however often the process ends.
    pub(super) fn vouch(&mut self) {
        let is_time = SystemClock.now() >= self.vouch_at;
        if !is_time || self.probation.is_some() || self.shown.load().stalled.is_some() {
            return;
        }
        self.vouch_at = SystemClock.now() + self.config().probation.0;
        let directory = &self.config().dir;
        let Ok(mut slots) = Slots::load(directory) else { return };
        let is_current = slots.current.as_deref() == Some(RUNS);
        if is_current && slots.trial.is_none() && slots.starts > 0 {
            slots.confirm();
            if let Err(error) = slots.save(directory) {
                tracing::debug!("that it does well is not noted: {error}");
            }
        }
    }

    /// Ends this process in order; the packaged program decides what starts in its place.
    async fn exchange(&mut self) -> Carried {
        self.leaving = true;
        match self.order(What::Exchange).await {
            Ok(()) => Carried::Stays("the program is being exchanged".to_owned()),
            Err(why) => {
                self.leaving = false;
                Carried::Waits(AGAIN, why)
            }
        }
    }
}

/// What a program says, if it ends well and in time.
async fn run(program: &Path, arguments: &[String], within: Duration) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let told = || format!("`eir {}`", arguments.first().map_or("", String::as_str));
    let started = command.spawn().map_err(|error| format!("{} does not start: {error}", told()));
    let mut child = started?;
    let (mut said, mut moaned) = (Vec::new(), Vec::new());
    let all = async {
        let out = child.stdout.take().map(|pipe| pipe.take(MAX_WORDS));
        let err = child.stderr.take().map(|pipe| pipe.take(MAX_WORDS));
        if let Some((mut out, mut err)) = out.zip(err) {
            tokio::try_join!(out.read_to_end(&mut said), err.read_to_end(&mut moaned))?;
        }
        child.wait().await
    };
    let ended = timeout(within, all).await;
    let status = ended.map_err(|_| format!("{} took longer than {within:?}", told()))?;
    let status = status.map_err(|error| format!("{} is not heard: {error}", told()))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if status.success() {
        return Ok(text(&said));
    }
    let words = text(&[said, moaned].concat());
    let wrong: Vec<_> = words.lines().filter(|line| !line.starts_with("ok ")).collect();
    let wrong: String = wrong.join("; ").chars().take(LAST_WORDS).collect();
    Err(format!("{} ends with {}: {wrong}", told(), status))
}

fn copy_outbox(from: &Path, to: &Path) -> Done {
    remove_copy(to);
    let copied = Inspector::open(from).and_then(|outbox| outbox.copy(to));
    copied.map_err(|error| crate::net::with_sources(&error))
}

/// SQLite leaves files beside it.
fn remove_copy(copy: &Path) {
    for end in ["", "-wal", "-shm"] {
        let mut path = copy.as_os_str().to_owned();
        path.push(end);
        let _may_be_gone = std::fs::remove_file(path);
    }
}
