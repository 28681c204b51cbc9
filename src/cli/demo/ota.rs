//! `eir demo --update`: a better model arrives over the air, is tried beside the one that serves, and takes over; then a
//! bad one arrives, and is refused.
//!
//! The device starts with a bearing model that was set for a sensor of another range. Its keeper publishes the shipped one,
//! and later one whose classes are mixed up.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::screen::Screen;
use crate::api::{Order, What};
use crate::app::App;
use crate::app::config::Config;
use crate::cli::Failure;
use crate::disk;
use crate::event::{ByteSize, HumanDuration};
use crate::task::{Clock, Group, SystemClock};
use crate::update::archive;
use crate::update::author::{Lifetimes, Repository, Roles};
use crate::update::config::{CanaryConfig, ShadowConfig, UpdateConfig};
use crate::update::release::{About, Content, Judge};
use crate::update::sign::{Key, Scheme};
use crate::update::source::{Directory, Source};
use crate::update::status::Status;

/// The model that is updated.
const MODEL: &str = "bearing";

/// Its classes, mixed up: sure of itself, and always wrong.
const MIXED_UP: &str = "outer_race\ninner_race\nimbalance\nhealthy\n";

/// The largest file that is hosted.
const MOST: u64 = 16 << 20;

/// The keeper of the releases, with what is hosted.
pub(super) struct Keeper {
    repository: Repository,
    directory: PathBuf,
    /// What is published later, in this order.
    later: Vec<(&'static str, PathBuf, f64)>,
    targets: Key,
    online: Key,
    address: std::net::SocketAddr,
    told: Vec<(String, String)>,
    _group: Group,
}

impl Keeper {
    /// Makes the models of the device in `scratch`, the releases, and a server for them.
    pub(super) async fn start(shipped: &Path, scratch: &Path) -> anyhow::Result<Self> {
        let models = scratch.join("models");
        copy(&shipped.join("defects"), &models.join("defects"))?;
        let first = models.join(MODEL).join("1");
        let [second, third] = ["better", "worse"].map(|name| scratch.join(name));
        let newest = newest(&shipped.join(MODEL))?;
        for place in [&first, &second, &third] {
            copy(&newest, place)?;
        }
        // A sensor of 16 g where there is one of 2 g.
        amend(&first, "model.toml", |text| {
            text.replace("scale = [1.0, 1.0, 1.0]", "scale = [8.0, 8.0, 8.0]")
        })?;
        amend(&third, "labels.txt", |_| MIXED_UP.to_owned())?;
        for place in [&first, &third] {
            // Made elsewhere, and nobody looked: with golden samples neither would even have been packed.
            fs::remove_dir_all(place.join("golden"))?;
        }
        let [root, targets, online] = [
            Key::generate(Scheme::default())?,
            Key::generate(Scheme::default())?,
            Key::generate(Scheme::default())?,
        ];
        let roles = Roles { root: (1, vec![&root]), targets: (1, vec![&targets]), online: &online };
        let directory = scratch.join("repository");
        let now = SystemClock.wall();
        let repository = Repository::init(&directory, &roles, Lifetimes::default(), now)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mut group = Group::default();
        let hosted = Arc::new(Directory(directory.clone()));
        let routes = Router::new().fallback(host).with_state(hosted);
        group.spawn("releases", async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let service = TowerToHyperService::new(routes.clone());
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                while open.try_join_next().is_some() {}
                open.spawn(connection);
            }
        });
        // The better one says other things than the one before; the bad one is measured against the better.
        let later = vec![
            ("models/bearing/3.tar.zst", third, 0.9),
            ("models/bearing/2.tar.zst", second, 0.0),
        ];
        let told = Vec::new();
        let keeper =
            Self { repository, directory, later, targets, online, address, told, _group: group };
        Ok(keeper)
    }

    /// What the device is told of the releases.
    pub(super) fn config(&self, scratch: &Path) -> UpdateConfig {
        UpdateConfig {
            url: Some(format!("http://{}", self.address)),
            root: self.directory.join("metadata/1.root.json"),
            dir: scratch.join("update"),
            every: HumanDuration::from_secs(1),
            spare_memory: ByteSize(16 << 20),
            shadow: ShadowConfig { share: 0.5, length: HumanDuration::from_secs(4), least: 50 },
            canary: CanaryConfig { share: 1.0, length: HumanDuration::from_secs(3) },
            ..UpdateConfig::default()
        }
    }

    /// Says what moved, and publishes the next release when the one before has had its end; `time` since the start.
    pub(super) fn tick(
        &mut self,
        status: &Status,
        time: Duration,
        screen: &Screen,
    ) -> Result<(), Failure> {
        for release in &status.releases {
            let told = release.reason.clone().unwrap_or_default();
            let now = (release.release.clone(), format!("{:<12} {told}", release.state));
            if !self.told.contains(&now) {
                screen.line(&format!("update      {:<24} {}", now.0, now.1.trim_end()))?;
                self.told.push(now);
            }
        }
        let is_busy = status.releases.iter().any(|of| of.state != "committed");
        if time < Duration::from_secs(5) || is_busy || self.later.len() + status.releases.len() < 2
        {
            return Ok(());
        }
        if let Some((name, place, min_agreement)) = self.later.pop() {
            self.publish(name, &place, min_agreement).context("no release could be made")?;
            let size = fs::metadata(place.join("model.onnx")).map_or(0, |file| file.len());
            screen.line(&format!("published   {name:<24} {size} bytes of weights, signed"))?;
        }
        Ok(())
    }

    fn publish(&mut self, name: &str, place: &Path, min_agreement: f64) -> anyhow::Result<()> {
        let content = Content::of(name).context("a name")?;
        let judge = Judge {
            min_agreement: crate::update::decimal::Decimal(min_agreement),
            // The machine runs a whole site beside it.
            max_latency_ratio: crate::update::decimal::Decimal(4.0),
            ..Judge::default()
        };
        let about = About { judge, ..About::default() };
        self.repository.add(&content, &archive::pack(place)?, &about)?;
        let keys = [&self.targets, &self.online];
        self.repository.publish(&keys, SystemClock.wall())?;
        Ok(())
    }
}

