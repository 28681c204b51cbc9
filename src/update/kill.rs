//! Death at every system call that changes a file while releases come and go: what serves is whole, the old or the new,
//! and the next start reaches the end.

mod power;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use super::agent::{Agent, Facts, Fetched};
use super::archive;
use super::author::{Lifetimes, Repository, Roles};
use super::config::UpdateConfig;
use super::depot::Depot;
use super::journal::Subject;
use super::machine::{Event, State};
use super::plan::Installed;
use super::release::{About, Content};
use super::sign::{Key, Scheme};
use super::slots::{self, Slots};
use super::source::Directory;
use super::wake::wake;
use crate::disk;
use crate::event::{Device, Name};
use crate::task::{Clock, SystemClock};

/// Tells the child where its site is; a test that is run without it does nothing.
const SITE: &str = "EIR_TEST_KILLED_UPDATE";

/// What may be cut off.
const CALLS: &str = "write,pwrite64,fsync,fdatasync,ftruncate,rename,renameat,renameat2,unlink,unlinkat,\
                     mkdir,mkdirat,rmdir";

/// What a release holds: as large as to be written in two pieces, and mostly what the one before does, so that it comes
/// as a patch.
fn words(version: u64) -> Vec<u8> {
    let mix = |i: u32| (i ^ (i << 13)).wrapping_mul(0x9e37_79b9);
    let noise = (0..20_000_u32).map(|i| (mix(i) ^ (mix(i) >> 15)).wrapping_mul(0x85eb_ca6b));
    let noise = noise.map(|number| number.to_be_bytes()[0]);
    noise.chain(format!("version {version}\n").into_bytes()).collect()
}

fn name() -> Name {
    "a".parse().expect("a name")
}

/// The three releases of one version.
fn releases(version: u64) -> [Content; 3] {
    [
        Content::Model { name: name(), version },
        Content::Config { name: name(), version },
        Content::Binary { version: format!("0.{version}.0"), triple: "t".to_owned() },
    ]
}

/// A repository with two versions of everything, and a device that has the first.
async fn prepare(site: &Path) {
    let mut publish = keep(site);
    publish(1);
    drive(site, false).await;
    publish(2);
}

/// A repository, and what publishes a version of everything in it.
fn keep(site: &Path) -> impl FnMut(u64) {
    let [root, targets, online] =
        [(); 3].map(|()| Key::generate(Scheme::default()).expect("random"));
    let roles = Roles { root: (1, vec![&root]), targets: (1, vec![&targets]), online: &online };
    let (directory, now) = (site.join("repository"), SystemClock.wall());
    let mut repository =
        Repository::init(&directory, &roles, Lifetimes::default(), now).expect("made");
    let site = site.to_owned();
    move |version| {
        let package = site.join(format!("package-{version}"));
        fs::create_dir_all(package.join("golden")).expect("directory");
        for file in ["model.onnx", "golden/00.json"] {
            disk::replace(&package.join(file), &words(version)).expect("file");
        }
        for content in releases(version) {
            let bytes = match content {
                Content::Model { .. } => archive::pack(&package).expect("packed"),
                Content::Config { .. } | Content::Binary { .. } => words(version),
            };
            repository.add(&content, &bytes, &About::default()).expect("added");
        }
        repository.publish(&[&targets, &online], now).expect("published");
    }
}

