//! What is printed: a block for each case, then memory, then the targets.
#![expect(clippy::print_stdout, reason = "a bench prints")]

use super::load::Found;
use super::process::Memory;
use super::servers::{Body, Kind};

/// What `FastAPI` answers in a second where the targets were set. The time that a request takes on this machine, times
/// what `FastAPI` does here beside it, over this: what it would take there.
const FASTAPI_THERE: f64 = 5_300.0;

/// What is asked of every server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) body: Body,
    /// In each request.
    pub(crate) vectors: usize,
    pub(crate) connections: usize,
}

/// The rounds of each server, in the order in which they ran.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) case: Case,
    pub(crate) rows: Vec<(Kind, Vec<Found>)>,
}

impl Measured {
    fn of(&self, kind: Kind) -> Option<&[Found]> {
        let row = self.rows.iter().find(|(found, _)| *found == kind);
        row.map(|(_, rounds)| rounds.as_slice())
    }

    fn median(&self, kind: Kind, of: impl Fn(&Found) -> f64) -> Option<f64> {
        Some(median(self.of(kind)?.iter().map(of)))
    }

    /// How many times as much the one does as the other: round by round, and of these the median.
    fn ratio(&self, one: Kind, other: Kind) -> Option<f64> {
        let pairs = self.of(one)?.iter().zip(self.of(other)?);
        Some(median(pairs.map(|(one, other)| one.per_second / other.per_second)))
    }

    /// How much faster than where the targets were set this machine was in each round, and of this and what was found
    /// the median of what `of` makes.
    fn there(&self, kind: Kind, of: impl Fn(&Found, f64) -> f64) -> Option<f64> {
        let rounds = self.of(kind)?.iter().zip(self.of(Kind::FastApi)?);
        Some(median(rounds.map(|(found, peer)| of(found, peer.per_second / FASTAPI_THERE))))
    }

    pub(crate) fn print(&self) {
        let Case { body, vectors, connections } = self.case;
        let times = self.case.vectors as f64;
        let plural = |count| if count == 1 { "" } else { "s" };
        println!(
            "\n{body}, {vectors} vector{} a request, {connections} connection{}",
            plural(vectors),
            plural(connections)
        );
        println!(
            "  {:<15}{:>10}{:>19}{:>9}{:>9}{:>17}{:>9}{:>7}{:>8}{:>11}",
            "", "vectors/s", "", "p50 ms", "p99 ms", "", "CPU ms", "load", "eir ÷", "worker ÷"
        );
        for (kind, rounds) in &self.rows {
            let spread = |of: fn(&Found) -> f64| {
                let of = || rounds.iter().map(of);
                (median(of()), of().fold(f64::MAX, f64::min), of().fold(0.0, f64::max))
            };
            let (rate, slowest, fastest) = spread(|found| found.per_second);
            let (p99, least, most) = spread(|found| found.p99);
            let is_peer = matches!(kind, Kind::FastApi | Kind::MlServer);
            let over = |eir| {
                let ratio = self.ratio(eir, *kind).filter(|_| is_peer);
                ratio.map_or_else(String::new, |ratio| format!("{ratio:.1}"))
            };
            let failed: usize = rounds.iter().map(|found| found.failed).sum();
            println!(
                "  {kind:<15}{:>10}{:>19}{:>9.3}{p99:>9.3}{:>17}{:>9.4}{:>5.0} %{:>8}{:>11}{}",
                whole(rate * times),
                format!("{}–{}", whole(slowest * times), whole(fastest * times)),
                spread(|found| found.p50).0,
                format!("{least:.3}–{most:.3}"),
                spread(|found| found.cpu).0,
                spread(|found| found.own).0 * 100.0,
                over(Kind::Eir),
                over(Kind::EirOne),
                if failed == 0 { String::new() } else { format!("  {failed} FAILED") },
            );
        }
        if body == Body::Binary && self.of(Kind::MlServer).is_none() {
            println!("  {:<15}{:>10}  has no binary tensors over HTTP", Kind::MlServer, "–");
        }
    }
}

pub(crate) fn print_memory(servers: &[(Kind, Memory)]) {
    println!("\nmemory, MB, after all that\n  {:<15}{:>10}{:>10}", "", "resident", "peak");
    for (kind, memory) in servers {
        println!("  {kind:<15}{:>10.1}{:>10.1}", memory.resident, memory.peak);
    }
}

