//! `eir demo`: a whole site in one process: a broker, a machine, a camera, and eir deciding.
//!
//! Everything goes the way it goes in the field: the devices publish over TCP, eir reads the same
//! broker with the configuration in `demo.toml`, what it decides is read back from the broker, and a stand-in cloud
//! gets the records.

mod cloud;
mod conveyor;
mod judge;
mod ota;
mod report;
mod screen;
mod stage;
mod truth;
mod vibration;
mod watch;
mod world;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use tokio::signal::ctrl_c;
use tokio::sync::mpsc;

use self::cloud::Cloud;
use self::report::{Report, Sent};
use self::screen::Screen;
use self::stage::{Scratch, configuration, models, outage, probe};
use self::watch::{Watch, Watched};
use self::world::{BLOCK, Camera, FRAME, Ledger, Sensor, publish_frames};
use super::{Exit, Failure, log, print};
use crate::app::App;
use crate::app::config::Sources;
use crate::broker::{Broker, BrokerConfig};
use crate::event::LogLevel;
use crate::mqtt::{ConnectionConfig, Link, Message, QoS};
use crate::package::EngineChoice;
use crate::task::{Clock, Group, SystemClock};

/// How long the last decisions may take from eir through the broker to the reader.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// The pipelines, each named as its model is.
const PIPELINES: [&str; 2] = ["bearing", "defects"];

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
    /// A better model arrives over the air and takes over, then a bad one, which is refused
    #[arg(long)]
    update: bool,
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

    let (models, mut keeper) = ota::begin(args.update, models, scratch.path()).await?;
    let mut config = configuration(args.engine, &models, address.port(), &cloud.url(), &scratch)?;
    config.update = keeper.as_ref().map(|keeper| keeper.config(scratch.path()));
    let ledgers = [Ledger::default(), Ledger::default()];
    let watch = Arc::new(Watch::new(PIPELINES.into_iter().zip(ledgers.clone())));
    let mut app =
        App::start(config.clone(), Some(watch.observer())).map_err(super::start_failure)?;
    app.take_updates(&Sources { text: Some(Default::default()), ..Sources::default() });
    let mut orders = app.take_orders();
    introduce(&app, &screen)?;
    let mut group = Group::default();
    let (links, mut decisions) =
        Links::connect(&format!("mqtt://{address}"), &app, &mut group).await?;

    let (sensor, camera) = (Sensor::new(args.seed, length), Camera::new(args.seed, length));
    let events = [sensor.events.clone(), camera.events.clone()];
    let frames = camera.render()?;
    let mut devices = Group::default();
    let stop = devices.stop_signal();
    devices.spawn("sensor", sensor.publish(links.sensor, ledgers[0].clone(), stop.clone()));
    devices.spawn("camera", publish_frames(frames, links.camera, ledgers[1].clone(), stop));

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
            Some(order) = super::run::ordered(&mut orders) => {
                ota::carry_out(order, &mut app, &config).await;
            }
            _ = seconds.tick() => {
                app.tick();
                if let Some((keeper, status)) = keeper.as_mut().zip(app.updates()) {
                    keeper.tick(&status, elapsed(), &screen)?;
                }
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
    args.report.as_deref().map_or(Ok(()), |path| write(path, &report))?;
    print::line(format_args!("\n{}", report.to_text()))
}

/// Says what runs, if all of it does.
fn introduce(app: &App, screen: &Screen) -> Result<(), Failure> {
    for status in app.pipelines() {
        if let Some(problem) = status.problem {
            return Err(anyhow!("{} cannot be shown: {problem}", status.name).into());
        }
        screen.line(&format!("{:<11} {}", status.name.as_str(), status.engine))?;
    }
    match app.api_address() {
        Some(page) => screen.line(&format!("page        http://{page}  (watch it in a browser)")),
        None => Ok(()),
    }
}

fn write(path: &Path, report: &Report) -> Result<(), Failure> {
    let json = serde_json::to_vec_pretty(report).context("failed to write the report")?;
    let written = crate::disk::replace(path, &json);
    Ok(written.with_context(|| format!("failed to write {}", path.display()))?)
}

/// The connections of everybody but eir itself.
struct Links {
    sensor: Link,
    camera: Link,
    /// Reads the decisions.
    _reader: Link,
}

impl Links {
    /// Connects them, and waits until all are there, eir included.
    async fn connect(
        url: &str,
        app: &App,
        group: &mut Group,
    ) -> Result<(Self, mpsc::Receiver<Message>), Failure> {
        let (decided, decisions) = mpsc::channel::<Message>(256);
        let hand_on = move |message: Message| {
            message.ack.ack();
            // A full channel means that the screen hangs; the count of decisions is not taken from here.
            if decided.try_send(message).is_err() {
                tracing::warn!("a decision could not be shown");
            }
        };
        let connect = |name: &str, group: &mut Group, handler| {
            let mut config = ConnectionConfig::new(url);
            config.status = false;
            Link::start(name, "demo", &config, handler, group)
                .context("failed to reach the demo's broker")
        };
        let reader = connect("reader", group, Arc::new(hand_on))?;
        let filters = ["plant/+/alarm", "line/+/reject"].iter().filter_map(|f| f.parse().ok());
        reader.set_subscriptions(filters.map(|filter| (filter, QoS::AtLeastOnce)));
        let sensor = connect("sensor", group, Arc::new(|_| {}))?;
        let camera = connect("camera", group, Arc::new(|_| {}))?;
        let ready = async {
            for link in [&reader, &sensor, &camera] {
                link.ready().await;
            }
            app.ready().await;
        };
        let wait = Duration::from_secs(20);
        tokio::time::timeout(wait, ready).await.map_err(|_| {
            let problem = anyhow!("the demo's broker did not answer within {wait:?}");
            Failure::new(Exit::Unavailable, problem)
        })?;
        Ok((Self { sensor, camera, _reader: reader }, decisions))
    }
}
