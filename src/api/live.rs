//! What those who watch see of the pipelines: the last decisions, and now and then what a model was shown. It costs a
//! pipeline next to nothing while nobody watches, and a copy a few times a second while somebody does.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use jiff::Timestamp;
use tokio::sync::OnceCell;

use super::picture;
use crate::event::{Decision, Input, Name, Prediction, Samples, StreamKey};
use crate::model::is_picture;
use crate::task::{Clock, SystemClock};

/// So many decisions are kept for those who come, or come again, and so many bytes of what was predicted.
const KEPT: usize = 256;
const KEPT_BYTES: usize = 1 << 20;

/// A prediction that takes more bytes is not shown.
const MAX_PREDICTION: usize = 64 << 10;

/// A pipeline is looked at no more often.
const EVERY: Duration = Duration::from_millis(250);

/// A window is shown with so many channels, and so many instants of each.
const MAX_CHANNELS: usize = 16;
const MAX_INSTANTS: usize = 256;

/// What can be watched. Shared between the pipelines and those who look on.
#[derive(Debug)]
pub struct Live {
    /// Names its decisions apart from those before the last start.
    pub(super) epoch: u64,
    began: Instant,
    watchers: AtomicUsize,
    decisions: Mutex<Decisions>,
    scenes: Mutex<BTreeMap<Name, Weak<Scene>>>,
}

/// The last decisions, the oldest first.
#[derive(Debug, Default)]
struct Decisions {
    /// Decisions ever: the number of the newest.
    count: u64,
    kept: VecDeque<Arc<Decision>>,
    /// What their predictions take.
    bytes: usize,
}

/// One pipeline, for those who watch.
#[derive(Debug)]
pub struct Scene {
    live: Arc<Live>,
    pipeline: Name,
    /// Milliseconds since the beginning before which nothing is shown.
    next: AtomicU64,
    newest: Mutex<Option<Arc<Shot>>>,
}

/// What a model was shown at one moment, and what it said.
#[derive(Debug)]
pub(super) struct Shot {
    /// Its number among those of the pipeline's.
    pub number: u64,
    pub pipeline: Name,
    pub stream: StreamKey,
    pub at: Timestamp,
    pub view: Sight,
    pub prediction: Arc<Prediction>,
    /// As an event, made once for all who watch.
    pub event: OnceCell<Option<Bytes>>,
}

/// What there is to see.
#[derive(Debug)]
pub(super) enum Sight {
    /// The camera's own picture, and its size in pixels.
    Picture { file: Arc<[u8]>, width: u32, height: u32 },
    /// A window: of each channel some of its instants.
    Window(Vec<Vec<f32>>),
}

impl Live {
    /// Nothing has happened.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            epoch: u64::try_from(SystemClock.wall().as_millisecond()).unwrap_or(0),
            began: SystemClock.now(),
            watchers: AtomicUsize::new(0),
            decisions: Mutex::default(),
            scenes: Mutex::default(),
        })
    }

    /// What a pipeline shows itself with.
    pub fn scene(self: &Arc<Self>, pipeline: &Name) -> Arc<Scene> {
        let mut scenes = lock(&self.scenes);
        scenes.retain(|_, scene| scene.strong_count() > 0);
        if let Some(scene) = scenes.get(pipeline).and_then(Weak::upgrade) {
            return scene;
        }
        let scene = Arc::new(Scene {
            live: Arc::clone(self),
            pipeline: pipeline.clone(),
            next: AtomicU64::new(0),
            newest: Mutex::default(),
        });
        scenes.insert(pipeline.clone(), Arc::downgrade(&scene));
        scene
    }

    /// One more who watches, where there are not too many.
    pub(super) fn watch(self: &Arc<Self>, most: usize) -> Option<Watching> {
        let more = |count: usize| (count < most).then_some(count + 1);
        let counted = self.watchers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        counted.ok().map(|_| Watching(Arc::clone(self)))
    }

    /// How many decisions behind this number are gone, and those that are not, with their numbers.
    pub(super) fn decisions_since(&self, seen: u64) -> (u64, Vec<(u64, Arc<Decision>)>) {
        let decisions = lock(&self.decisions);
        let oldest = decisions.count - decisions.kept.len() as u64;
        let missed = oldest.saturating_sub(seen);
        let numbered = decisions.kept.iter().zip(oldest + 1..);
        let new = numbered.filter(|(_, number)| *number > seen);
        (missed, new.map(|(decision, number)| (number, Arc::clone(decision))).collect())
    }

    /// The newest that each pipeline has shown.
    pub(super) fn shots(&self) -> Vec<Arc<Shot>> {
        let scenes: Vec<_> = lock(&self.scenes).values().filter_map(Weak::upgrade).collect();
        scenes.iter().filter_map(|scene| lock(&scene.newest).clone()).collect()
    }
}

impl Scene {
    /// A rule fired.
    pub fn decided(&self, decision: &Arc<Decision>) {
        let mut decisions = lock(&self.live.decisions);
        decisions.count += 1;
        decisions.bytes += decision.prediction.weight();
        decisions.kept.push_back(Arc::clone(decision));
        while decisions.kept.len() > KEPT || decisions.bytes > KEPT_BYTES {
            let Some(oldest) = decisions.kept.pop_front() else { break };
            decisions.bytes -= oldest.prediction.weight();
        }
    }

    /// Whether somebody wants to see what comes now.
    pub fn is_due(&self, now: Instant) -> bool {
        self.live.watchers.load(Ordering::Relaxed) > 0
            && self.moment(now) >= self.next.load(Ordering::Relaxed)
    }

