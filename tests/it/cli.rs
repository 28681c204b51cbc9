//! The commands that a person types: what they print, and what they exit with.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::support::{eir, site};

/// Exit code, standard output, standard error.
type Said = (i32, String, String);

fn run(command: &mut Command) -> Said {
    let output = command.stdin(Stdio::null()).output().expect("eir");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("code"), text(&output.stdout), text(&output.stderr))
}

/// `eir`, with tract alone: it is everywhere.
fn tract(command: &str, model: &str) -> Command {
    let mut eir = eir();
    eir.args([command, model, "--models"]).arg(site::models());
    if command == "infer" {
        eir.args(["--engine", "tract"]);
    }
    eir
}

fn golden(model: &str) -> PathBuf {
    site::models().join(model).join("1/golden")
}

fn write(directory: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = directory.join(name);
    eir::disk::replace(&path, bytes.as_ref()).expect("file");
    path
}

fn json_lines(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

#[test]
fn a_golden_sample_stands_for_its_input() {
    let sample = golden("bearing").join("00.json");
    let (code, said, error) = run(tract("infer", "bearing").arg(&sample));
    assert_eq!(code, 0, "{error}");
    let text = std::fs::read(&sample).expect("sample");
    let text: serde_json::Value = serde_json::from_slice(&text).expect("json");
    let scores = text["expect"]["scores"].as_object().expect("scores");
    let best = scores.iter().max_by(|a, b| a.1.as_f64().partial_cmp(&b.1.as_f64()).expect("order"));
    assert!(said.contains(best.expect("a label").0), "{said}");

    let picture = golden("defects").join("03.json");
    let (code, _, error) = run(tract("infer", "defects").arg(&picture));
    assert_eq!(code, 0, "the picture that the sample names: {error}");
}

#[test]
fn a_golden_sample_cannot_name_a_file_elsewhere() {
    let directory = tempfile::tempdir().expect("tempdir");
    let names = ["../x.jpg", "/etc/passwd", "..", ""];
    let files = names.iter().enumerate().map(|(index, name)| {
        let text = serde_json::json!({ "input": name, "expect": { "detections": [] } });
        write(directory.path(), &format!("{index}.json"), text.to_string())
    });
    let (code, _, error) = run(tract("infer", "defects").args(files));
    assert_eq!(code, 1, "{error}");
    assert_eq!(error.matches("must be a file beside it").count(), names.len(), "{error}");
}

#[test]
fn a_directory_gives_a_model_of_pictures_its_pictures() {
    let (code, said, error) = run(tract("infer", "defects").arg("--json").arg(golden("defects")));
    assert_eq!(code, 0, "{error}");
    let lines = json_lines(&said);
    assert_eq!(lines.len(), 13);
    assert!(lines.iter().all(|line| line["error"].is_null() && !line["prediction"].is_null()));

    let empty = tempfile::tempdir().expect("tempdir");
    let (code, _, error) = run(tract("infer", "defects").arg(empty.path()));
    assert_eq!(code, 66, "{error}");
}

#[test]
fn a_reader_that_leaves_is_no_panic() {
    // More than a pipe holds, so that the command still writes when its reader is gone.
    let mut many = tract("infer", "bearing");
    many.arg("--json").args(std::iter::repeat_n(golden("bearing"), 40));
    let mut schema = eir();
    schema.args(["schema", "config"]);
    for mut command in [schema, many] {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("eir");
        let mut first = String::new();
        let mut stdout = BufReader::with_capacity(16, child.stdout.take().expect("stdout"));
        stdout.read_line(&mut first).expect("a line");
        drop(stdout);
        let output = child.wait_with_output().expect("status");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*error), (Some(0), ""), "{command:?}");
    }
}

#[test]
fn nobody_on_standard_error_is_no_panic() {
    let mut command = eir();
    command.args(["run", "--config", "/absent"]).stderr(Stdio::piped());
    let mut child = command.spawn().expect("eir");
    drop(child.stderr.take());
    assert_eq!(child.wait().expect("status").code(), Some(78));
}

