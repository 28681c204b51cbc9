//! The promise that nothing acknowledged is lost, put to the test: a real broker, a publisher of numbered messages, eir
//! as a process, a cloud that fails in every way, and a tormentor of all of them. In the end everything that the
//! broker acknowledged to the publisher is at the cloud, nothing else is, and in order.
//!
//! `EIR_TORTURE_SECONDS` sets how long (20 by default; `make torture` takes ten minutes), `EIR_TORTURE_SEED` which way. Only
//! where the time is set the disk is filled, too. Where the system lets it, all of it happens in namespaces of its own
//! ([`place`]), in which the network is cut, names are lost and the disk is read-only now and then.

mod door;
mod ledger;
mod place;
mod torment;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use eir::mqtt::{QoS, Version};
use eir::outbox::Inspector;
use eir::task::{Clock, Group, SystemClock};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use self::door::Door;
use self::ledger::Ledger;
use self::place::{BROKER, CLOUD, CLOUD_NAME, Place, Way};
use self::torment::Tormentor;
use super::outbox::{subscribes, verify, with_outbox};
use super::support::cloud::{Answer, Asked, Cloud, OK};
use super::support::mosquitto::write;
use super::support::mqtt::{self, Client};
use super::support::{Mosquitto, Peer, Process, site, within};

/// The name of the test below, by which the program runs it again.
const NAME: &str = "oracle::nothing_that_was_acknowledged_is_lost_and_nothing_invented";

/// The number of the messages that only look whether the device has subscribed.
const PROBE: u64 = 1_000_000;

/// From here on a run is long: everything that can be done is done.
const LONG: u64 = 60;

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

/// Says yes half of the time, and the worst otherwise. It does not lie about what it never takes: a record that
/// is too large twice, others accepted in between, is given up by right.
fn answer(rng: &mut StdRng, asked: &Asked) -> (Answer, bool) {
    match rng.random_range(0..20) {
        0..10 => (OK, true),
        10 => (Answer::Status(500, "", ""), false),
        11 => (Answer::Status(429, "Retry-After: 0\r\n", ""), false),
        12 if asked.records.len() > 1 => (Answer::Status(413, "", ""), false),
        13 => (Answer::Status(401, "", ""), false),
        14 => (Answer::Status(200, "Content-Type: text/html\r\n", "<html>log in</html>"), false),
        15 => (Answer::Drip, false),
        16 => (Answer::Silence, false),
        17 => (Answer::Endless, true),
        // It took them, and the answer is lost on the way.
        _ => (Answer::Reset, false),
    }
}

/// Starts the service by a command that takes a shell's arguments; where a file may not grow, that is an error
/// and no signal.
fn run(mut shell: Command, file: &Path) -> Process {
    for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("EIR_")) {
        shell.env_remove(name);
    }
    let script = "trap '' XFSZ; exec \"$0\" run --config \"$1\"";
    shell.args(["-c", script, env!("CARGO_BIN_EXE_eir")]).arg(file);
    Process::spawn(shell)
}

