//! The live page, seen with a browser: `tests/page.py` looks at it as a person does.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Notify;

use super::*;
use crate::support::Process;

/// Two pipelines that always have something to say.
const DEVICE: &str = r#"
[device]
id = "press-07"

[pipeline.line]
input  = { mqtt = { broker = "local", topic = "line/+/jpeg" } }
decode = { image = {} }
model  = "defects"

[pipeline.line.rule.reject]
when  = "detections.exists(d, d.label == 'scratch' && d.score > 0.5)"
until = "true"
do    = [{ log = {} }]
"#;

/// The browser; none: it is not here. With `EIR_REQUIRE_BROWSER=1` it must be.
fn browser() -> Option<PathBuf> {
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let usual = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].map(PathBuf::from);
    let found = named.into_iter().chain(usual).find(|path| path.exists());
    let required = std::env::var_os("EIR_REQUIRE_BROWSER").is_some_and(|value| value == "1");
    assert!(found.is_some() || !required, "Chromium is not here");
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_what_is_seen_and_decided_and_comes_back_after_a_restart() {
    let Some(browser) = browser() else { return };
    let broker = Mosquitto::start();
    let directory = tempfile::tempdir().expect("tempdir");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("address");
    drop(free);
    let text = site::BEARING.replace("127.0.0.1:1\"", &format!("127.0.0.1:{}\"", broker.port()));
    let models = format!("[models]\ndir = \"{}\"\n", site::models().display());
    let api = format!("[api]\nlisten = \"{address}\"\n");
    let config = directory.path().join("eir.toml");
    eir::disk::replace(&config, [&text, DEVICE, &models, &api].concat().as_bytes())
        .expect("config");
    let mut device = Process::run(&config);
    device.says("started").await;

    // The world goes on, whoever looks at it.
    let stop = Arc::new(Notify::new());
    let world = {
        let stop = Arc::clone(&stop);
        let mut peer = Peer::connect("world", broker.port()).await;
        async move {
            let pictures = ["scratch", "dent"].map(site::picture);
            for number in 0_usize.. {
                let label = if number.is_multiple_of(2) { "outer_race" } else { "healthy" };
                peer.publish("plant/a/vibration", site::window(label, number as u64)).await;
                peer.publish("line/3/jpeg", pictures[number % 2].clone()).await;
                tokio::select! {
                    () = stop.notified() => return,
                    () = tokio::time::sleep(Duration::from_millis(300)) => {}
                }
            }
        }
    };
    let look = async {
        let shots = directory.path().join("shots");
        std::fs::create_dir_all(&shots).expect("a directory");
        let mut script = Command::new("python3")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page.py"))
            .arg(format!("http://{address}"))
            .arg(std::env::var_os("EIR_SHOTS").map_or(shots, PathBuf::from))
            .args(["--restart", "--timeout", "60"])
            .env("CHROMIUM", browser)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut lines = BufReader::new(script.stdout.take().expect("stdout"));
        let mut said = String::new();
        loop {
            let (read, line) = tokio::task::spawn_blocking(move || {
                let mut line = String::new();
                let read = lines.read_line(&mut line).expect("a line");
                ((lines, read), line)
            })
            .await
            .expect("a reader");
            lines = read.0;
            said.push_str(&line);
            if read.1 == 0 {
                break;
            }
            if line.trim() == "restart" {
                device.signal("KILL");
                tokio::time::sleep(Duration::from_millis(1500)).await;
                device = Process::run(&config);
                device.says("started").await;
                let stdin = script.stdin.as_mut().expect("stdin");
                stdin.write_all(b"\n").expect("told");
            }
        }
        let status = script.wait().expect("an end");
        stop.notify_one();
        assert!(status.success(), "{said}");
        said
    };
    let (said, ()) = tokio::join!(look, world);
    assert!(said.contains("ms"), "{said}");
}