    /// Shows what the model was given and what it said.
    pub fn show(
        &self,
        (stream, at, now): (&StreamKey, Timestamp, Instant),
        input: &Input,
        payload: &Arc<[u8]>,
        prediction: &Arc<Prediction>,
    ) {
        let every = u64::try_from(EVERY.as_millis()).unwrap_or(u64::MAX);
        self.next.store(self.moment(now) + every, Ordering::Relaxed);
        if prediction.weight() > MAX_PREDICTION {
            return;
        }
        let view = match input {
            Input::Frame(frame) if is_picture(payload) => {
                let (file, [width, height]) = (Arc::clone(payload), frame.source);
                Sight::Picture { file, width, height }
            }
            Input::Frame(_) => return,
            Input::Samples(samples) => Sight::Window(thinned(samples)),
        };
        let mut newest = lock(&self.newest);
        *newest = Some(Arc::new(Shot {
            number: newest.as_ref().map_or(0, |shot| shot.number) + 1,
            pipeline: self.pipeline.clone(),
            stream: stream.clone(),
            at,
            view,
            prediction: Arc::clone(prediction),
            event: OnceCell::new(),
        }));
    }

    fn moment(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.live.began);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Shot {
    /// The picture, no larger than is good to look at; `None`: it cannot be read.
    pub(super) fn picture(&self) -> Option<Vec<u8>> {
        let Sight::Picture { file, width, height } = &self.view else { return None };
        picture::small(file, (*width, *height))
    }
}

/// Somebody watches.
#[derive(Debug)]
pub(super) struct Watching(pub Arc<Live>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Some of the instants of each channel, evenly.
fn thinned(samples: &Samples) -> Vec<Vec<f32>> {
    let (all, most) = (samples.len(), MAX_INSTANTS);
    let places = || (0..all.min(most)).map(move |place| place * all / all.min(most).max(1));
    let channels = 0..samples.channels.min(MAX_CHANNELS);
    channels.map(|channel| places().map(|instant| samples.at(instant, channel)).collect()).collect()
}

// No code that can panic runs under these locks.
fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Order;
    use uuid::Uuid;

    fn decision(number: u64) -> Arc<Decision> {
        Arc::new(Decision {
            id: Uuid::nil(),
            origin: None,
            pipeline: Name::near("p"),
            rule: Name::near("r"),
            stream: StreamKey::new("7"),
            at: Timestamp::UNIX_EPOCH,
            prediction: Arc::new(Prediction::Anomaly { score: 0.5 }),
            model: Name::near("m"),
            version: 3,
            engine: "ort",
            latency_us: number,
            redelivered: false,
            amendment: None,
        })
    }

    #[test]
    fn the_last_decisions_are_kept_and_what_was_missed_is_counted() {
        let live = Live::new();
        let scene = live.scene(&Name::near("p"));
        for number in 1..=300 {
            scene.decided(&decision(number));
        }
        let (missed, all) = live.decisions_since(0);
        assert_eq!((missed, all.len()), (44, KEPT));
        assert!(all.iter().all(|(number, decision)| decision.latency_us == *number));
        let (missed, some) = live.decisions_since(298);
        assert_eq!((missed, some.len(), some[0].0), (0, 2, 299));
        assert_eq!(live.decisions_since(300).1.len(), 0);
    }

    /// What was predicted may be a tensor of megabytes.
    #[test]
    fn what_is_kept_for_those_who_watch_is_bounded_in_bytes() {
        let live = Live::new();
        let scene = live.scene(&Name::near("p"));
        let large = |values: usize| {
            let prediction = Arc::new(Prediction::Regression { values: vec![0.0; values] });
            Arc::new(Decision { prediction, ..Decision::clone(&decision(1)) })
        };
        for _ in 0..100 {
            scene.decided(&large(KEPT_BYTES / 16));
        }
        assert_eq!(live.decisions_since(0).1.len(), 4);
        scene.decided(&large(KEPT_BYTES));
        let (missed, kept) = live.decisions_since(0);
        assert!(missed == 101 && kept.is_empty(), "larger than all that is kept");
        scene.decided(&decision(1));
        assert_eq!(live.decisions_since(101).1.len(), 1);
        let _watching = live.watch(1);
        let (stream, at, now) = (StreamKey::new("7"), Timestamp::UNIX_EPOCH, SystemClock.now());
        let values = vec![1.0];
        let input = Input::Samples(Samples { channels: 1, order: Order::Interleaved, values });
        let prediction = &large(MAX_PREDICTION).prediction;
        scene.show((&stream, at, now), &input, &Arc::default(), prediction);
        assert!(live.shots().is_empty());
    }

    #[test]
    fn a_pipeline_shows_itself_while_somebody_watches_and_not_too_often() {
        let live = Live::new();
        let scene = live.scene(&Name::near("p"));
        let now = SystemClock.now();
        assert!(!scene.is_due(now), "nobody watches");
        let watching = live.watch(1).expect("a place");
        assert!(live.watch(1).is_none(), "one is the most");
        assert!(scene.is_due(now));
        let values = (0..3000_i16).map(f32::from).collect();
        let input = Input::Samples(Samples { channels: 3, order: Order::Interleaved, values });
        let (stream, at) = (StreamKey::new("7"), Timestamp::UNIX_EPOCH);
        let prediction = Arc::new(Prediction::Anomaly { score: 0.5 });
        scene.show((&stream, at, now), &input, &Arc::default(), &prediction);
        assert!(!scene.is_due(now) && scene.is_due(now + EVERY));
        let shots = live.shots();
        let Sight::Window(channels) = &shots[0].view else { panic!("a window") };
        assert_eq!((channels.len(), channels[0].len()), (3, MAX_INSTANTS));
        assert_eq!((channels[1][0], channels[2][255]), (1.0, 2990.0));
        drop(watching);
        assert!(!scene.is_due(now + EVERY));
    }
}
