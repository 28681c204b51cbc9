//! Which eir runs: the packaged one hands over to one that came over the air, and comes back when that does not do well.
//!
//! `eir run` looks here before it reads its configuration: that may be written for a newer eir than this one.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use super::{Failure, print};
use crate::app::BASE;
use crate::app::config::{Sources, update_directory};
use crate::task::{Clock, SystemClock};
use crate::update::noted_end;
use crate::update::slots::{Slots, Start};

/// Starts the program that is to run in this one's place. Comes back where that is this one.
pub(super) fn hand_over(sources: &Sources) {
    if std::env::var_os(BASE).is_some() {
        return;
    }
    let Some((directory, base)) = update_directory(sources).zip(base()) else { return };
    let mut slots = Slots::read(&directory);
    let boot = SystemClock.uptime().map(|uptime| uptime.boot);
    let mut saved = slots.clone();
    // Each end counts once: one that dies before it has looked itself is not excused again and again.
    let ended = noted_end(&directory);
    let in_order = ended.is_some() && ended != slots.excused;
    if in_order {
        slots.excused = ended;
    }
    let how = (boot.as_deref(), in_order);
    loop {
        let mut start = slots.next(&directory, env!("CARGO_PKG_VERSION"), how);
        if slots != saved {
            if slots.save(&directory).is_err() {
                // A start that cannot be counted is no start for a program that has not proved itself.
                let mut proved = Slots { trial: None, ..saved.clone() };
                start = proved.next(&directory, env!("CARGO_PKG_VERSION"), how);
            }
            saved = slots.clone();
        }
        let Some(Start { version, program }) = start else { return };
        let mut command = Command::new(&program);
        let error = command.args(std::env::args_os().skip(1)).env(BASE, &base).exec();
        print::note(format!("eir {version} does not start: {error}"));
        slots.give_up(&format!("it does not start: {error}"));
    }
}

/// Starts the packaged program in this one's place, which decides what runs.
pub(super) fn exchange() -> Failure {
    let Some(base) = base() else {
        return anyhow::anyhow!("the packaged eir cannot be found; start it").into();
    };
    let error = Command::new(&base).args(std::env::args_os().skip(1)).env_remove(BASE).exec();
    let told = format!("{} does not start", base.display());
    anyhow::Error::new(error).context(told).into()
}

/// The packaged program.
fn base() -> Option<PathBuf> {
    if let Some(base) = std::env::var_os(BASE) {
        return Some(base.into());
    }
    let this = std::env::current_exe().ok()?;
    if this.exists() {
        return Some(this);
    }
    // It was replaced by a newer package since it started.
    let path = this.to_str()?.strip_suffix(" (deleted)")?;
    Some(path.into())
}
