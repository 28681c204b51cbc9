//! The demo, as anyone would run it.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::support::eir;

/// What a demo of this length printed, and its report.
fn play(engine: &str, seconds: u32) -> (String, serde_json::Value) {
    let directory = tempfile::tempdir().expect("tempdir");
    let report = directory.path().join("report.json");
    let output = eir()
        .args(["demo", "--seed", "3", "--engine", engine, "--seconds", &seconds.to_string()])
        .arg("--report")
        .arg(&report)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("eir demo");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let report = std::fs::read(&report).expect("report");
    (said, serde_json::from_slice(&report).expect("json"))
}

/// Where the machine is so busy that the world has shown no fault by the end, a longer demo shows one.
fn demo(engine: &str) {
    let names = ["bearing", "defects"];
    let rows = |report: &serde_json::Value| [0, 1].map(|n| report["pipelines"][n].clone());
    let lengths = [14, 42, 126];
    let mut played = lengths.into_iter().map(|seconds| play(engine, seconds));
    let shown =
        |report: &serde_json::Value| rows(report).iter().all(|row| !row["recall"].is_null());
    let (said, report) = played.find(|(_, report)| shown(report)).expect("a world with faults");
    for (row, name) in rows(&report).iter().zip(names) {
        assert_eq!(row["name"], name);
        assert!(row["decisions"].as_u64().expect("decisions") > 0, "{report}\n{said}");
        for share in ["precision", "recall"] {
            assert!(row[share].as_f64().expect(share) >= 0.95, "{report}\n{said}");
        }
        if engine != "auto" {
            assert!(row["engine"].as_str().expect("engine").starts_with(engine), "{report}");
        }
        assert!(said.contains(name), "{said}");
    }
    assert!(report["bytes_in"].as_u64() > report["bytes_up"].as_u64(), "{report}");
}

#[test]
fn finds_every_fault_on_the_best_engine() {
    demo("auto");
}

#[test]
fn finds_every_fault_on_tract_alone() {
    demo("tract");
}

#[test]
fn ctrl_c_ends_it_with_the_table() {
    let mut demo = eir()
        .args(["demo", "--seconds", "600"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("eir demo");
    let mut lines =
        BufReader::new(demo.stdout.take().expect("stdout")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("of 600 s")), "progress is shown");
    let pid = demo.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill").success());
    assert!(lines.any(|line| line.contains("precision")), "the table is shown");
    assert!(lines.any(|line| line.starts_with("bytes up")), "to its end");
    assert!(demo.wait().expect("status").success());
}
