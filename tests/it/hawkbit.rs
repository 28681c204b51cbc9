//! A hawkBit server brings bundles of a repository, and is told what becomes of them: a real eir, and a server that speaks
//! as hawkBit does.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::process::config;
use super::support::cloud::{Answer, Asked, Cloud, OK};
use super::support::keeper::{Keeper, bearing};
use super::support::{Mosquitto, Process, site, within};

/// What the server has for the device; the tests change it.
#[derive(Default)]
struct Desk {
    /// Counts up with every change.
    tag: u64,
    /// `deploymentBase`, `cancelAction`, `confirmationBase` or none, and the action.
    wants: Option<(&'static str, u64)>,
    update: &'static str,
    bundle: Vec<u8>,
    /// Pieces that are given before the server has enough.
    pieces: Option<usize>,
    /// Whose token it takes.
    authorization: &'static str,
    port: u16,
    feedback: Vec<(String, Value)>,
    attributes: Vec<Value>,
    unchanged: usize,
}

impl Desk {
    fn answer(&mut self, asked: &Asked) -> Answer {
        let line = asked.raw.lines().next().unwrap_or_default().to_owned();
        let mut words = line.split(' ');
        let (method, path) = (words.next().expect("method"), words.next().expect("path"));
        let token = asked.raw.lines().find_map(|line| line.strip_prefix("authorization: "));
        if token != Some(self.authorization) {
            return Answer::Status(401, "", "{}");
        }
        let path = path.split('?').next().expect("a path");
        let Some(below) = path.strip_prefix("/plant/controller/v1/test") else {
            return Answer::Status(404, "", "{}");
        };
        let body = || serde_json::from_slice::<Value>(&asked.body).expect("JSON");
        match (method, below) {
            ("GET", "") => self.base(asked),
            ("GET", "/artifact") => self.artifact(asked),
            ("GET", _) if below.starts_with("/deploymentBase/") => self.deployment(),
            ("GET", _) if below.starts_with("/cancelAction/") => {
                let action = below.rsplit('/').next().expect("an action");
                said(&json!({ "id": action, "cancelAction": { "stopId": action } }))
            }
            ("PUT", "/configData") => {
                self.attributes.push(body());
                OK
            }
            ("POST", _) if below.ends_with("/feedback") => {
                let (below, body) = (below.to_owned(), body());
                let is_over = body["status"]["execution"] == "closed";
                if is_over {
                    self.change(None);
                }
                if body["confirmation"] == "confirmed" {
                    self.change(Some(("deploymentBase", 8)));
                }
                self.feedback.push((below, body));
                OK
            }
            _ => Answer::Status(404, "", "{}"),
        }
    }