#[test]
fn every_input_has_its_json_line() {
    let directory = tempfile::tempdir().expect("tempdir");
    let inputs = [
        golden("defects").join("00.jpg"),
        write(directory.path(), "empty.jpg", ""),
        write(directory.path(), "cut.jpg", b"\xff\xd8\xff\xe0"),
        write(directory.path(), "words.txt", "words"),
        write(directory.path(), "numbers.json", "[1, 2, 3]"),
        directory.path().join("words.txt"),
    ];
    let (code, said, error) = run(tract("infer", "defects").arg("--json").args(&inputs));
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("5 of 6 inputs failed"), "{error}");
    let lines = json_lines(&said);
    assert_eq!(lines.len(), inputs.len(), "{said}");
    let wrong = [None, Some("is empty"), Some("damaged"), Some("no picture"), Some("is JSON")];
    for ((line, input), wrong) in lines.iter().zip(&inputs).zip(wrong) {
        assert_eq!(line["input"], input.to_string_lossy().as_ref());
        assert_eq!(line["model"], "defects");
        assert_eq!(line["prediction"].is_null(), wrong.is_some(), "{line}");
        let said = line["error"].as_str();
        assert_eq!(said.is_some(), wrong.is_some(), "{line}");
        assert!(said.unwrap_or_default().contains(wrong.unwrap_or_default()), "{line}");
    }
}

#[test]
fn what_a_model_of_pictures_wants_is_said() {
    let directory = tempfile::tempdir().expect("tempdir");
    for (name, text) in [("empty.jpg", ""), ("words.txt", "words")] {
        let (code, _, error) =
            run(tract("infer", "defects").arg(write(directory.path(), name, text)));
        assert_eq!(code, 1);
        assert!(error.contains("the model takes JPEG or PNG"), "{error}");
    }
    let picture = golden("defects").join("00.jpg");
    let (code, _, error) = run(tract("infer", "bearing").arg(picture));
    assert_eq!(code, 1);
    assert!(error.contains("is a picture; the model takes numbers"), "{error}");
    let (code, _, error) =
        run(tract("infer", "defects").args(["--fields", "/x"]).arg(golden("defects")));
    assert_eq!(code, 64, "{error}");
}

#[test]
fn deep_json_is_called_deep() {
    let directory = tempfile::tempdir().expect("tempdir");
    let file = write(directory.path(), "deep.json", "[".repeat(100_000));
    let (code, _, error) = run(tract("infer", "bearing").arg(file));
    assert_eq!(code, 1);
    assert!(error.contains("nested too deeply"), "{error}");
}

#[test]
fn a_comparison_shows_the_engine_that_is_there() {
    let compare = |more: &[&str]| {
        let mut command = eir();
        command.args(["infer", "bearing", "--compare", "--models"]).arg(site::models());
        command.args(more).arg(golden("bearing").join("00.json"));
        run(command.env("ORT_DYLIB_PATH", "/nonexistent/libonnxruntime.so"))
    };
    let (code, said, error) = compare(&[]);
    assert_eq!(code, 0, "{error}");
    let row = |engine: &str| said.lines().find(|line| line.starts_with(engine)).expect(engine);
    assert!(row("ort").contains("missing: "), "{said}");
    assert!(row("tract").contains(" ms "), "{said}");
    assert!(said.contains("/nonexistent"), "why it is missing: {said}");

    let (code, said, error) = compare(&["--json"]);
    assert_eq!(code, 0, "{error}");
    let lines = json_lines(&said);
    assert_eq!(lines.iter().map(|l| &l["engine"]).collect::<Vec<_>>(), ["ort", "tract"]);
    assert!(lines[0]["error"].is_string() && lines[0]["prediction"].is_null(), "{said}");
    assert!(lines[1]["error"].is_null() && !lines[1]["prediction"].is_null(), "{said}");
}

