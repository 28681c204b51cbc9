//! Where it happens: in namespaces of the test's own, where wires can be cut, names taken away and a disk made
//! read-only, without anybody else on the machine noticing.
//!
//! ```text
//! the test, the broker, the cloud                     eir
//!     10.77.1.1 cloud0 ─────────────────── cloud1 10.77.1.2
//!     10.77.2.1 broker0 ────────────────── broker1 10.77.2.2
//! ```
//!
//! The test's program runs itself again inside (`unshare`): a process cannot move there once it has threads.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use super::{NAME, run};
use crate::support::Process;
use crate::support::mosquitto::write;

/// Set where the test runs inside already.
const INSIDE: &str = "EIR_ORACLE_INSIDE";

/// What a name of the cloud is that nobody else has.
pub(super) const CLOUD_NAME: &str = "cloud.eir.test";

/// Where the cloud listens.
pub(super) const CLOUD: &str = "10.77.1.1";

/// Where the broker listens, and at which port: within the namespace every port is free.
pub(super) const BROKER: (&str, u16) = ("10.77.2.1", 18_830);

/// Whatever it needs, tried before anything depends on it.
const TRIAL: &str = "set -e; ip link set lo up
ip link add eir0 type veth peer name eir1
mount --bind \"$1\" \"$1\"; mount -o remount,bind,ro \"$1\"; umount \"$1\"
mount --bind /etc/hosts /etc/hosts
exec unshare --net true";

/// How the test is to run.
pub(super) enum Way {
    /// By this command, which runs it inside.
    Through(Box<Command>),
    /// It runs inside.
    Inside,
    /// There are no namespaces to be had, for this reason.
    Without(String),
}

impl Way {
    pub(super) fn find() -> Self {
        if std::env::var_os(INSIDE).is_some() {
            return Self::Inside;
        }
        let directory = tempfile::tempdir().expect("tempdir");
        let mut trial = unshare();
        trial.args(["sh", "-c", TRIAL, "sh"]).arg(directory.path()).stdin(Stdio::null());
        match trial.output() {
            Err(error) => Self::Without(format!("unshare: {error}")),
            Ok(output) if !output.status.success() => Self::Without(said(&output)),
            Ok(_) => {
                let mut command = unshare();
                command.arg(std::env::current_exe().expect("this program"));
                command.args(["--exact", NAME, "--nocapture"]).env(INSIDE, "1");
                Self::Through(Box::new(command))
            }
        }
    }
}

/// A command line to be gone on with: what follows runs in namespaces of its own.
fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount"]);
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if !is_root {
        command.args(["--user", "--map-root-user"]);
    }
    command.arg("--");
    command
}

fn said(output: &Output) -> String {
    format!("{} ({})", String::from_utf8_lossy(&output.stderr).trim(), output.status)
}

/// One of the two wires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    Cloud,
    Broker,
}

/// One of the two ends of a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Near,
    Far,
}

/// The namespaces, while the test runs in them.
pub(super) struct Place {
    /// Keeps eir's side of the wires in being.
    keeper: Child,
    hosts: PathBuf,
    /// Where the outbox is, on a mount of its own.
    disk: PathBuf,
}

impl Place {
    /// Wires, a name for the cloud, and a disk at `disk`; `beside` is a directory for what this needs itself.
    pub(super) fn make(beside: &Path, disk: &Path) -> Self {
        let mut keeper = Command::new("unshare");
        keeper.args(["--net", "--", "sh", "-c", "ip link set lo up && echo up && exec cat"]);
        let mut keeper =
            keeper.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("unshare");
        let mut up = [0; 3];
        let stdout = keeper.stdout.as_mut().expect("stdout");
        std::io::Read::read_exact(stdout, &mut up).expect("a namespace");
        let hosts = beside.join("hosts");
        write(&hosts, "");
        let place = Self { keeper, hosts, disk: disk.to_owned() };
        sh("ip link set lo up");
        for (wire, net) in [(Wire::Cloud, "10.77.1"), (Wire::Broker, "10.77.2")] {
            let (near, far, pid) = (wire.end(End::Near), wire.end(End::Far), place.keeper.id());
            sh(&format!(
                "ip link add {near} type veth peer name {far} && ip link set {far} netns {pid} &&
                 ip addr add {net}.1/30 dev {near} && ip link set {near} up"
            ));
            place.there(&format!("ip addr add {net}.2/30 dev {far} && ip link set {far} up"));
        }
        std::fs::create_dir_all(disk).expect("directory");
        sh(&format!("mount --bind '{0}' '{0}'", disk.display()));
        sh(&format!("mount --bind '{}' /etc/hosts", place.hosts.display()));
        place.name(true);
        place
    }