/// One line of the targets.
struct Target<'a> {
    what: &'a str,
    at_least: bool,
    bound: f64,
    decimals: usize,
    found: &'a dyn Fn(Kind, Body) -> Option<f64>,
}

pub(crate) fn print_targets(all: &[Measured], memory: &[(Kind, Memory)]) {
    let case = |body, vectors, connections| {
        let case = Case { body, vectors, connections };
        all.iter().find(|measured| measured.case == case)
    };
    let single = |body| case(body, 1, 8);
    let batch = |body| case(body, super::BATCH, super::BATCH_CONNECTIONS);
    let rate = |kind, body| single(body)?.median(kind, |found| found.per_second);
    let fast_api = |kind, body| single(body)?.ratio(kind, Kind::FastApi);
    let ml_server = |kind, body| single(body)?.ratio(kind, Kind::MlServer);
    let cpu = |kind, body| single(body)?.median(kind, |found| found.cpu);
    let p99 = |kind, body| case(body, 1, 32)?.median(kind, |found| found.p99);
    let rate_there = |kind, body| single(body)?.there(kind, |found, pace| found.per_second / pace);
    let cpu_there = |kind, body| single(body)?.there(kind, |found, pace| found.cpu * pace);
    let p99_there = |kind, body| case(body, 1, 32)?.there(kind, |found, pace| found.p99 * pace);
    let resident = |kind, _| {
        let found = memory.iter().find(|(of, _)| *of == kind);
        found.map(|(_, memory)| memory.resident)
    };
    let vectors = |kind, body| {
        Some(batch(body)?.median(kind, |found| found.per_second)? * super::BATCH as f64)
    };
    let batch_p99 = |kind, body| batch(body)?.median(kind, |found| found.p99);
    let target =
        |what, at_least, bound, decimals, found| Target { what, at_least, bound, decimals, found };
    let targets: [Target<'_>; 11] = [
        target("requests/s at 8 connections", true, 30_000.0, 0, &rate),
        target("… where FastAPI gives 5,300", true, 30_000.0, 0, &rate_there),
        target("… ÷ FastAPI", true, 5.5, 1, &fast_api),
        target("… ÷ MLServer", true, 20.0, 1, &ml_server),
        target("… CPU ms a request", false, 0.030, 4, &cpu),
        target("… … where FastAPI gives 5,300", false, 0.030, 4, &cpu_there),
        target("p99 ms at 32 connections", false, 1.6, 3, &p99),
        target("… where FastAPI gives 5,300", false, 1.6, 3, &p99_there),
        target("resident MB", false, 35.0, 1, &resident),
        target("vectors/s, 32 a request", true, 100_000.0, 0, &vectors),
        target("… p99 ms", false, 8.0, 3, &batch_p99),
    ];
    println!("\n{:<34}{:>12}{:>14}{:>12}{:>14}{:>12}", "targets", "", "one worker", "", "eir", "");
    println!("{:<34}{:>12}{:>14}{:>12}{:>14}{:>12}", "", "", "JSON", "binary", "JSON", "binary");
    for target in &targets {
        print_target(target);
    }
}

fn print_target(target: &Target<'_>) {
    let &Target { what, at_least, bound, decimals, found } = target;
    let number = |value: f64| match decimals {
        0 => whole(value),
        decimals => format!("{value:.decimals$}"),
    };
    let cell = |kind, body| match found(kind, body) {
        None => "–  ".to_owned(),
        Some(value) => {
            let is_met = if at_least { value >= bound } else { value <= bound };
            format!("{} {}", number(value), if is_met { "✓" } else { "✗" })
        }
    };
    println!(
        "  {what:<32}{:>12}{:>14}{:>12}{:>14}{:>12}",
        format!("{} {}", if at_least { "≥" } else { "≤" }, number(bound)),
        cell(Kind::EirOne, Body::Json),
        cell(Kind::EirOne, Body::Binary),
        cell(Kind::Eir, Body::Json),
        cell(Kind::Eir, Body::Binary),
    );
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Without a fraction, in groups of three.
fn whole(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