#[test]
fn a_demo_that_cannot_be_played_does_not_begin() {
    let directory = tempfile::tempdir().expect("tempdir");
    let demo = |arguments: &[&str]| {
        let mut command = eir();
        command.args(["demo", "--seconds", "86400"]).args(arguments);
        command.env("ORT_DYLIB_PATH", "/nonexistent/libonnxruntime.so");
        run(command.current_dir(env!("CARGO_MANIFEST_DIR")))
    };
    let refused = |arguments: &[&str], expected: i32, why: &str| {
        let (code, said, error) = demo(arguments);
        assert_eq!(code, expected, "{arguments:?}: {said}{error}");
        assert!(error.contains(why), "{arguments:?}: {error}");
        assert!(!said.contains(" of 86400 s"), "{arguments:?}: {said}");
    };
    let empty = directory.path().to_str().expect("path");
    refused(&["--models", "/nonexistent"], 66, "/nonexistent");
    refused(&["--models", empty], 66, "bearing");
    refused(&["--engine", "foo"], 64, "known engines");
    refused(&["--engine", "ort"], 1, "/nonexistent/libonnxruntime.so");
    refused(&["--report", "/nonexistent/report.json"], 1, "/nonexistent/report.json");
    refused(&["--report", empty], 1, "no plain file");
    refused(&["--report", "/dev/null"], 1, "no plain file");
}

#[test]
fn a_demo_that_does_not_begin_leaves_the_last_report() {
    let directory = tempfile::tempdir().expect("tempdir");
    let report = write(directory.path(), "report.json", "the last one");
    let mut command = eir();
    command.args(["demo", "--engine", "ort", "--models"]).arg(site::models());
    command.arg("--report").arg(&report);
    let (code, _, error) = run(command.env("ORT_DYLIB_PATH", "/nonexistent/libonnxruntime.so"));
    assert_eq!(code, 1, "{error}");
    assert_eq!(std::fs::read(&report).expect("report"), b"the last one");
    assert_eq!(std::fs::read_dir(directory.path()).expect("directory").count(), 1);
}

#[test]
fn a_measurement_of_nothing_is_refused() {
    for wrong in [
        ["--batch", "0"],
        ["--batch", "1,0"],
        ["--batch", "1000000"],
        ["--threads", "0"],
        ["--threads", "1000000"],
        ["--instances", "0"],
        ["--instances", "65"],
        ["--time", "0s"],
        ["--time", "2days"],
        ["--time", "soon"],
    ] {
        let (code, said, error) = run(tract("bench", "bearing").args(wrong));
        assert_eq!(code, 64, "{wrong:?}: {said}");
        assert!(error.contains(wrong[0]), "{wrong:?}: {error}");
    }
}

#[test]
fn a_measurement_ends_in_lines_that_the_configuration_takes() {
    let (code, said, error) = run(tract("bench", "bearing").args([
        "--time",
        "1ms",
        "--batch",
        "4",
        "--threads",
        "1",
        "--instances",
        "2",
    ]));
    assert_eq!(code, 0, "{error}");
    assert!(said.lines().all(|line| line.chars().count() <= 100), "{said}");
    let lines: Vec<_> = said.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    let config: toml::Table = toml::from_str(&lines.join("\n")).expect("TOML");
    let models: eir::model::ModelsConfig = config["models"].clone().try_into().expect("known keys");
    let serve = models.serve.get("bearing").expect("its table");
    assert_eq!((serve.instances, serve.max_batch), (2, Some(4)));
}

#[test]
fn a_broken_model_is_listed_and_told_by_the_exit_code() {
    let directory = tempfile::tempdir().expect("tempdir");
    let list = || run(eir().args(["model", "list", "--models"]).arg(directory.path()));
    let place = |name: &str, model: &[u8], spec: &[u8]| {
        let package = directory.path().join(name).join("1");
        std::fs::create_dir_all(&package).expect("package");
        write(&package, "model.onnx", model);
        write(&package, "model.toml", spec);
    };
    let bearing = site::models().join("bearing/1");
    let [model, labels] = ["model.onnx", "labels.txt"].map(|f| std::fs::read(bearing.join(f)));
    let spec = std::fs::read(bearing.join("model.toml")).expect("spec");
    place("good", &model.expect("model"), &spec);
    write(&directory.path().join("good/1"), "labels.txt", labels.expect("labels"));
    let (code, said, error) = list();
    assert_eq!(code, 0, "{said}{error}");

    place("worn", b"no model at all", &spec);
    let (code, said, error) = list();
    assert_eq!(code, 1, "{said}");
    assert!(error.contains("1 of 2 models"), "{error}");
    assert!(said.contains("worn@1") && said.contains("broken"), "{said}");
    assert!(said.lines().all(|line| line.chars().count() <= 100), "{said}");
}