/// The models of the demo, and who keeps their releases, where that is `wanted`.
pub(super) async fn begin(
    wanted: bool,
    shipped: PathBuf,
    scratch: &Path,
) -> anyhow::Result<(PathBuf, Option<Keeper>)> {
    if !wanted {
        return Ok((shipped, None));
    }
    let keeper = Keeper::start(&shipped, scratch).await.context("no releases could be made")?;
    Ok((scratch.join("models"), Some(keeper)))
}

/// A model takes over, or goes.
pub(super) async fn carry_out(order: Order, app: &mut App, config: &Config) {
    let outcome = match order.what {
        What::Reload => app.reload(config.clone()).await.map_err(|error| error.to_string()),
        What::Log(_) | What::Exchange => Err("the demo does not do that".to_owned()),
    };
    // Who ordered it may be gone.
    let _unheard = order.done.send(outcome);
}

/// Gives a file, or the part of it that is asked for.
async fn host(State(hosted): State<Arc<Directory>>, request: Request) -> Response {
    let path = request.uri().path().trim_start_matches('/');
    let (from, most) = range(request.headers()).unwrap_or((0, MOST));
    match hosted.read(path, from, most).await {
        Ok(Some(bytes)) if bytes.is_empty() => StatusCode::RANGE_NOT_SATISFIABLE.into_response(),
        Ok(Some(bytes)) => {
            let told = format!("bytes {from}-{}/*", from + bytes.len() as u64 - 1);
            let mut headers = HeaderMap::new();
            headers.extend(
                HeaderValue::from_str(&told).ok().map(|value| (header::CONTENT_RANGE, value)),
            );
            (StatusCode::PARTIAL_CONTENT, headers, bytes).into_response()
        }
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(_) => StatusCode::FORBIDDEN.into_response(),
    }
}

/// `bytes=0-1023`: from where, and how many.
fn range(headers: &HeaderMap) -> Option<(u64, u64)> {
    let (from, to) =
        headers.get(header::RANGE)?.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
    let (from, to): (u64, u64) = (from.parse().ok()?, to.parse().ok()?);
    Some((from, to.checked_sub(from)?.min(MOST - 1) + 1))
}

/// The newest version below the directory of a model.
fn newest(directory: &Path) -> anyhow::Result<PathBuf> {
    let entries = fs::read_dir(directory)?.flatten().map(|entry| entry.path());
    let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u64>().ok();
    let newest = entries.filter(|path| version(path).is_some()).max_by_key(version);
    newest.with_context(|| format!("{} has no version", directory.display()))
}

/// All files below a directory.
fn copy(from: &Path, into: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(into)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let to = into.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy(&path, &to)?;
        } else {
            fs::copy(&path, &to)?;
        }
    }
    Ok(())
}

fn amend(place: &Path, file: &str, change: impl Fn(&str) -> String) -> anyhow::Result<()> {
    let path = place.join(file);
    let text = fs::read_to_string(&path)?;
    let changed = change(&text);
    anyhow::ensure!(changed != text, "{}: there is nothing to change", path.display());
    disk::replace(&path, changed.as_bytes())?;
    Ok(())
}
