//! The demo, as anyone would run it.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::support::eir;

fn demo(engine: &str) {
    let directory = tempfile::tempdir().expect("tempdir");
    let report = directory.path().join("report.json");
    let output = eir()
        .args(["demo", "--seconds", "14", "--seed", "3", "--engine", engine, "--report"])
        .arg(&report)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("eir demo");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&report).expect("report")).expect("json");
    for (pipeline, name) in [(0, "bearing"), (1, "defects")] {
        let row = &report["pipelines"][pipeline];
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
