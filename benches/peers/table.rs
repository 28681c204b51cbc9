//! What is printed: a block for each case, then the targets.
#![expect(clippy::print_stdout, reason = "a bench prints")]

use super::load::Found;
use super::subject::Subject;
use super::workload::{Case, Kind};

/// The rounds of each subject, in the order in which they ran.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) case: Case,
    pub(crate) rows: Vec<(Subject, Vec<Found>)>,
}

impl Measured {
    fn of(&self, subject: Subject) -> Option<&[Found]> {
        let row = self.rows.iter().find(|(found, _)| *found == subject);
        row.map(|(_, rounds)| rounds.as_slice())
    }

    fn median(&self, subject: Subject, of: fn(&Found) -> f64) -> Option<f64> {
        Some(median(self.of(subject)?.iter().map(of)))
    }

    /// How many times as much CPU the other takes as the one: round by round, and of these the median.
    fn ratio(&self, other: Subject, one: Subject, of: fn(&Found) -> f64) -> Option<f64> {
        let pairs = self.of(other)?.iter().zip(self.of(one)?);
        Some(median(pairs.map(|(other, one)| of(other) / of(one))))
    }

    pub(crate) fn print(&self) {
        let Case { kind, .. } = self.case;
        let (many, cpu) = match kind {
            Kind::Sensor => ("messages/s", "CPU s/100k"),
            Kind::Camera => ("frames/s", "CPU s/1k"),
        };
        println!("\n{}", self.case);
        println!(
            "  {:<19}{many:>11}{:>17}{cpu:>12}{:>14}{:>8}{:>9}{:>9}{:>9}{:>9}{:>10}{:>7}",
            "", "", "", "÷ eir", "calm", "p50 ms", "p99 ms", "MB", "start ms", "load"
        );
        for (subject, rounds) in &self.rows {
            let middle = |of: fn(&Found) -> f64| median(rounds.iter().map(of));
            let range = |of: fn(&Found) -> f64| {
                let all = || rounds.iter().map(of);
                (all().fold(f64::MAX, f64::min), all().fold(0.0, f64::max))
            };
            let ((slowest, fastest), (least, most)) = (range(|f| f.per_second), range(|f| f.cpu));
            let over = self.ratio(*subject, Subject::Eir, |found| found.cpu);
            let lost: u64 = rounds.iter().map(|found| found.lost).sum();
            println!(
                "  {subject:<19}{:>11.0}{:>17}{:>12.2}{:>14}{:>8}{:>9.2}{:>9.3}{:>9.3}{:>9.1}{:>10.0}{:>5.0} %{}",
                middle(|found| found.per_second),
                format!("{slowest:.0}–{fastest:.0}"),
                middle(|found| found.cpu),
                format!("{least:.2}–{most:.2}"),
                over.map_or_else(String::new, |over| format!("{over:.2}")),
                middle(|found| found.cpu_calm),
                middle(|found| found.p50),
                middle(|found| found.p99),
                middle(|found| found.resident),
                middle(|found| found.start),
                middle(|found| found.own) * 100.0,
                if lost == 0 { String::new() } else { format!("  {lost} NOT DECIDED") },
            );
        }
    }
}

/// One line of the targets: what it is, what was found, and what it should be.
struct Target {
    what: &'static str,
    found: Option<f64>,
    at_least: bool,
    bound: f64,
}

pub(crate) fn print_targets(all: &[Measured]) {
    let case = |word: &str| all.iter().find(|measured| measured.case.word() == word);
    let eir = |word, of| case(word)?.median(Subject::Eir, of);
    let ratio = |word, other| case(word)?.ratio(other, Subject::Eir, |found| found.cpu);
    let tract = |word, of| case(word)?.median(Subject::Tract, of);
    let at_most = |what, found, bound| Target { what, found, at_least: false, bound };
    let at_least = |what, found, bound| Target { what, found, at_least: true, bound };
    // What paho costs here and where the targets were set: how much slower this machine is.
    let slower = |word, there| Some(case(word)?.median(Subject::Paho, |f| f.cpu)? / there);
    let scaled = |word, there| Some(eir(word, |f: &Found| f.cpu)? / slower(word, there)?);
    let targets = [
        at_most("sensor: CPU s per 100k", eir("sensor", |f| f.cpu), 0.8),
        at_most("… … where paho costs 4.5", scaled("sensor", 4.5), 0.8),
        at_least("sensor: CPU of paho ÷ eir", ratio("sensor", Subject::Paho), 5.6),
        at_least("sensor: CPU of Node ÷ eir", ratio("sensor", Subject::Node), 3.3),
        at_least("sensor: messages/s", eir("sensor", |f| f.per_second), 90_000.0),
        at_most("sensor: p50 ms at 1,000/s", eir("sensor", |f| f.p50), 0.35),
        at_most("sensor: p99 ms at 1,000/s", eir("sensor", |f| f.p99), 1.0),
        at_most("sensor: every one decides, CPU s per 100k", eir("every", |f| f.cpu), 1.2),
        at_most("sensor: QoS 1, durable, CPU s per 100k", eir("durable", |f| f.cpu), 1.7),
        at_most("… … where paho costs 5.5", scaled("durable", 5.5), 1.7),
        at_most("sensor: resident MB", eir("sensor", |f| f.resident), 32.0),
        at_most("sensor: resident MB, tract alone", tract("sensor", |f| f.resident), 16.0),
        at_most("sensor: ms to the first decision", eir("sensor", |f| f.start), 40.0),
        at_most("camera: CPU s per 1,000 frames", eir("camera", |f| f.cpu), 4.0),
        at_most("… … where paho costs 5.0", scaled("camera", 5.0), 4.0),
        at_least("camera: frames/s", eir("camera", |f| f.per_second), 240.0),
        at_most("camera: p50 ms at 25/s", eir("camera", |f| f.p50), 4.8),
        at_most("camera: resident MB", eir("camera", |f| f.resident), 45.0),
        at_most("camera: ms to the first decision", eir("camera", |f| f.start), 70.0),
    ];
    println!("\ntargets");
    for Target { what, found, at_least, bound } in targets {
        let Some(found) = found else { continue };
        let (sign, is_met) =
            if at_least { ("≥", found >= bound) } else { ("≤", found <= bound) };
        let decimals = if bound < 10.0 { 2 } else { 0 };
        let mark = if is_met { "✓" } else { "✗" };
        println!("  {what:<44}{sign} {bound:>8.decimals$}{found:>12.decimals$} {mark}");
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
