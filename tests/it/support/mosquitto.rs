//! A real mosquitto for one test.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// Where Debian puts it; the path of an ordinary user does not hold it.
const PROGRAMS: [&str; 2] = ["/usr/sbin/mosquitto", "mosquitto"];

/// A mosquitto that is killed when it is dropped. It keeps nothing on disk: killed and started again,
/// it is empty.
#[derive(Debug)]
pub(crate) struct Mosquitto {
    process: Child,
    directory: TempDir,
    port: u16,
}

impl Mosquitto {
    /// One that lets everybody in.
    pub(crate) fn start() -> Self {
        Self::with("allow_anonymous true\n")
    }

    /// One with these lines in its configuration, behind its `listener`.
    pub(crate) fn with(lines: &str) -> Self {
        let directory = tempfile::tempdir().expect("tempdir");
        let port = free_port();
        let config = format!(
            "listener {port} 127.0.0.1\nset_tcp_nodelay true\nmax_queued_messages 0\n{lines}"
        );
        write(&directory.path().join("mosquitto.conf"), &config);
        let process = launch(directory.path());
        Self { process, directory, port }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Kills it, so that connections break without a word.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("kill");
        self.process.wait().expect("wait");
    }

    /// Ends it in order: what it was told to keep is on disk.
    pub(crate) fn end(&mut self) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").arg(pid).status().expect("kill").success());
        self.process.wait().expect("wait");
    }

    /// Starts it again on the same port.
    pub(crate) fn start_again(&mut self) {
        self.process = launch(self.directory.path());
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _status = self.process.wait();
    }
}

/// Starts the program and waits until it says that it runs.
fn launch(directory: &Path) -> Child {
    let mut process = PROGRAMS
        .iter()
        .find_map(|program| {
            Command::new(program)
                .arg("-c")
                .arg(directory.join("mosquitto.conf"))
                .stderr(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .ok()
        })
        .expect("mosquitto is needed: apt-get install mosquitto");
    let mut log = BufReader::new(process.stderr.take().expect("stderr"));
    let mut said = String::new();
    while !said.contains(" running") {
        let count = log.read_line(&mut said).expect("log");
        assert!(count > 0, "mosquitto did not start: {said}");
    }
    // It must be able to go on writing its log.
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    process
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    listener.local_addr().expect("address").port()
}

/// Writes a small file of a test.
pub(crate) fn write(path: &Path, text: &str) {
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .open(path)
        .expect("open");
    file.write_all(text.as_bytes()).expect("write");
}
