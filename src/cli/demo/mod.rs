//! `eir demo`: a whole site in one process: a broker, a machine, a camera, and eir deciding.
//!
//! Everything goes the way it goes in the field: the devices publish over TCP, eir reads the same
//! broker with the configuration in `demo.toml`, what it decides is read back from the broker, and a stand-in cloud
//! gets the records.

mod cloud;
mod conveyor;
mod judge;
mod report;
mod screen;
mod truth;
mod vibration;
mod watch;
mod world;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use tokio::signal::ctrl_c;

use self::cloud::Cloud;
use self::report::Sent;
use self::screen::Screen;
use self::watch::{Watch, Watched};
use self::world::{BLOCK, Camera, FRAME, Ledger, Sensor, publish_frames};
use super::{Exit, Failure, log, print};
use crate::app::App;
use crate::app::config::{self, Config, LogLevel, Sources};
use crate::broker::{Broker, BrokerConfig};
use crate::mqtt::{ConnectionConfig, Link, Message, QoS};
use crate::package::{EngineChoice, ModelRef, Repository};
use crate::task::{Clock, Group, SystemClock};

/// How long the last decisions may take from eir through the broker to the reader.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// The pipelines, each named as its model is.
const PIPELINES: [&str; 2] = ["bearing", "defects"];

const CONFIG: &str = include_str!("demo.toml");

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// How long, in seconds
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(5..=86_400))]
    seconds: u64,
    /// Another number makes another world
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the closing table as JSON, too
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Cuts the network to the stand-in cloud for so long, e.g. 10s, from a third of the way on
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    cut_network: Option<Duration>,
    /// Where the shipped models lie; looked for in the usual places by default
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// auto, fastest, ort or tract
    #[arg(long, value_name = "ENGINE", default_value = "auto", value_parser = super::engine_choice)]
    engine: EngineChoice,
}

pub(super) fn demo(args: &DemoArgs) -> Result<(), Failure> {
    log::start(LogLevel::Warn);
    super::runtime()?.block_on(play(args))
}

async fn play(args: &DemoArgs) -> Result<(), Failure> {
    let models = models(args.models.as_deref())?;
    args.report.as_deref().map_or(Ok(()), probe)?;
    let length = Duration::from_secs(args.seconds);
    let outage = args.cut_network.map(|cut| outage(length, cut)).transpose()?;
    let scratch = Scratch::new()?;
    let mut screen = Screen::new(length);
    let broker = BrokerConfig { listen: "127.0.0.1:0".to_owned(), ..BrokerConfig::default() };
    let broker = Broker::start(&broker).map_err(|e| Failure::new(Exit::Unavailable, e))?;
    let address = broker.local_addr();
    screen.line(&format!(
        "broker      mqtt://{address}  (watch it: mosquitto_sub -p {} -t '#')",
        address.port()
    ))?;

    let (cloud, mut summaries) = Cloud::start().await.context("no port for the stand-in cloud")?;
    screen.line(&format!("cloud       {}  (a stand-in, on this machine)", cloud.url()))?;

    let config = configuration(args.engine, &models, address.port(), &cloud.url(), &scratch)?;
    let ledgers = [Ledger::default(), Ledger::default()];
    let watch = Arc::new(Watch::new(PIPELINES.into_iter().zip(ledgers.clone())));
    let mut app = App::start(config, Some(watch.observer())).map_err(super::start_failure)?;
    for status in app.pipelines() {
        if let Some(problem) = status.problem {
            return Err(anyhow!("{} cannot be shown: {problem}", status.name).into());
        }
        screen.line(&format!("{:<11} {}", status.name.as_str(), status.engine))?;
    }

    let mut group = Group::default();
    let (decided, mut decisions) = tokio::sync::mpsc::channel::<Message>(256);
    let hand_on = move |message: Message| {
        message.ack.ack();
        // A full channel means that the screen hangs; the count of decisions is not taken from here.
        if decided.try_send(message).is_err() {
            tracing::warn!("a decision could not be shown");
        }
    };
    let url = format!("mqtt://{address}");
    let connect = |name: &str, group: &mut Group, handler| {
        let mut config = ConnectionConfig::new(&url);
        config.status = false;
        Link::start(name, "demo", &config, handler, group)
            .context("failed to reach the demo's broker")
    };
    let reader = connect("reader", &mut group, Arc::new(hand_on))?;
    let filters = ["plant/+/alarm", "line/+/reject"].iter().filter_map(|f| f.parse().ok());
    reader.set_subscriptions(filters.map(|filter| (filter, QoS::AtLeastOnce)));
    let sensor_link = connect("sensor", &mut group, Arc::new(|_| {}))?;
    let camera_link = connect("camera", &mut group, Arc::new(|_| {}))?;
    let ready = async {
        for link in [&reader, &sensor_link, &camera_link] {
            link.ready().await;
        }
        app.ready().await;
    };
    let wait = Duration::from_secs(20);
    tokio::time::timeout(wait, ready).await.map_err(|_| {
        Failure::new(Exit::Unavailable, anyhow!("the demo's broker did not answer within {wait:?}"))
    })?;

    let (sensor, camera) = (Sensor::new(args.seed, length), Camera::new(args.seed, length));
    let events = [sensor.events.clone(), camera.events.clone()];
    let frames = camera.render()?;
    let mut devices = Group::default();
    let stop = devices.stop_signal();
    devices.spawn("sensor", sensor.publish(sensor_link, ledgers[0].clone(), stop.clone()));
    devices.spawn("camera", publish_frames(frames, camera_link, ledgers[1].clone(), stop));

    let started = SystemClock.now();
    let elapsed = || SystemClock.now().duration_since(started);
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    let mut waited = 0;
    let end = tokio::time::sleep(length);
    // Listened for all the time: a new listener in each round would miss what comes in between.
    let interrupted = ctrl_c();
    tokio::pin!(end, interrupted);
    loop {
        tokio::select! {
            Some(message) = decisions.recv() => screen.line(&watch.read(&message))?,
            Some(summary) = summaries.recv() => screen.line(&summary)?,
            _ = seconds.tick() => {
                app.tick();
                if let Some(cut) = &outage {
                    let gone = cut.contains(&elapsed());
                    cloud.set_reachable(!gone);
                    waited = waited.max(app.outbox().filter(|_| gone).map_or(0, |outbox| outbox.kept()));
                }
            }
            _ = ticks.tick() => screen.progress(elapsed(), &watch.summary())?,
            () = &mut end => break,
            _ = &mut interrupted => {
                screen.line("stopping")?;
                break;
            }
        }
    }
    cloud.set_reachable(true);
    // The world stops, eir decides what is on its way, and the last decisions are read back.
    let pipelines = app.pipelines();
    devices.drain(Duration::from_secs(2)).await;
    app.drain().await;
    while let Ok(Some(message)) = tokio::time::timeout(LAST_WORDS, decisions.recv()).await {
        screen.line(&watch.read(&message))?;
    }
    while let Ok(summary) = summaries.try_recv() {
        screen.line(&summary)?;
    }
    group.drain(Duration::from_secs(2)).await;
    broker.stop();
    screen.end();

    let watched =
        PIPELINES.into_iter().zip(events).zip([BLOCK, FRAME]).map(|((name, events), period)| {
            let status = pipelines.iter().find(|p| p.name.as_str() == name);
            let engine = status.map_or_else(String::new, |p| p.engine.clone());
            Watched { name, events, period, engine }
        });
    let sent = Sent { received: cloud.received(), outage: args.cut_network, waited };
    let report = watch.report(args.seed, watched, sent);
    if let Some(path) = &args.report {
        let json = serde_json::to_vec_pretty(&report).context("failed to write the report")?;
        crate::disk::replace(path, &json)
            .with_context(|| format!("failed to write {}", path.display()))?;
    }
    print::line(format_args!("\n{}", report.to_text()))
}