#[test]
fn nothing_that_was_acknowledged_is_lost_and_nothing_invented() {
    let inside = match Way::find() {
        Way::Inside => true,
        Way::Without(why) => {
            eprintln!("no namespaces, so network, names and mounts are left alone: {why}");
            false
        }
        Way::Through(mut command) => {
            let output = command.output().expect("unshare");
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            eprintln!("{}", text(&output.stderr));
            let passed = output.status.success() && text(&output.stdout).contains("1 passed");
            assert!(passed, "{}: {}", output.status, text(&output.stdout));
            return;
        }
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(torture(inside));
}

/// The configuration's file, and the outbox.
fn configured(
    directory: &Path,
    (host, port): (&str, u16),
    cloud: &str,
    ca: &str,
) -> (PathBuf, PathBuf) {
    let authority = directory.join("ca.pem");
    write(&authority, ca);
    let more = format!(
        "when_unwritable = \"hold\"\n[log]\nlevel = \"debug\"\n[summary]\nevery = \"1s\"\n[cloud.main]\nurl = \"{cloud}\"\n\
         ca_file = \"{}\"\nmax_records = 50\nmax_delay = \"10ms\"\ntimeout = \"300ms\"\n\
         recheck = \"1s\"\nbackoff = {{ first = \"5ms\", max = \"100ms\" }}",
        authority.display()
    );
    let (file, path) = with_outbox(directory, port, &more);
    // A connection into the void is given up after seconds, so that there is something to be seen of that.
    let text = std::fs::read_to_string(&file).expect("the configuration");
    let there = format!("\"mqtt://{host}:{port}\"\nkeep_alive = \"1s\"\nconnect_timeout = \"1s\"");
    write(&file, &text.replace(&format!("\"mqtt://127.0.0.1:{port}\""), &there));
    (file, path)
}

/// A broker that is ended in order keeps the sessions of its clients.
fn broker(kept: &Path, inside: bool) -> Mosquitto {
    std::fs::create_dir(kept).expect("directory");
    let (host, port) = BROKER;
    let listener = format!("listener {port} {host}\nset_tcp_nodelay true\n");
    let lines = format!(
        "allow_anonymous true\nuser root\npersistence true\npersistence_location {}/\n{}",
        kept.display(),
        if inside { listener.as_str() } else { "" }
    );
    Mosquitto::with(&lines)
}

async fn torture(inside: bool) {
    let seconds = setting("EIR_TORTURE_SECONDS", 20);
    let seed = setting("EIR_TORTURE_SEED", 1);
    let directory = tempfile::tempdir().expect("tempdir");
    let place = inside.then(|| Place::make(directory.path(), &directory.path().join("data")));
    let mut broker = broker(&directory.path().join("broker"), inside);

    let (ledger, calm) =
        (Arc::new(Mutex::new(Ledger::default())), Arc::new(AtomicBool::new(false)));
    let (book, peace) = (Arc::clone(&ledger), Arc::clone(&calm));
    let mut whims = StdRng::seed_from_u64(seed + 1);
    let (address, name) = if inside { (CLOUD, CLOUD_NAME) } else { ("127.0.0.1", "localhost") };
    let (door, ca) = Door::of(name);
    let door = Arc::new(door);
    let doorman = Arc::clone(&door);
    let script = move |asked: &Asked| {
        let (answer, yes) =
            if peace.load(Ordering::Relaxed) { (OK, true) } else { answer(&mut whims, asked) };
        book.lock().expect("ledger").note(asked, yes);
        answer
    };
    let cloud = Cloud::listen(address, script, Some(Box::new(move || doorman.meet()))).await;

    let url = format!("https://{name}:{}/v1/eir", cloud.port());
    let there = if inside { BROKER } else { ("127.0.0.1", broker.port()) };
    let (file, path) = configured(directory.path(), there, &url, &ca);
    let is_long = std::env::var_os("EIR_TORTURE_SECONDS").is_some();
    let rng = StdRng::seed_from_u64(seed);
    let mut tormentor = Tormentor::new(rng, file, place, Arc::clone(&door), is_long);
    let mut peer = Peer::connect("peer", broker.port()).await;
    peer.subscribe("plant/+/alarm").await;
    let mut process = tormentor.run();
    subscribes(&mut process, &mut peer).await;
    drop(peer);

    let stop = Arc::new(AtomicBool::new(false));
    let url = format!("mqtt://127.0.0.1:{}", broker.port());
    let client = Client::up("publisher", &mqtt::config(&url, Version::V5), &[]).await;
    let (count, published) = tokio::sync::oneshot::channel();
    let mut publisher = Group::default();
    let stopped = Arc::clone(&stop);
    publisher.spawn("publisher", async move {
        count.send(publish(client, stopped).await).expect("somebody wants to know");
    });
    let end = SystemClock.now() + Duration::from_secs(seconds);
    while SystemClock.now() < end || (seconds >= LONG && !tormentor.has_done_all()) {
        tormentor.rest(2200).await;
        cloud.forget();
        process = tormentor.torment(process, &mut broker).await;
    }
    tormentor.rest(1000).await;
    tormentor.relent(&process);
    calm.store(true, Ordering::Relaxed);
    stop.store(true, Ordering::Relaxed);
    let published = within("the last word of the broker", published).await.expect("publisher");

    in_the_end(&mut tormentor, process, &ledger, &path, published).await;
    let (records, torments) = (ledger.lock().expect("ledger").records(), tormentor.done());
    eprintln!("{published} messages, {records} records; {torments:?}; 0 lost, 0 invented");
    let missing = tormentor.missing();
    assert!(seconds < LONG || missing.is_empty(), "never done: {missing:?}");
}

/// Nothing is in anybody's way any more: what was acknowledged arrives, and is all that does.
async fn in_the_end(
    tormentor: &mut Tormentor,
    process: Process,
    ledger: &Mutex<Ledger>,
    path: &Path,
    published: u64,
) {
    let patience = SystemClock.now() + Duration::from_secs(setting("EIR_TORTURE_PATIENCE", 120));
    let missing = || -> BTreeSet<u64> {
        let arrived = ledger.lock().expect("ledger").arrived();
        (0..published).filter(|number| !arrived.contains(number)).collect()
    };
    while !missing().is_empty() && SystemClock.now() < patience {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (missing, torments) = (missing(), tormentor.done().clone());
    let outbox = Inspector::open(path).expect("outbox").contents().expect("contents");
    let status = tormentor.ends(process, "TERM").await;
    let log = tormentor.log();
    let what = || format!("{missing:?}; {outbox:?}\n{status}\n{log}");
    assert!(missing.is_empty(), "lost of {published} after {torments:?}: {}", what());
    assert_eq!(outbox.dead, 0, "{outbox:?}");
    ledger.lock().expect("ledger").judge(published);
    assert_eq!(status.code(), Some(0), "{log}");
    verify(path);
}

/// Publishes one number after the other, each until the broker has acknowledged it; how many that were.
async fn publish(client: Client, stop: Arc<AtomicBool>) -> u64 {
    let template = site::window("outer_race", PROBE);
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let payload = template.replace(&PROBE.to_string(), &number.to_string());
        let publish = mqtt::publish("plant/a/vibration", &payload, QoS::AtLeastOnce);
        if client.link.publish(publish).await.is_ok() {
            number += 1;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    number
}
