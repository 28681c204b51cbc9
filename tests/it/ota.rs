//! Over the air, whole: a real eir takes releases from a real nginx.

mod cut;
mod layer;
mod line;
mod many;
mod program;
mod web;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::process::config;
use super::support::keeper::{Keeper, bearing};
use super::support::nginx::Nginx;
use super::support::{Mosquitto, Peer, Process, eir, site, within};

/// A device that looks for releases every second and does not try them long.
pub(super) struct Site {
    pub(super) broker: Mosquitto,
    pub(super) keeper: Keeper,
    pub(super) nginx: Nginx,
    pub(super) place: tempfile::TempDir,
    pub(super) file: PathBuf,
}

impl Site {
    pub(super) fn new(more: &str) -> Self {
        let (broker, keeper) = (Mosquitto::start(), Keeper::new());
        let nginx = Nginx::host(&keeper.directory(), "");
        let place = tempfile::tempdir().expect("tempdir");
        let dir = place.path().join("update");
        let outbox = place.path().join("outbox.db");
        let text = format!(
            "{}\n[outbox]\npath = \"{}\"\n[update]\nurl = \"{}\"\nroot = \"{}\"\ndir = \"{}\"\n\
             every = \"1s\"\nprobation = \"2s\"\nspare_memory = \"1MiB\"\n\
             shadow = {{ share = 1.0, for = \"1s\", least = 5 }}\ncanary = {{ share = 0.5, for = \"1s\" }}\n{more}",
            site::BEARING,
            outbox.display(),
            nginx.url(),
            keeper.root().display(),
            dir.display(),
        );
        let file = config(place.path(), broker.port(), &text);
        Self { broker, keeper, nginx, place, file }
    }

    pub(super) fn run(&self) -> Process {
        Process::run(&self.file)
    }

    pub(super) fn dir(&self) -> PathBuf {
        self.place.path().join("update")
    }

