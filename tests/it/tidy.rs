//! The shape of the house: who may import whom, and how long a file may be.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Which rooms a room may import. A change here is a decision: say why in the commit.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("event", &[]),
    ("task", &[]),
    ("disk", &[]),
    ("net", &["event", "task"]),
    ("trace", &["event", "task"]),
    ("mqtt", &["event", "task", "net"]),
    ("package", &["event", "disk"]),
    ("pipeline", &["event", "package"]),
    ("engine", &["event", "task", "package"]),
    ("model", &["event", "task", "disk", "package", "pipeline", "engine"]),
    ("job", &["event", "task", "disk", "net", "package", "model", "engine"]),
    ("oip", &["event", "package"]),
    ("ingest", &["event", "task", "net", "mqtt"]),
    ("action", &["event", "task", "net", "mqtt", "oip"]),
    ("broker", &["event", "task", "net"]),
    ("summary", &["event", "task", "disk", "package"]),
    ("outbox", &["event", "task", "disk"]),
    ("sync", &["event", "task", "trace", "net", "mqtt", "outbox"]),
    ("update", &["event", "task", "disk", "net"]),
    (
        "api",
        &[
            "event", "task", "trace", "net", "package", "pipeline", "engine", "model", "job",
            "oip", "action", "summary", "outbox", "sync", "update",
        ],
    ),
];

/// Rooms that know everyone.
const KNOW_ALL: &[&str] = &["app", "cli"];

const MAX_LINES: usize = 400;

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(directory: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(directory).expect("src") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).expect("source");
                found.push((path, text));
            }
        }
    }
    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 40, "only {} files found", found.len());
    found
}

/// `src/<room>/…`; none for `lib.rs` and `main.rs`.
fn room(path: &Path) -> Option<String> {
    let inside =
        path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).expect("in src");
    (inside.components().count() > 1).then(|| {
        inside.components().next().expect("a part").as_os_str().to_string_lossy().into_owned()
    })
}

/// Rooms named by `crate::<room>` in code; comments do not count.
fn imports(text: &str) -> BTreeSet<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let rest = code.flat_map(|line| line.split("crate::").skip(1));
    rest.map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
        .collect()
}

#[test]
fn rooms_import_only_what_the_table_allows() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Some(room) = room(&path) else { continue };
        if KNOW_ALL.contains(&room.as_str()) {
            continue;
        }
        let allowed = MAY_IMPORT.iter().find(|(name, _)| *name == room).map(|(_, rooms)| *rooms);
        let Some(allowed) = allowed else {
            wrong.push(format!("{}: room `{room}` is not in the table", path.display()));
            continue;
        };
        for import in imports(&text) {
            let is_room = MAY_IMPORT.iter().any(|(name, _)| *name == import)
                || KNOW_ALL.contains(&import.as_str());
            if is_room && import != room && !allowed.contains(&import.as_str()) {
                wrong.push(format!("{}: `{room}` may not import `{import}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_file_has_outgrown_its_reader() {
    let long: Vec<_> = sources()
        .into_iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "over {MAX_LINES} lines:\n{}", long.join("\n"));
}

#[test]
fn no_test_is_switched_off() {
    let ignored = ["#[", "ignore"].concat();
    let left_open = ["todo", "!("].concat();
    let wrong: Vec<_> = sources()
        .into_iter()
        .filter(|(_, text)| text.contains(&ignored) || text.contains(&left_open))
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