    fn change(&mut self, wants: Option<(&'static str, u64)>) {
        self.tag += 1;
        self.wants = wants;
    }

    fn base(&mut self, asked: &Asked) -> Answer {
        let tag = format!("\"{}\"", self.tag);
        if asked.raw.lines().any(|line| line == format!("if-none-match: {tag}")) {
            self.unchanged += 1;
            return Answer::Status(304, "", "");
        }
        let mut links = json!({});
        if let Some((what, action)) = self.wants {
            let port = self.port;
            let link =
                format!("http://127.0.0.1:{port}/plant/controller/v1/test/{what}/{action}?c=1");
            links[what] = json!({ "href": link });
        }
        let base = json!({ "config": { "polling": {} }, "_links": links });
        Answer::Bytes(200, format!("ETag: {tag}\r\n"), base.to_string().into_bytes())
    }

    fn deployment(&self) -> Answer {
        let digits = |text: String, byte: &u8| text + &format!("{byte:02x}");
        let sha256 = Sha256::digest(&self.bundle).iter().fold(String::new(), digits);
        let link = format!("http://127.0.0.1:{}/plant/controller/v1/test/artifact", self.port);
        let artifact = json!({
            "filename": "line.tar.zst",
            "hashes": { "sha256": sha256 },
            "size": self.bundle.len(),
            "_links": { "download-http": { "href": link } },
        });
        let chunks =
            json!([{ "part": "app", "version": "1", "name": "line", "artifacts": [artifact] }]);
        let deployment = json!({ "download": "forced", "update": self.update, "chunks": chunks });
        said(&json!({ "id": "8", "deployment": deployment }))
    }

    fn artifact(&mut self, asked: &Asked) -> Answer {
        match &mut self.pieces {
            Some(0) => return Answer::Status(503, "Retry-After: 1\r\n", ""),
            Some(left) => *left -= 1,
            None => {}
        }
        let range = asked.raw.lines().find_map(|line| line.strip_prefix("range: bytes="));
        let (from, to) = range.and_then(|range| range.split_once('-')).expect("a range");
        let (from, to): (usize, usize) = (from.parse().expect("from"), to.parse().expect("to"));
        let all = self.bundle.len();
        let to = (to + 1).min(all);
        let headers = format!("Content-Range: bytes {from}-{}/{all}\r\n", to - 1);
        Answer::Bytes(206, headers, self.bundle[from..to].to_vec())
    }
}

fn said(value: &Value) -> Answer {
    Answer::Bytes(200, String::new(), value.to_string().into_bytes())
}

/// A device that asks every second, and its server.
struct Plant {
    _broker: Mosquitto,
    keeper: Keeper,
    desk: Arc<Mutex<Desk>>,
    cloud: Cloud,
    place: tempfile::TempDir,
    file: PathBuf,
}

impl Plant {
    async fn new(more: &str) -> Self {
        let (broker, keeper) = (Mosquitto::start(), Keeper::new());
        let authorization =
            if more.contains("gateway") { "GatewayToken s3" } else { "TargetToken s3" };
        let desk = Desk { authorization, update: "forced", ..Desk::default() };
        let desk = Arc::new(Mutex::new(desk));
        let shared = Arc::clone(&desk);
        let cloud = Cloud::start(move |asked| shared.lock().expect("the desk").answer(asked)).await;
        desk.lock().expect("the desk").port = cloud.port();
        let place = tempfile::tempdir().expect("tempdir");
        let (dir, token) = (place.path().join("update"), place.path().join("token"));
        eir::disk::replace(&token, b"s3\n").expect("the token");
        let text = format!(
            "{}\n[update]\nroot = \"{}\"\ndir = \"{}\"\nspare_memory = \"1MiB\"\n\
             shadow = {{ share = 1.0, for = \"0s\", least = 1 }}\ncanary = {{ share = 0.0, for = \"1s\" }}\n\
             [update.hawkbit]\nurl = \"http://127.0.0.1:{}\"\ntenant = \"plant\"\ntoken_file = \"{}\"\n\
             every = \"1s\"\n{more}",
            site::BEARING,
            keeper.root().display(),
            dir.display(),
            cloud.port(),
            token.display(),
        );
        let file = config(place.path(), broker.port(), &text);
        Self { _broker: broker, keeper, desk, cloud, place, file }
    }

    /// A bundle of that repository with a second version of the model in it.
    fn bundle(&self, keeper: &mut Keeper, change: impl FnOnce(&Path)) -> Vec<u8> {
        let next = self.place.path().join("next");
        bearing(&next, change);
        keeper.model("models/bearing/2.tar.zst", &next, json!({}));
        keeper.bundle()
    }

    /// The server has that for the device from now on.
    fn deploy(&self, bundle: Vec<u8>, action: u64) {
        let mut desk = self.desk();
        desk.bundle = bundle;
        desk.change(Some(("deploymentBase", action)));
    }

    fn desk(&self) -> std::sync::MutexGuard<'_, Desk> {
        self.desk.lock().expect("the desk")
    }