    /// `eir update …`: what it says.
    pub(super) fn update(&self, arguments: &[&str]) -> String {
        let mut command = eir();
        command.arg("update").arg("--config").arg(&self.file).args(arguments);
        let output = command.output().expect("eir");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// Waits until a release has come to this state, and gives what is told of it.
    pub(super) async fn comes_to(&self, release: &str, state: &str) -> Value {
        let read = async {
            loop {
                let text = std::fs::read(self.dir().join("status.json")).unwrap_or_default();
                let status: Value = serde_json::from_slice(&text).unwrap_or_default();
                let all = status["releases"].as_array().cloned().unwrap_or_default();
                if let Some(found) = all.into_iter().find(|of| of["release"] == release) {
                    if found["state"] == state {
                        return found;
                    }
                    assert!(
                        !(["committed", "rolled back"].iter().any(|end| found["state"] == *end)),
                        "{found}"
                    );
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within(&format!("{release} {state}"), read).await
    }
}

/// Publishes windows for some machines, one after the other, as long as it is held.
pub(super) struct Traffic(tokio::task::JoinHandle<()>);

impl Traffic {
    pub(super) async fn start(port: u16) -> Self {
        let mut peer = Peer::connect("traffic", port).await;
        #[expect(clippy::disallowed_methods, reason = "a test's own task")]
        Self(tokio::spawn(async move {
            for seq in 0.. {
                let label = if seq % 2 == 0 { "outer_race" } else { "healthy" };
                let topic = format!("plant/m{}/vibration", seq % 8);
                peer.publish(&topic, site::window(label, seq)).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }))
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The version of the model that the next decisions are made with.
async fn decided_by(peer: &mut Peer, version: u64) {
    let read = async {
        loop {
            if peer.next_json().await.1["version"] == version {
                return;
            }
        }
    };
    within("a decision of that version", read).await;
}

fn changed(place: &Path, change: impl FnOnce(&Path)) -> PathBuf {
    let directory = place.join("next");
    bearing(&directory, change);
    directory
}

/// Its labels in another order: every answer is wrong, and fast, and sure.
fn rubbish(directory: &Path) {
    let text = "outer_race\ninner_race\nimbalance\nhealthy\n";
    eir::disk::replace(&directory.join("labels.txt"), text.as_bytes()).expect("labels");
    std::fs::remove_dir_all(directory.join("golden")).expect("golden");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_better_model_is_shadowed_serves_some_streams_and_then_all() {
    let mut site = Site::new("");
    let mut process = site.run();
    process.says("started").await;
    let mut peer = Peer::connect("peer", site.broker.port()).await;
    peer.subscribe("plant/+/alarm").await;
    let traffic = Traffic::start(site.broker.port()).await;
    decided_by(&mut peer, 1).await;
    let next = changed(site.place.path(), |_| {});
    let about = json!({ "note": "trained on the spring's data" });
    site.keeper.model("models/bearing/2.tar.zst", &next, about);
    for state in ["downloading", "unpacking", "checking", "shadow", "canary", "committed"] {
        process.says(&format!("release=\"models/bearing/2.tar.zst\" state={state}")).await;
    }
    site.comes_to("models/bearing/2.tar.zst", "committed").await;
    decided_by(&mut peer, 2).await;
    // What it costs the repository to be asked again by who has all of it: the timestamp, and whether there is a new root.
    let asked = site.nginx.asked();
    let archives = asked.lines().filter(|line| line.contains("/targets/")).count();
    assert_eq!(archives, 1, "{asked}");
    // One that is no good leaves it where it is, and it can be gone back from all the same.
    let third = site.place.path().join("third");
    bearing(&third, rubbish);
    site.keeper.model("models/bearing/3.tar.zst", &third, json!({}));
    site.comes_to("models/bearing/3.tar.zst", "rolled back").await;
    let serves = |line: &str| {
        line.contains("models/bearing/2.tar.zst") && line.ends_with("as it was signed")
    };
    let looked = async {
        while !site.update(&["status"]).lines().any(serves) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    within("what serves is looked at", looked).await;
    let said = site.update(&["rollback", "models/bearing"]);
    assert!(said.contains("somebody wanted it back"), "{said}");
    site.comes_to("models/bearing/2.tar.zst", "rolled back").await;
    decided_by(&mut peer, 1).await;
    let said = site.update(&["rollback", "models/bearing"]);
    assert!(said.contains("nothing that is published serves in its place"), "{said}");
    drop(traffic);
    process.signal("TERM");
    let (status, log) = process.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_next_releases_only_what_has_changed_is_fetched() {
    let mut site = Site::new("");
    let mut process = site.run();
    process.says("started").await;
    let traffic = Traffic::start(site.broker.port()).await;
    // The first comes whole, the second as a patch of that, the third as a patch of what came out of a patch.
    for version in 2..=4 {
        let next = site.place.path().join(format!("next-{version}"));
        bearing(&next, |directory| {
            let text = format!("trained for the {version}th time\n");
            eir::disk::replace(&directory.join("README.md"), text.as_bytes()).expect("the card");
        });
        let release = format!("models/bearing/{version}.tar.zst");
        site.keeper.model(&release, &next, json!({}));
        site.comes_to(&release, "committed").await;
    }
    let asked = site.nginx.asked();
    let of = |place: &str| asked.lines().filter(|line| line.contains(place)).count();
    assert_eq!((of("/targets/models/"), of("/targets/deltas/")), (1, 2), "{asked}");
    drop(traffic);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_answers_rubbish_never_serves_all() {
    let mut site = Site::new("");
    let mut process = site.run();
    process.says("started").await;
    let traffic = Traffic::start(site.broker.port()).await;
    let next = changed(site.place.path(), rubbish);
    site.keeper.model("models/bearing/2.tar.zst", &next, json!({}));
    let found = site.comes_to("models/bearing/2.tar.zst", "rolled back").await;
    let reason = found["reason"].as_str().expect("a reason");
    assert!(
        reason.starts_with("it agrees on") && reason.contains("90 % are asked for"),
        "{reason}"
    );
    assert!(!site.dir().join("models/bearing/2").exists());
    // With golden samples it does not even come so far.
    let next = site.place.path().join("third");
    bearing(&next, |directory| {
        let text = "outer_race\ninner_race\nimbalance\nhealthy\n";
        eir::disk::replace(&directory.join("labels.txt"), text.as_bytes()).expect("labels");
    });
    site.keeper.model("models/bearing/3.tar.zst", &next, json!({}));
    let found = site.comes_to("models/bearing/3.tar.zst", "rolled back").await;
    let reason = found["reason"].as_str().expect("a reason");
    assert!(reason.contains("golden"), "{reason}");
    drop(traffic);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_slower_than_its_release_allows_goes_back_and_so_does_one_that_takes_the_memory()
 {
    let mut site = Site::new("");
    let mut process = site.run();
    process.says("started").await;
    let traffic = Traffic::start(site.broker.port()).await;
    let next = changed(site.place.path(), |_| {});
    // The same model takes as long as itself; this release asks for a hundredth of that.
    let judge = json!({ "judge": { "max_latency_ratio": 0.01 } });
    site.keeper.model("models/bearing/2.tar.zst", &next, judge);
    let found = site.comes_to("models/bearing/2.tar.zst", "rolled back").await;
    let reason = found["reason"].as_str().expect("a reason");
    assert!(reason.contains("times as long, 0.01 may"), "{reason}");
    // One that has another word for something, and can agree on nothing, is measured all the same.
    let other = site.place.path().join("other");
    bearing(&other, |directory| {
        let text = "healthy\nimbalance\ninner\nouter\n";
        eir::disk::replace(&directory.join("labels.txt"), text.as_bytes()).expect("labels");
        std::fs::remove_dir_all(directory.join("golden")).expect("golden");
    });
    let judge = json!({ "judge": { "max_latency_ratio": 0.01 } });
    site.keeper.model("models/bearing/5.tar.zst", &other, judge);
    let found = site.comes_to("models/bearing/5.tar.zst", "rolled back").await;
    let reason = found["reason"].as_str().expect("a reason");
    assert!(reason.contains("times as long, 0.01 may"), "{reason}");
    drop(traffic);
    drop(process);
    // More than any device has, to stay available beside it.
    let text = std::fs::read_to_string(&site.file).expect("the configuration");
    let text = text.replace("spare_memory = \"1MiB\"", "spare_memory = \"8TiB\"");
    eir::disk::replace(&site.file, text.as_bytes()).expect("file");
    let mut process = site.run();
    process.says("started").await;
    site.keeper.model("models/bearing/6.tar.zst", &next, json!({}));
    let found = site.comes_to("models/bearing/6.tar.zst", "rolled back").await;
    let reason = found["reason"].as_str().expect("a reason");
    assert!(reason.contains("bytes of memory are available"), "{reason}");
    // And one that asks for more than there is does not even begin.
    let needs = json!({ "needs": { "memory": 1_u64 << 43 } });
    site.keeper.model("models/bearing/7.tar.zst", &next, needs);
    let offered = async {
        while !site.update(&["status"]).contains("it needs 8796093022208 bytes of memory") {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    within("it is offered and not taken", offered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_tried_anew_after_a_kill_and_given_up_when_it_is_halted() {
    let mut site = Site::new("shadow.for = \"60s\"\n");
    let text = std::fs::read_to_string(&site.file).expect("the configuration");
    let text = text.replace("for = \"1s\", least", "for = \"60s\", least");
    eir::disk::replace(&site.file, text.replace("shadow.for = \"60s\"\n", "").as_bytes())
        .expect("file");
    let mut process = site.run();
    process.says("started").await;
    let next = changed(site.place.path(), |_| {});
    site.keeper.model("models/bearing/2.tar.zst", &next, json!({}));
    site.comes_to("models/bearing/2.tar.zst", "shadow").await;
    process.signal("KILL");
    process.ended().await;
    let mut process = site.run();
    process.says("state=shadow").await;
    site.keeper.halt("models/bearing/2.tar.zst");
    let found = site.comes_to("models/bearing/2.tar.zst", "rolled back").await;
    assert_eq!(found["reason"], "its publisher halted it");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_on_the_disk_is_laid_out_anew_from_the_repository_if_need_be() {
    let mut site = Site::new("");
    let mut process = site.run();
    process.says("started").await;
    let next = changed(site.place.path(), |_| {});
    site.keeper.model("models/bearing/2.tar.zst", &next, json!({}));
    site.comes_to("models/bearing/2.tar.zst", "committed").await;
    process.signal("TERM");
    process.ended().await;
    let model = site.dir().join("models/bearing/2/model.onnx");
    let mut bytes = std::fs::read(&model).expect("the model");
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0x55);
    eir::disk::replace(&model, &bytes).expect("damaged");
    for entry in std::fs::read_dir(site.dir().join("download")).expect("what was fetched") {
        std::fs::remove_file(entry.expect("entry").path()).expect("gone");
    }
    let mut process = site.run();
    process.says("what serves is not what was signed").await;
    process.says("laid out anew").await;
    let mut peer = Peer::connect("peer", site.broker.port()).await;
    peer.subscribe("plant/+/alarm").await;
    let _traffic = Traffic::start(site.broker.port()).await;
    decided_by(&mut peer, 2).await;
}

/// The power went between the rename of a model and the reload that would have refused it.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_fits_no_rule_does_not_keep_the_device_from_starting() {
    let site = Site::new("");
    bearing(&site.dir().join("models/bearing/2"), |directory| {
        let text = "well\nimbalance\ninner_race\nouter_race\n";
        eir::disk::replace(&directory.join("labels.txt"), text.as_bytes()).expect("labels");
        std::fs::remove_dir_all(directory.join("golden")).expect("golden");
    });
    let mut process = site.run();
    process.says("what came over the air does not count").await;
    let mut peer = Peer::connect("peer", site.broker.port()).await;
    peer.subscribe("plant/+/alarm").await;
    let _traffic = Traffic::start(site.broker.port()).await;
    decided_by(&mut peer, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stick_brings_what_the_network_would() {
    let mut site = Site::new("");
    let text = std::fs::read_to_string(&site.file).expect("the configuration");
    let url = format!("url = \"{}\"\n", site.nginx.url());
    eir::disk::replace(&site.file, text.replace(&url, "").as_bytes()).expect("file");
    let mut process = site.run();
    process.says("started").await;
    let next = changed(site.place.path(), |_| {});
    // Whose wave it is does not count for who stands beside the device.
    let never = json!({ "waves": [{ "percent": 100, "after": "9d" }] });
    site.keeper.model("models/bearing/2.tar.zst", &next, never);
    let stick = site.keeper.directory().display().to_string();
    let said = site.update(&["import", &stick]);
    assert!(said.contains("models/bearing/2.tar.zst"), "{said}");
    site.comes_to("models/bearing/2.tar.zst", "committed").await;
    let said = site.update(&["import", &stick]);
    assert!(said.contains("nothing newer"), "{said}");
    // Somebody else's repository.
    let other = Keeper::new();
    let said = site.update(&["import", &other.directory().display().to_string()]);
    assert!(said.contains("is not signed as it should be"), "{said}");
    let said = site.update(&["check"]);
    assert!(said.contains("[update].url names no repository"), "{said}");
    drop(process);
    let said = site.update(&["check"]);
    assert!(said.contains("done at its next start"), "{said}");
}
