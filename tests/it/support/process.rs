//! The real binary.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use tokio::sync::mpsc;

use super::within;

/// A running `eir`, its log read line by line; killed when dropped.
pub(crate) struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
    log: Vec<String>,
}

/// The command, with nothing of this process's environment that could steer it.
pub(crate) fn eir() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eir"));
    for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("EIR_")) {
        command.env_remove(name);
    }
    command
}

impl Process {
    /// Starts `eir run --config FILE`.
    pub(crate) fn run(config: &Path) -> Self {
        let mut command = eir();
        command.arg("run").arg("--config").arg(config);
        Self::spawn(command)
    }

    /// Starts any command and reads its standard error.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command starts");
        let stderr = BufReader::new(child.stderr.take().expect("stderr"));
        let (send, lines) = mpsc::channel(10_000);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _full = send.try_send(line);
            }
        });
        Self { child, lines, log: Vec::new() }
    }

    /// Waits for a line of the log that holds `text`.
    pub(crate) async fn says(&mut self, text: &str) -> String {
        loop {
            let line = within(text, self.lines.recv()).await;
            let line = line.unwrap_or_else(|| {
                format!(
                    "no `{text}` in:
{}",
                    self.log.join(
                        "
"
                    )
                )
            });
            assert!(!line.starts_with("no `"), "{line}");
            self.log.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Sends a signal by name: `HUP`, `TERM`, `KILL`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().expect("kill");
        assert!(sent.success(), "kill -s {name} {pid}");
    }

    /// The process's number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends one to the process that it runs, as `strace` does; that may be over.
    pub(crate) fn signal_child(&self, name: &str) {
        let id = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        for child in children.unwrap_or_default().split_whitespace() {
            let _may_be_over = Command::new("kill").args(["-s", name, child]).status();
        }
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("status").is_some()
    }

    /// Waits for the end: the exit status and the whole log.
    pub(crate) async fn ended(mut self) -> (ExitStatus, String) {
        while let Some(line) = within("the end", self.lines.recv()).await {
            self.log.push(line);
        }
        (self.child.wait().expect("status"), self.log.join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _already_waited = self.child.wait();
    }
}