/// Goes on from wherever the device is until everything has had its end; with `undo` what serves is gone back from first.
async fn drive(site: &Path, undo: bool) {
    let dir = site.join("update");
    let root = site.join("repository/metadata/1.root.json");
    let config = UpdateConfig { dir: dir.clone(), root, ..UpdateConfig::default() };
    wake(&dir).expect("woken");
    let device = Device { id: name(), labels: BTreeMap::new() };
    let (mut agent, notes) = Agent::open(&config, Arc::new(device)).expect("opened");
    // A refresh that was cut off leaves a list that is not the newest any more.
    assert!(
        notes.iter().all(|note| note.starts_with("targets.json is fetched again")),
        "{notes:?}"
    );
    let source = Directory(site.join("repository"));
    let (depot, clock) = (Depot::at(&dir), SystemClock);
    if undo {
        let all: Vec<_> = agent.all().map(|(subject, _)| subject.clone()).collect();
        for subject in all {
            agent.step(&subject, Event::Undone, "it is wanted back").expect("saved");
        }
    } else {
        let newest = depot.versions(&name()).last().copied().unwrap_or(0);
        let layers = depot.layers().expect("layers").into_iter();
        let layers = layers.map(|(name, version, _)| (name, version)).collect();
        let slots = Slots::read(&dir);
        let facts = Facts {
            installed: Installed { models: BTreeMap::from([(name(), newest)]), layers },
            engines: vec!["tract"],
            memory: None,
            eir: slots.current.unwrap_or_else(|| "0.0.1".to_owned()),
            triple: "t".to_owned(),
        };
        agent.look(&source, &clock, &facts).await.expect("looked");
    }
    for (subject, _) in agent.under_way() {
        while let Some(state) = under_way(&agent, &subject) {
            let done = carry(&mut agent, &subject, state, &source).await;
            agent.step(&subject, done, "").expect("saved");
        }
        disk::power::note(site, &format!("{:?} ended", subject.kind));
    }
    agent.tidy().expect("tidied");
    agent.close();
}

fn under_way(agent: &Agent, subject: &Subject) -> Option<State> {
    agent.progress(subject).map(|known| known.state).filter(|state| !state.is_final())
}

/// What a device does in a state, in the order in which it does it, without anything that runs.
async fn carry(agent: &mut Agent, subject: &Subject, state: State, source: &Directory) -> Event {
    let release = agent.progress(subject).expect("known").release.clone();
    let content = Content::of(&release).expect("a release");
    let depot = agent.depot().clone();
    let dir = depot.place("");
    match (state, &content) {
        (State::Downloading, _) => {
            for tears in 0.. {
                match agent.fetch(subject, source, &SystemClock).await {
                    // What a power cut tore is fetched once more.
                    Fetched::Wait(_, why) if why.contains("torn") && tears < 20 => {}
                    Fetched::More(..) => {}
                    Fetched::Whole => break,
                    other => panic!("{other:?}"),
                }
            }
        }
        (State::Unpacking, _) => {
            agent.unpacking(subject).expect("published")().expect("laid out");
        }
        (State::Checking, _) => whole(&depot.staged(&content)),
        (State::Probation, Content::Config { name, version }) => {
            depot.enter_layer(name, *version).expect("entered");
        }
        (State::Probation, Content::Binary { version, .. }) => {
            let mut slots = Slots::read(&dir);
            let place = dir.join("slots").join(version);
            if !place.is_dir() {
                disk::rename(&depot.staged(&content), &place).expect("placed");
            }
            slots.try_out(version);
            slots.save(&dir).expect("saved");
        }
        (State::Committing, Content::Model { name, version }) => {
            depot.commit_model(name, *version).expect("committed");
            depot.thin(name, &[]).expect("thinned");
        }
        (State::Committing, Content::Binary { version, .. }) => {
            let mut slots = Slots::read(&dir);
            if slots.trial.as_deref() == Some(version) {
                slots.confirm();
            }
            slots.save(&dir).expect("saved");
            slots::thin(&dir, &slots).expect("thinned");
        }
        (State::RollingBack, _) => {
            if let Content::Binary { version, .. } = &content {
                let mut slots = Slots::read(&dir);
                if [&slots.trial, &slots.current].map(Option::as_ref).contains(&Some(version)) {
                    slots.give_up("it is wanted back");
                    slots.save(&dir).expect("saved");
                }
            }
            depot.discard(&content).expect("discarded");
        }
        _ => {}
    }
    Event::Done
}

/// Every file of one version, or none.
fn whole(path: &Path) {
    let mut files = Vec::new();
    gather(path, &mut files);
    let first = files.first().expect("a file");
    let read = |path: &PathBuf| fs::read(path).expect("read");
    let version = [1, 2].into_iter().find(|version| read(first) == words(*version));
    let version = version.unwrap_or_else(|| panic!("{} is torn", first.display()));
    for file in &files {
        assert!(read(file) == words(version), "{} is torn", file.display());
    }
}

