//! Death at every system call that changes a file: what was acknowledged is there, and the rest is whole.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use super::damage::corrupt_leaf;
use super::*;

/// Tells the child where its outbox is; a test that is run without it does nothing.
const DIRECTORY: &str = "EIR_TEST_KILLED_OUTBOX";

/// What may be cut off.
const CALLS: &str = "pwrite64,fsync,fdatasync,ftruncate,rename,renameat,renameat2,unlink,unlinkat";

/// Small, so that little has to be written until something is dropped.
const MAX: usize = 1 << 20;

pub(super) fn config(directory: &Path) -> OutboxConfig {
    let path = directory.join("outbox.db");
    OutboxConfig { path, max: ByteSize(MAX), ..OutboxConfig::default() }
}

pub(super) fn open(directory: &Path) -> Outbox {
    let clouds = vec![name("main")];
    Outbox::start(&config(directory), name("press-07"), clouds, Arc::new(SystemClock))
}

/// The process that is killed: appends records one by one, delivers some, and writes down what is
/// acknowledged.
#[tokio::test]
async fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let directory = Path::new(&directory);
    let outbox = open(directory);
    let body = format!("\"{}\"", "x".repeat(30_000));
    let mut reader = outbox.reader(name("main"));
    for _ in 0..2 {
        let one = draft(Kind::Sample, &body);
        let (id, path) = (one.id, directory.join("acked"));
        let (sender, acked) = tokio::sync::oneshot::channel();
        let sender = Mutex::new(Some(sender));
        let ack = Ack::new(move || {
            let file = OpenOptions::new().create(true).append(true).open(&path);
            writeln!(file.expect("file"), "{id}").expect("noted");
            let sender = sender.lock().expect("lock").take();
            sender.expect("once").send(()).expect("awaited");
        });
        assert!(outbox.remember("a", id.to_string()));
        outbox.append(one, ack);
        acked.await.expect("an ack");
        let batch = reader.next(1, 1).await.expect("a batch");
        reader.delivered(&batch);
    }
    assert!(outbox.stop(SOON).await);
}

/// Kills the child at its n-th call for every n until it ends by itself. `prepare` makes what it finds,
/// `check` looks at what it left.
async fn kill_everywhere(prepare: impl AsyncFn(&Path), check: impl Fn(&Path)) -> usize {
    for number in 1.. {
        let directory = tempfile::tempdir().expect("tempdir");
        prepare(directory.path()).await;
        let inject = format!("inject={CALLS}:signal=KILL:when={number}");
        let status = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={CALLS}"), "-e", &inject])
            .arg(std::env::current_exe().expect("this program"))
            .args(["--exact", "outbox::tests::kill::child"])
            .env(DIRECTORY, directory.path())
            .stdout(std::process::Stdio::null())
            .status()
            .expect("strace is needed: apt-get install strace");
        // What is left is whole, and serves.
        let outbox = open(directory.path());
        append(&outbox, Kind::Decision, &["\"after\""]).await;
        assert_eq!(outbox.status().problem, None, "killed at call {number}");
        assert!(outbox.stop(SOON).await);
        let found = Inspector::open(&config(directory.path()).path).expect("open");
        assert_eq!(found.verify().expect("verify"), [], "killed at call {number}");
        check(directory.path());
        if status.success() {
            return number - 1;
        }
        assert_eq!(status.signal(), Some(9), "the child failed at call {number}");
    }
    0
}

/// The ids of the records that are there, with those that their gap records tell of counted.
fn there(directory: &Path) -> (BTreeSet<String>, u64) {
    let (mut ids, mut told) = (BTreeSet::new(), 0);
    let outbox = Inspector::open(&config(directory).path).expect("open");
    let all = outbox.records(|record| {
        told += record.gap().map_or(0, |gap| gap.count);
        ids.insert(record.id.to_string());
        std::ops::ControlFlow::<()>::Continue(())
    });
    all.expect("read");
    (ids, told)
}

fn acked(directory: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(directory.join("acked")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_fresh_outbox_loses_nothing_that_it_acknowledged() {
    let calls = kill_everywhere(
        async |_| {},
        |directory| {
            let (ids, told) = there(directory);
            // What was delivered may be gone; it is the oldest.
            let acked = acked(directory);
            let kept = acked.iter().position(|id| ids.contains(id)).unwrap_or(acked.len());
            assert!(acked[kept..].iter().all(|id| ids.contains(id)), "{acked:?} {ids:?}");
            assert_eq!(told, 0);
        },
    );
    let calls = calls.await;
    assert!(calls > 15, "only {calls} calls");
}

#[tokio::test]
async fn a_full_outbox_drops_and_tells_in_one_step() {
    let fill = async |directory: &Path| {
        let outbox = open(directory);
        let body = format!("\"{}\"", "y".repeat(30_000));
        for _ in 0..23 {
            append(&outbox, Kind::Sample, &[&body]).await;
        }
        assert_eq!(outbox.status().dropped, 0);
        assert!(outbox.stop(SOON).await);
    };
    let calls = kill_everywhere(fill, |directory| {
        let contents = Inspector::open(&config(directory).path).and_then(|o| o.contents());
        let contents = contents.expect("contents");
        let (ids, told) = there(directory);
        // Every number that was given is there, told of, or was delivered.
        let cursor = contents.clouds.get("main").map_or(0, |cloud| cloud.cursor);
        let missing = contents.next_seq - 1 - ids.len() as u64;
        assert!(missing <= told + cursor.unsigned_abs(), "{missing} {told} {cursor}");
        assert!(acked(directory).iter().all(|id| ids.contains(id)));
    });
    assert!(calls.await > 15);
}

#[tokio::test]
async fn a_salvage_is_done_again_until_it_is_done() {
    let damage = async |directory: &Path| {
        let outbox = open(directory);
        append(&outbox, Kind::Decision, &[&*format!("\"{}\"", "z".repeat(1000)); 40]).await;
        assert!(outbox.stop(SOON).await);
        // A leaf of the table of records; the child's reader meets it.
        corrupt_leaf(&config(directory).path, "zzzzzzzz");
    };
    let calls = kill_everywhere(damage, |directory| {
        let (ids, _) = there(directory);
        assert!(ids.len() > 30, "{}", ids.len());
        assert!(acked(directory).iter().all(|id| ids.contains(id)));
    });
    assert!(calls.await > 15);
}

#[tokio::test]
async fn an_older_format_is_brought_up_in_one_step() {
    let old = async |directory: &Path| {
        crate::disk::replace(&config(directory).path, formats::OLD).expect("written");
    };
    let calls = kill_everywhere(old, |directory| {
        let (ids, told) = there(directory);
        // The fourteen of before, of which a few may have been delivered, and the last one.
        assert!(ids.len() >= 13, "{}", ids.len());
        assert_eq!(told, 0);
    });
    assert!(calls.await > 15);
}
