//! What a keeper does with what devices send: one line a record, and a release that fails is halted.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use eir::update::release::About;

use super::support::eir;
use super::update::{release, seen};

const GOOD: &str = "config/night/1.toml";
const BAD: &str = "config/night/2.toml";

/// The records of 100 devices on a release, of which so many went back.
fn records(release: &str, back: usize) -> String {
    let line = |number: usize| {
        let outcome = if number < back {
            r#""state":"rolled_back","reason":"eir check found a mistake""#
        } else {
            r#""state":"committed""#
        };
        format!(
            r#"{{"v":1,"device":"press-{number}","at":"2026-03-01T10:00:00Z","kind":"update","body":{{"release":"{release}","wave":1,{outcome}}}}}"#
        ) + "\n"
    };
    (0..100).map(line).collect()
}

fn is_halted(place: &Path, release: &str) -> bool {
    let trusted = seen(&place.join("repository")).expect("believed");
    let mut targets = trusted.targets().filter(|(name, _)| *name == release);
    About::of(targets.next().expect("it is published").1).halted
}

#[test]
fn a_release_that_goes_back_too_often_is_told_of_and_halted() {
    let place = tempfile::tempdir().expect("tempdir");
    let place = place.path();
    let done = |arguments: &[&str]| {
        let (said, code) = release(place, arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
        said
    };
    done(&["init", "--root-keys", "1", "--threshold", "1"]);
    for version in ["1", "2"] {
        eir::disk::replace(&place.join("night.toml"), b"").expect("written");
        done(&["add", "config", "night.toml", "--name", "night", "--version", version]);
        let release = format!("config/night/{version}.toml");
        done(&["waves", &release, "1%:0s,100%:1d", "--stop-at", "5"]);
    }
    // What is said of the waves alone leaves it.
    done(&["waves", BAD, "10%:0s,100%:1d"]);
    let said = done(&["status"]);
    assert!(said.contains("10%:0s,100%:1day stop at 5%"), "{said}");
    done(&["publish"]);

    let file = place.join("records");
    let text = records(GOOD, 5) + "no record\n" + &records(BAD, 12) + "{\"kind\":\"health\"}\n";
    eir::disk::replace(&file, text.as_bytes()).expect("written");
    let status = ["status", "--records", "records"];
    let said = done(&status);
    let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let rows: Vec<_> = said.lines().map(cells).collect();
    for row in [
        [GOOD, "1", "100", "95", "0", "5", "(5", "%)"],
        [BAD, "1", "100", "88", "0", "12", "(12", "%)"],
    ] {
        assert!(rows.contains(&row.map(str::to_owned).to_vec()), "{said}");
    }
    assert!(said.contains(&format!("12       {BAD}  eir check found a mistake")), "{said}");
    let told = format!(
        "wave 1: 12 % rolled back, more than stop_at 5 %: `eir release halt {BAD}`, then `eir release publish`\n"
    );
    assert!(said.contains(&told) && said.matches("more than stop_at").count() == 1, "{said}");
    assert!(said.ends_with("lines that are no records: 1; the first is line 101: expected ident at line 1 column 2\n"), "{said}");
    assert!(!done(&["status"]).contains("to be changed"), "it only told");

    let said = done(&["status", "--records", "records", "--halt"]);
    let once = format!("{BAD} is halted once `eir release publish` has signed that");
    assert!(said.contains(&once), "{said}");
    assert!(done(&status).contains(&once), "it is in the draft");
    assert!(!is_halted(place, BAD));
    assert_eq!(done(&["publish"]), "1 change is published\n");
    assert!(is_halted(place, BAD) && !is_halted(place, GOOD));
    assert!(
        done(&["status", "--records", "records", "--halt"]).contains(&format!("{BAD} is halted\n"))
    );
    assert!(!done(&["status"]).contains("to be changed"));
}

#[test]
fn records_need_no_repository_but_a_file() {
    let place = tempfile::tempdir().expect("tempdir");
    let (said, code) = release(place.path(), &["status", "--records", "nowhere"]);
    assert!(code == Some(66) && said.contains("failed to read nowhere"), "{said}");
    let (said, code) = release(place.path(), &["status", "--records", "."]);
    assert!(code == Some(66), "{said}");
    assert_eq!(release(place.path(), &["status", "--halt"]).1, Some(64));
    let mut command = eir();
    command.args(["release", "status", "--records", "-"]).current_dir(place.path());
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("eir");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(records(BAD, 12).as_bytes()).expect("written");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    let [said, noted] =
        [output.stdout, output.stderr].map(|said| String::from_utf8(said).expect("text"));
    assert!(output.status.success() && said.contains("12 (12 %)"), "{said}{noted}");
    assert!(noted.contains("nothing is said of stop_at"), "{noted}");
    eir::disk::replace(&place.path().join("records"), b"\n").expect("written");
    let (said, code) = release(place.path(), &["status", "--records", "records"]);
    assert!(code == Some(0) && said.contains("no device has said anything"), "{said}");
    // To halt without a repository is a mistake.
    let (said, code) = release(place.path(), &["status", "--records", "records", "--halt"]);
    assert!(code == Some(1) && said.contains("root.json"), "{said}");
}