/// The repository, with every model of the demo in it.
fn models(asked: Option<&Path>) -> Result<PathBuf, Failure> {
    let missing = |error: anyhow::Error| Failure::new(Exit::NoInput, error);
    let directory = super::models_dir(asked)?;
    let repository = Repository::open(&directory).map_err(|e| missing(e.into()))?;
    for name in PIPELINES {
        let model: ModelRef = name.parse().map_err(|e| Failure::new(Exit::Internal, e))?;
        repository.package(&model).map_err(|e| missing(e.into()))?;
    }
    Ok(directory)
}

/// Whether a report can be put here; what is here already stays.
fn probe(path: &Path) -> anyhow::Result<()> {
    let probe = || {
        // A device or a link would be replaced.
        if std::fs::symlink_metadata(path).is_ok_and(|there| !there.is_file()) {
            return Err(io::Error::other("there is something that is no plain file"));
        }
        let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        name.push(".eir-probe");
        let probe = path.with_file_name(name);
        crate::disk::replace(&probe, b"")?;
        std::fs::remove_file(&probe)
    };
    probe().with_context(|| format!("--report: cannot write {}", path.display()))
}

/// When the network is gone.
fn outage(length: Duration, cut: Duration) -> Result<Range<Duration>, Failure> {
    let from = length / 3;
    let until = from + cut;
    if until >= length {
        let most = humantime::format_duration(Duration::from_secs((length - from).as_secs()));
        let problem = anyhow!(
            "--cut-network: the network is cut after a third of the demo and must be back before its end: \
             less than {most}, or more --seconds"
        );
        return Err(Failure::new(Exit::Usage, problem));
    }
    Ok(from..until)
}

/// The directory of the demo's outbox; removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("eir-demo-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&path)
            .with_context(|| format!("no directory for the records: {}", path.display()))?;
        Ok(Self(path))
    }

    fn outbox(&self) -> String {
        self.0.join("outbox.db").display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left behind lies among what the system throws away.
        let _removed = std::fs::remove_dir_all(&self.0);
    }
}

fn configuration(
    engine: EngineChoice,
    models: &Path,
    port: u16,
    cloud: &str,
    scratch: &Scratch,
) -> Result<Config, Failure> {
    let sources = Sources {
        text: Some(("demo.toml".to_owned(), CONFIG.to_owned())),
        set: vec![
            format!("mqtt.local.url=mqtt://127.0.0.1:{port}"),
            format!("cloud.main.url={cloud}"),
            format!("outbox.path={}", scratch.outbox()),
        ],
        ..Sources::default()
    };
    let mut config = config::load(&sources).map_err(|e| Failure::new(Exit::Config, e))?;
    models.clone_into(&mut config.models.dir);
    config.models.engine = engine;
    Ok(config)
}