fn gather(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_file() {
        files.push(path.to_owned());
        return;
    }
    for entry in fs::read_dir(path).expect("directory") {
        gather(&entry.expect("entry").path(), files);
    }
}

/// What serves: the version of the model, of the layer and of the program; each is whole.
fn serves(site: &Path) -> [u64; 3] {
    let dir = site.join("update");
    let depot = Depot::at(&dir);
    let models = depot.versions(&name());
    for version in &models {
        let place = depot.model(&name(), *version);
        whole(&place);
        assert!(place.join("model.onnx").is_file() && place.join("golden/00.json").is_file());
    }
    let layers = depot.layers().expect("layers");
    for (_, _, path) in &layers {
        whole(path);
    }
    let mut slots = Slots::read(&dir);
    if let Some(start) = slots.next(&dir, "0.0.1", (None, false)) {
        whole(&start.program);
    }
    assert_eq!(
        slots.failed.map(|failed| failed.reason).filter(|why| why.contains("not there")),
        None
    );
    let program = Slots::read(&dir).current.map_or(0, |current| {
        current.split('.').nth(1).and_then(|version| version.parse().ok()).expect("a version")
    });
    [models.last().copied().unwrap_or(0), layers.first().map_or(0, |layer| layer.1), program]
}

/// The process that is killed.
#[tokio::test]
async fn child() {
    let Some(site) = std::env::var_os(SITE) else { return };
    let site = Path::new(&site);
    drive(site, site.join("undo").exists()).await;
}

/// Kills the child at each of its calls, until it ends by itself, each time from what was prepared; how many that were.
async fn kill_everywhere(undo: bool) -> usize {
    let prepared = tempfile::tempdir().expect("tempdir");
    prepare(prepared.path()).await;
    if undo {
        drive(prepared.path(), false).await;
        disk::replace(&prepared.path().join("undo"), b"").expect("noted");
    }
    let (before, after) = if undo { (2, 1) } else { (1, 2) };
    assert_eq!(serves(prepared.path()), [before; 3]);
    let mut killed = 0;
    // They are counted each by itself.
    for call in CALLS.split(',') {
        for number in 1.. {
            let place = disk::power::directory();
            let site = place.path().join("site");
            let copied = Command::new("cp").arg("-a").arg(prepared.path()).arg(&site).status();
            assert!(copied.expect("cp").success());
            let status = child_killed_at(call, number, &site);
            let told = format!("killed at {call} {number}");
            for version in serves(&site) {
                assert!([before, after].contains(&version), "{told}");
            }
            // Three starts at most, as of any release that is cut off.
            drive(&site, undo).await;
            drive(&site, false).await;
            assert_eq!(serves(&site), if undo { [after; 3] } else { [2; 3] }, "{told}");
            if status.success() {
                let mut files = Vec::new();
                gather(&site.join("update/download"), &mut files);
                let is_made = |path: &PathBuf| path.extension().is_some_and(|end| end == "tar");
                assert!(undo || files.iter().any(is_made), "no patch came: {files:?}");
                break;
            }
            assert_eq!(status.signal(), Some(9), "the child failed: {told}");
            killed += 1;
        }
    }
    killed
}

fn child_killed_at(call: &str, number: usize, site: &Path) -> ExitStatus {
    let inject = format!("inject={call}:signal=KILL:when={number}");
    Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject])
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", "update::kill::child", "--test-threads=1", "--nocapture"])
        .env(SITE, site)
        .stdout(std::process::Stdio::null())
        .status()
        .expect("strace is needed: apt-get install strace")
}

#[tokio::test]
async fn whatever_comes_over_the_air_is_there_whole_or_not_at_all() {
    let calls = kill_everywhere(false).await;
    assert!(calls > 60, "only {calls} calls");
}

#[tokio::test]
async fn the_way_back_leads_back_from_wherever_it_was_cut_off() {
    let calls = kill_everywhere(true).await;
    assert!(calls > 15, "only {calls} calls");
}
