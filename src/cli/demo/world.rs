//! The two devices of the demo, publishing over real connections, and the ledger of what they sent.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::conveyor::Conveyor;
use super::truth::Event;
use super::vibration::Machine;
use crate::mqtt::{Link, Publish, QoS};
use crate::task::{Clock, Stop, SystemClock};

/// One block of 64 samples at 3,200 Hz.
pub(super) const BLOCK: Duration = Duration::from_millis(20);

/// One frame of the camera.
pub(super) const FRAME: Duration = Duration::from_millis(100);

/// What a device has sent so far: the moment of message `n` stands at index `n`.
#[derive(Debug, Default, Clone)]
pub(super) struct Ledger(Arc<Mutex<Sent>>);

#[derive(Debug, Default)]
struct Sent {
    moments: Vec<Instant>,
    bytes: u64,
}

impl Ledger {
    /// Notes that a message is sent now, and gives it its number.
    pub(super) fn send(&self, bytes: usize) -> usize {
        let mut sent = self.lock();
        sent.moments.push(SystemClock.now());
        sent.bytes += bytes as u64;
        sent.moments.len() - 1
    }

    /// When message `number` was sent.
    pub(super) fn sent_at(&self, number: usize) -> Option<Instant> {
        self.lock().moments.get(number).copied()
    }

    /// Messages and payload bytes so far.
    pub(super) fn total(&self) -> (u64, u64) {
        let sent = self.lock();
        (sent.moments.len() as u64, sent.bytes)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Sent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The vibration sensor: a JSON message of 64 instants every 20 ms.
#[derive(Debug)]
pub(super) struct Sensor {
    machine: Machine,
    pub events: Vec<Event>,
}

impl Sensor {
    pub(super) fn new(seed: u64, length: Duration) -> Self {
        let machine = Machine::new(seed, length);
        Self { events: machine.events().to_vec(), machine }
    }

    /// Publishes until stopped.
    pub(super) async fn publish(mut self, link: Link, ledger: Ledger, mut stop: Stop) {
        let mut ticks = steady(BLOCK);
        for block in 0.. {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.stopped() => return,
            }
            let samples = self.machine.block(block);
            let axis = |axis: usize| samples.iter().map(|s| s[axis]).collect::<Vec<_>>();
            let (x, y, z) = (axis(0), axis(1), axis(2));
            // The number is the ledger's next: this is its only writer.
            let payload = serde_json::json!({ "seq": ledger.total().0, "x": x, "y": y, "z": z });
            let payload = payload.to_string().into_bytes();
            ledger.send(payload.len());
            send(&link, Publish::new("plant/press-07/vibration", payload, QoS::AtLeastOnce)).await;
        }
    }
}

/// The camera over the conveyor: a JPEG every 100 ms.
#[derive(Debug)]
pub(super) struct Camera {
    conveyor: Conveyor,
    pub events: Vec<Event>,
}

impl Camera {
    pub(super) fn new(seed: u64, length: Duration) -> Self {
        let conveyor = Conveyor::new(seed, length);
        Self { events: conveyor.events().to_vec(), conveyor }
    }

    /// Renders on a thread of its own: a picture costs milliseconds.
    pub(super) fn render(mut self) -> anyhow::Result<mpsc::Receiver<Vec<u8>>> {
        let (frames, rendered) = mpsc::channel(2);
        let thread = std::thread::Builder::new().name("demo-camera".into());
        thread
            .spawn(move || {
                let mut at = Duration::ZERO;
                while frames.blocking_send(self.conveyor.frame(at)).is_ok() {
                    at += FRAME;
                }
            })
            .context("failed to start the camera's thread")?;
        Ok(rendered)
    }
}

/// Publishes rendered frames until stopped.
pub(super) async fn publish_frames(
    mut frames: mpsc::Receiver<Vec<u8>>,
    link: Link,
    ledger: Ledger,
    mut stop: Stop,
) {
    let mut ticks = steady(FRAME);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.stopped() => return,
        }
        let Some(frame) = frames.recv().await else { return };
        let number = ledger.send(frame.len());
        let mut publish = Publish::new("camera/3/jpeg", frame, QoS::AtMostOnce);
        publish.user_properties.push(("id".to_owned(), number.to_string()));
        send(&link, publish).await;
    }
}

fn steady(period: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    ticks
}

async fn send(link: &Link, publish: Publish) {
    let topic = publish.topic.clone();
    if let Err(error) = link.publish(publish).await {
        tracing::warn!(topic, "the demo's device could not publish: {error}");
    }
}
