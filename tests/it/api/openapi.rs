//! What the `OpenAPI` document promises, tried by others.

use eir::app::config::Sources;
use serde_json::Value;

use super::models::say;
use super::*;
use crate::support::keeper::Keeper;
use crate::support::target;

/// What is not tried: it has no end, or nobody here carries it out, or it takes away what the others ask.
const LEFT_OUT: [&str; 5] = [
    "/v2/events",
    "/v2/admin/reload",
    "/v2/admin/log",
    "/v2/repository/models/{model}/load",
    "/v2/repository/models/{model}/unload",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_path_of_the_document_answers_as_it_says() {
    let broker = Mosquitto::start();
    let place = tempfile::tempdir().expect("tempdir");
    let jobs = format!("api.jobs.dir={}", place.path().display());
    let outbox = format!("outbox.path={}/outbox.db", place.path().display());
    let keeper = Keeper::new();
    let dir = format!("update.dir={}/update", place.path().display());
    let root = format!("update.root={}", keeper.root().display());
    let set = [OPEN, &jobs, &outbox, &dir, &root];
    let mut app = site::start(site::BEARING, broker.port(), &set).await;
    app.take_updates(&Sources::default());
    until_ready(&mut app, true).await;
    let address = app.api_address().expect("it listens");
    let job = say(address, "POST", "/v2/models/bearing/jobs", "", b"1234").await.json();
    let job = job["id"].as_str().expect("an id");
    let document = get(address, "/v2/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().expect("paths");
    assert!(LEFT_OUT.iter().all(|path| paths.contains_key(*path)));
    let schemas = &document["components"]["schemas"];
    assert!(schemas["Detail"]["properties"]["parts"].is_object(), "{schemas:#}");
    for (path, operations) in paths {
        for (method, operation) in operations.as_object().expect("operations") {
            if LEFT_OUT.contains(&path.as_str()) {
                continue;
            }
            let path =
                path.replace("{model}", "bearing").replace("{version}", "1").replace("{job}", job);
            let method = method.to_uppercase();
            let head = format!("{method} {path} HTTP/1.1\r\nhost: eir\r\nconnection: close\r\n");
            let reply = ask(address, &format!("{head}content-length: 0\r\n\r\n")).await;
            assert!(![404, 405].contains(&reply.status), "{method} {path}: {}", reply.body);
            assert_eq!(reply.status == 200, operation["requestBody"] == Value::Null, "{path}");
        }
    }
    let said = tokio::task::spawn_blocking(move || schemathesis(address)).await.expect("an end");
    if let Some((clean, said)) = said {
        assert!(clean, "{said}");
    }
    app.drain().await;
}

/// What schemathesis found; none: it is not here. With `EIR_REQUIRE_CLIENTS=1` it must be.
fn schemathesis(address: SocketAddr) -> Option<(bool, String)> {
    let module = target().join("clients/schemathesis");
    if !module.join("schemathesis").is_dir() {
        let required = std::env::var_os("EIR_REQUIRE_CLIENTS").is_some_and(|value| value == "1");
        assert!(!required, "schemathesis is not here");
        return None;
    }
    let scratch = tempfile::tempdir().expect("tempdir");
    let mut command = Command::new("python3");
    command.args(["-m", "schemathesis.cli", "run"]);
    command.arg(format!("http://{address}/v2/openapi.json"));
    for path in LEFT_OUT {
        command.args(["--exclude-path", path]);
    }
    command.args([
        "--checks=not_a_server_error,status_code_conformance,content_type_conformance,\
         response_schema_conformance,response_headers_conformance",
        "--phases=examples,coverage,fuzzing",
        "--max-examples=30",
        "--generation-deterministic",
        "--no-color",
    ]);
    command.env("PYTHONPATH", module).current_dir(scratch.path());
    let output = command.output().expect("python3");
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}
