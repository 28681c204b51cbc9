//! The board that the device runs on.

use super::{Outcome, Page, flag};
use crate::summary::Board;

impl Page {
    pub(super) fn board(&self, board: &Board) -> Outcome {
        self.one(
            "eir_board_temperature_celsius",
            "Of the hottest sensor of the processor.",
            board.temperature_celsius,
        )?;
        let memory = board.memory.map(|memory| memory.available_bytes as f64);
        self.one("eir_board_memory_available_bytes", "Memory that could still be had.", memory)?;
        let disk = board.disk.map(|disk| disk.available_bytes as f64);
        self.one("eir_board_disk_available_bytes", "On the file system of the outbox.", disk)?;
        let throttled = board.throttled.as_ref().map(|reasons| flag(!reasons.is_empty()));
        self.one(
            "eir_board_throttled",
            "Whether something holds the processor back, or did since its start (Raspberry Pi).",
            throttled,
        )?;
        let synced = board.clock_synced.map(flag);
        self.one("eir_board_clock_synced", "Whether a time server keeps the clock right.", synced)
    }

    fn one(&self, name: &str, help: &str, value: Option<f64>) -> Outcome {
        self.gauge(name, help, [], value.map(|value| ([], value)))
    }
}