    /// Starts the service at the other end of the wires.
    pub(super) fn run(&self, file: &Path) -> Process {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.keeper.id())).args(["--", "sh"]);
        run(command, file)
    }

    /// Pulls the plug at one end.
    pub(super) fn pull(&self, wire: Wire, end: End) {
        self.at(end, &format!("ip link set {} down", wire.end(end)));
    }

    /// What this end sends goes to nobody from now on, and nobody tells.
    pub(super) fn swallow(&self, wire: Wire, end: End) {
        let (far, name) = (wire.address(end.other()), wire.end(end));
        let nobody = "lladdr 02:00:00:00:00:99 nud permanent";
        self.at(end, &format!("ip neigh replace {far} {nobody} dev {name}"));
    }

    /// The wire is as it was.
    pub(super) fn mend(&self, wire: Wire) {
        for end in [End::Near, End::Far] {
            let (far, name) = (wire.address(end.other()), wire.end(end));
            let script = format!(
                "ip neigh del {far} dev {name} 2>/dev/null; ip link set {name} up && ip neigh flush dev {name}"
            );
            self.at(end, &script);
        }
    }

    /// The cloud has a name, or has none.
    pub(super) fn name(&self, known: bool) {
        let line = if known { format!("{CLOUD} {CLOUD_NAME}\n") } else { String::new() };
        write(&self.hosts, &format!("127.0.0.1 localhost\n{line}"));
    }

    /// The disk takes nothing, or takes all again. Nobody may have a file open for writing when it stops.
    pub(super) fn read_only(&self, is_so: bool) {
        let word = if is_so { "ro" } else { "rw" };
        sh(&format!("mount -o remount,bind,{word} '{}'", self.disk.display()));
    }

    fn at(&self, end: End, script: &str) {
        match end {
            End::Near => sh(script),
            End::Far => self.there(script),
        }
    }

    /// Runs a script on eir's side.
    fn there(&self, script: &str) {
        let net = format!("--net=/proc/{}/ns/net", self.keeper.id());
        done(Command::new("nsenter").args([&net, "--", "sh", "-c", script]), script);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What is mounted could not be removed.
        let script = "umount -l \"$0\"; umount -l /etc/hosts";
        let _gone = Command::new("sh").args(["-c", script]).arg(&self.disk).output();
        let _dead = self.keeper.kill();
        let _waited = self.keeper.wait();
    }
}

impl Wire {
    const fn end(self, end: End) -> &'static str {
        match (self, end) {
            (Self::Cloud, End::Near) => "cloud0",
            (Self::Cloud, End::Far) => "cloud1",
            (Self::Broker, End::Near) => "broker0",
            (Self::Broker, End::Far) => "broker1",
        }
    }

    const fn address(self, end: End) -> &'static str {
        match (self, end) {
            (Self::Cloud, End::Near) => CLOUD,
            (Self::Cloud, End::Far) => "10.77.1.2",
            (Self::Broker, End::Near) => BROKER.0,
            (Self::Broker, End::Far) => "10.77.2.2",
        }
    }
}

impl End {
    const fn other(self) -> Self {
        match self {
            Self::Near => Self::Far,
            Self::Far => Self::Near,
        }
    }
}

fn sh(script: &str) {
    done(Command::new("sh").args(["-c", script]), script);
}

fn done(command: &mut Command, script: &str) {
    let output = command.stdin(Stdio::null()).output().expect(script);
    assert!(output.status.success(), "{script}: {}", said(&output));
}