    /// Waits until the server was told something of that kind, and gives all of it.
    async fn told(&self, execution: &str) -> Vec<(String, Value)> {
        let enough = async {
            loop {
                let all = self.desk().feedback.clone();
                if all.iter().any(|(_, told)| told["status"]["execution"] == execution) {
                    return all;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within(&format!("feedback: {execution}"), enough).await
    }

    async fn sees(&self, what: &str, check: impl Fn(&Desk) -> bool) {
        let wait = async {
            while !check(&self.desk()) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within(what, wait).await;
    }

    /// Releases that were ever begun.
    fn releases(&self) -> usize {
        std::fs::read_dir(self.dir().join("journal")).expect("the journal").count()
    }

    fn dir(&self) -> PathBuf {
        self.place.path().join("update")
    }
}

fn lines(told: &[(String, Value)]) -> String {
    let details = told.iter().filter_map(|(_, told)| told["status"]["details"].as_array().cloned());
    details.flatten().map(|line| line.as_str().unwrap_or_default().to_owned() + "\n").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_is_installed_and_its_way_is_told() {
    let mut plant = Plant::new("").await;
    let mut keeper = std::mem::replace(&mut plant.keeper, Keeper::new());
    let bundle = plant.bundle(&mut keeper, |_| {});
    let mut process = Process::run(&plant.file);
    process.says("started").await;
    // Nothing yet: what the device is, once, and then nothing new.
    plant.sees("a base that is known", |desk| desk.unchanged > 1).await;
    {
        let attributes = plant.desk().attributes.clone();
        assert_eq!(attributes.len(), 1, "{attributes:?}");
        assert_eq!(attributes[0]["mode"], "merge");
        assert_eq!(attributes[0]["data"]["eir.version"], env!("CARGO_PKG_VERSION"));
    }
    plant.deploy(bundle.clone(), 8);
    let told = plant.told("closed").await;
    let last = &told.last().expect("an end").1["status"];
    assert_eq!(last["result"]["finished"], "success", "{told:?}");
    assert!(told.iter().all(|(path, _)| path == "/deploymentBase/8/feedback"), "{told:?}");
    let all = lines(&told);
    for line in [
        "line.tar.zst: ",
        "models/bearing/2.tar.zst: shadow",
        "models/bearing/2.tar.zst: committed",
    ] {
        assert!(all.contains(line), "no `{line}` in {all}");
    }
    assert!(plant.dir().join("models/bearing/2").is_dir());
    assert!(!plant.dir().join("hawkbit").exists(), "nothing of the bundle is left");
    // The same once more brings nothing.
    plant.desk().feedback.clear();
    plant.deploy(bundle, 9);
    let told = plant.told("closed").await;
    assert_eq!(told.last().expect("an end").1["status"]["result"]["finished"], "success");
    assert!(lines(&told).contains("nothing newer"), "{told:?}");
    process.signal("TERM");
    let (status, log) = process.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_somebody_else_signed_installs_nothing() {
    let plant = Plant::new("token = \"gateway\"\n").await;
    let bundle = plant.bundle(&mut Keeper::new(), |_| {});
    plant.deploy(bundle, 8);
    let mut process = Process::run(&plant.file);
    process.says("started").await;
    let told = plant.told("closed").await;
    let last = &told.last().expect("an end").1["status"];
    assert_eq!(last["result"]["finished"], "failure", "{told:?}");
    assert!(lines(&told).contains("is not signed as it should be"), "{told:?}");
    assert_eq!(plant.releases(), 0);
    assert!(!plant.dir().join("models/bearing").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_rolled_back_is_a_failure_with_its_reason() {
    let mut plant = Plant::new("").await;
    let mut keeper = std::mem::replace(&mut plant.keeper, Keeper::new());
    let bundle = plant.bundle(&mut keeper, |directory| {
        let text = "outer_race\ninner_race\nimbalance\nhealthy\n";
        eir::disk::replace(&directory.join("labels.txt"), text.as_bytes()).expect("labels");
    });
    plant.deploy(bundle, 8);
    let mut process = Process::run(&plant.file);
    process.says("started").await;
    let told = plant.told("closed").await;
    let last = &told.last().expect("an end").1["status"];
    assert_eq!(last["result"]["finished"], "failure", "{told:?}");
    let reason = last["details"][0].as_str().expect("a reason");
    assert!(reason.starts_with("models/bearing/2.tar.zst: rolled back: "), "{reason}");
    assert!(reason.contains("golden"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_begun_can_be_cancelled() {
    let mut plant = Plant::new("").await;
    let mut keeper = std::mem::replace(&mut plant.keeper, Keeper::new());
    let bundle = plant.bundle(&mut keeper, |_| {});
    // It may be fetched, and not be installed.
    plant.desk().update = "skip";
    plant.deploy(bundle, 8);
    let mut process = Process::run(&plant.file);
    process.says("started").await;
    let told = plant.told("scheduled").await;
    assert!(lines(&told).contains("not to be installed yet"), "{told:?}");
    plant.desk().change(Some(("cancelAction", 8)));
    let told = plant.told("closed").await;
    let (path, last) = told.last().expect("an answer");
    assert_eq!(path, "/cancelAction/8/feedback");
    assert_eq!(last["status"]["result"]["finished"], "success");
    let known = plant.desk().unchanged;
    plant.sees("another look", |desk| desk.unchanged > known).await;
    assert_eq!(plant.releases(), 0);
    assert!(!plant.dir().join("hawkbit").exists(), "nothing of the bundle is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_goes_on_after_a_kill_and_a_confirmation_is_given() {
    let mut plant = Plant::new("").await;
    let mut keeper = std::mem::replace(&mut plant.keeper, Keeper::new());
    let noise = |directory: &Path| {
        // What cannot be packed any smaller: more than a piece.
        let mut seed = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed.to_be_bytes()[0]
        })
        .take(3 << 20)
        .collect();
        eir::disk::replace(&directory.join("notes.bin"), &noise).expect("a file");
    };
    let bundle = plant.bundle(&mut keeper, noise);
    assert!(bundle.len() > 3 << 20);
    plant.desk().pieces = Some(2);
    plant.desk().bundle = bundle;
    plant.desk().change(Some(("confirmationBase", 8)));
    let mut process = Process::run(&plant.file);
    process.says("started").await;
    process.says("503").await;
    process.signal("KILL");
    process.ended().await;
    plant.cloud.forget();
    plant.desk().pieces = None;
    let mut process = Process::run(&plant.file);
    process.says("started").await;
    let told = plant.told("closed").await;
    assert_eq!(told[0].0, "/confirmationBase/8/feedback", "{told:?}");
    assert_eq!(told.last().expect("an end").1["status"]["result"]["finished"], "success");
    let resumed = |(_, told): &(String, Value)| told["status"]["execution"] == "resumed";
    assert!(told.iter().any(resumed), "{told:?}");
    let asked = plant.cloud.asked();
    let ranges = asked.iter().filter_map(|asked| asked.head.split("range: bytes=").nth(1));
    let first = ranges.map(|range| range.split('-').next()).next().flatten();
    assert_eq!(first, Some("2097152"), "what was there is not fetched again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_begun_is_not_cancelled_and_a_confirmation_may_be_left_to_others() {
    let mut plant = Plant::new("confirm = \"ask\"\n").await;
    let text = std::fs::read_to_string(&plant.file).expect("the configuration");
    let text = text.replace("for = \"0s\", least", "for = \"60s\", least");
    eir::disk::replace(&plant.file, text.as_bytes()).expect("file");
    let mut keeper = std::mem::replace(&mut plant.keeper, Keeper::new());
    let bundle = plant.bundle(&mut keeper, |_| {});
    plant.desk().bundle = bundle;
    plant.desk().change(Some(("confirmationBase", 8)));
    // Another's token.
    plant.desk().authorization = "TargetToken s4";
    let mut process = Process::run(&plant.file);
    process.says("hawkBit: the server answers 401").await;
    plant.desk().authorization = "TargetToken s3";
    process.says("action 8 waits to be confirmed at the server").await;
    let known = plant.desk().unchanged;
    plant.sees("another look", |desk| desk.unchanged > known).await;
    assert!(plant.desk().feedback.is_empty());
    // Somebody does.
    plant.desk().change(Some(("deploymentBase", 8)));
    process.says("release=\"models/bearing/2.tar.zst\" state=shadow").await;
    plant.desk().change(Some(("cancelAction", 8)));
    let told = plant.told("rejected").await;
    let is_no = |(_, told): &&(String, Value)| told["status"]["execution"] == "rejected";
    let (path, last) = told.iter().find(is_no).expect("an answer");
    assert_eq!(path, "/cancelAction/8/feedback");
    let why = last["status"]["details"][0].as_str().expect("a reason");
    assert_eq!(why, "models/bearing/2.tar.zst is being installed already");
}
