//! Work that outlasts a request.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::models::{Said, device, say};
use super::*;

const DEFECTS: &str = "/v2/models/defects/jobs";
const BEARING: &str = "/v2/models/bearing/jobs";

/// Where jobs are kept, and where folders may be named.
fn place() -> (TempDir, Vec<String>) {
    let place = tempfile::tempdir().expect("tempdir");
    let path = place.path().display();
    let set = vec![format!("api.jobs.dir={path}/jobs"), format!("api.jobs.inputs={path}/inputs")];
    fs::create_dir(place.path().join("inputs")).expect("inputs");
    (place, set)
}

async fn start(set: &[String]) -> (App, SocketAddr, Mosquitto) {
    device(&set.iter().map(String::as_str).collect::<Vec<_>>()).await
}

fn form(files: &[(&str, &[u8])]) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for (name, bytes) in files {
        let head = format!(
            "--x\r\ncontent-disposition: form-data; name=\"f\"; filename=\"{name}\"\r\n\r\n"
        );
        body.extend([head.as_bytes(), bytes, b"\r\n"].concat());
    }
    body.extend(b"--x--\r\n");
    ("content-type: multipart/form-data; boundary=x\r\n".to_owned(), body)
}

/// The job when it has ended, as its own events tell it.
async fn ended(address: SocketAddr, job: &str) -> Value {
    let told = get(address, &format!("/v2/jobs/{job}/events")).await;
    assert!(told.head.contains("text/event-stream"), "{}", told.head);
    let last = told.body.lines().rfind(|line| line.contains("data: ")).expect("an event");
    let (_, last) = last.split_once("data: ").expect("data");
    serde_json::from_str(last).expect("json")
}

async fn lines(address: SocketAddr, job: &str) -> Vec<Value> {
    let said = say(address, "GET", &format!("/v2/jobs/{job}/results"), "", b"").await;
    assert_eq!(said.status, 200);
    let text = String::from_utf8(unchunked(&said)).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("json")).collect()
}

/// The body of an answer of which nobody knew how long it would be.
fn unchunked(said: &Said) -> Vec<u8> {
    let (mut rest, mut whole) = (&said.body[..], Vec::new());
    if said.header("transfer-encoding") != Some("chunked") {
        return rest.to_vec();
    }
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).expect("digits");
        let size = usize::from_str_radix(size, 16).expect("a size");
        whole.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 4 + size..];
    }
    whole
}

fn id(job: &Value) -> String {
    job["id"].as_str().expect("an id").to_owned()
}

/// So many windows for the model of bearings, each another one.
fn recording(windows: usize) -> Vec<u8> {
    let value = |at: usize| ((at % 97) as f32 - 48.0) / 50.0;
    (0..windows * 256 * 3).flat_map(|at| value(at).to_le_bytes()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_folders_become_results_and_a_key_is_worked_on_once() {
    let (place, set) = place();
    let (app, address, _broker) = start(&set).await;
    let loaded = say(address, "POST", "/v2/repository/models/defects/load", "", b"").await;
    assert_eq!(loaded.status, 200);
    let picture = site::picture("scratch");
    let (kind, body) =
        form(&[("b.jpg", &picture), ("torn.jpg", &picture[..99]), ("c.jpg", &picture)]);
    let headers = format!("{kind}idempotency-key: monday\r\n");
    let said = say(address, "POST", DEFECTS, &headers, &body).await;
    let job = said.json();
    assert_eq!((said.status, &job["inputs"]), (202, &json!(3)), "{job}");
    assert_eq!(said.header("location"), Some(format!("/v2/jobs/{}", id(&job)).as_str()));
    let end = ended(address, &id(&job)).await;
    assert_eq!(
        (&end["state"], &end["results"], &end["errors"], &end["progress"]),
        (&json!("SUCCEEDED"), &json!(3), &json!(1), &json!(1.0)),
        "{end}"
    );
    let results = lines(address, &id(&job)).await;
    let names: Vec<_> = results.iter().map(|line| line["input"].as_str().expect("name")).collect();
    assert_eq!(names, ["b.jpg", "torn.jpg", "c.jpg"], "in the order in which they were sent");
    assert_eq!(results[0]["prediction"]["detections"][0]["label"], "scratch");
    assert!(results[1]["error"].is_string(), "{}", results[1]);

    let again = say(address, "POST", DEFECTS, &headers, &body).await;
    assert_eq!((again.status, id(&again.json())), (200, id(&job)), "it is not done twice");
    let other = say(address, "POST", BEARING, &headers, &body).await;
    assert_eq!(other.refused().0, 422, "another job of the same name");

    // A form was cut off at 2 MB, whatever may be sent.
    let large = [&picture[..], &vec![0; 3 << 20]].concat();
    let (kind, body) = form(&[("large.jpg", &large)]);
    let said = say(address, "POST", DEFECTS, &kind, &body).await;
    assert_eq!(said.status, 202, "{}", said.json());
    let end = ended(address, &id(&said.json())).await;
    assert_eq!((&end["inputs"], &end["results"]), (&json!(1), &json!(1)), "{end}");
    let said = say(address, "POST", "/v2/models/defects/predict", &kind, &body).await;
    assert!(!String::from_utf8_lossy(&said.body).contains("limit"), "{}", said.json());

    let folder = place.path().join("inputs/tuesday");
    fs::create_dir(&folder).expect("a folder");
    for name in ["1.jpg", "2.JPG", "notes.txt"] {
        eir::disk::replace(&folder.join(name), &picture).expect("a file");
    }
    let said = say(address, "POST", &format!("{DEFECTS}?folder=tuesday"), "", b"").await;
    assert_eq!(said.status, 202, "{}", said.json());
    let end = ended(address, &id(&said.json())).await;
    assert_eq!((&end["state"], &end["results"]), (&json!("SUCCEEDED"), &json!(2)), "{end}");
    let listed = get(address, "/v2/jobs").await.json();
    assert_eq!(listed.as_array().expect("jobs").len(), 3);
    let metrics = get(address, "/metrics").await.body;
    assert!(metrics.contains("eir_jobs{state=\"running\"} 0"), "{metrics}");
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_recording_is_cut_and_goes_on_after_a_restart() {
    let (place, set) = place();
    let (app, address, _broker) = start(&set).await;
    let body = recording(2000);
    let path = format!("{BEARING}?step=128");
    let job = say(address, "POST", &path, "", &body).await.json();
    assert_eq!(job["state"], "PENDING", "{job}");
    let id = id(&job);
    let under_way = async {
        while get(address, &format!("/v2/jobs/{id}")).await.json()["results"] == json!(0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within("results", under_way).await;
    app.drain().await;
    // What a kill might leave.
    let file = place.path().join("jobs").join(&id).join("results.ndjson");
    let mut before = fs::read(&file).expect("results");
    let whole = before.split(|byte| *byte == b'\n').count() - 1;
    before.extend(b"{\"input\":\"body\",\"from\":7");
    eir::disk::replace(&file, &before).expect("results");

    let (app, address, _broker) = start(&set).await;
    // How far it was then is known at once: what comes behind that is getting on.
    let noted = async {
        loop {
            let about = fs::read(file.with_file_name("job.json")).expect("job.json");
            let about: Value = serde_json::from_slice(&about).expect("json");
            assert_ne!(about["state"], "SUCCEEDED", "{about}");
            if (&about["results"], &about["begun"]) == (&json!(whole), &json!(1)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within("what is known", noted).await;
    let end = ended(address, &id).await;
    assert_eq!((&end["state"], &end["results"]), (&json!("SUCCEEDED"), &json!(3999)), "{end}");
    let results = lines(address, &id).await;
    let from: BTreeSet<_> = results.iter().filter_map(|line| line["from"].as_u64()).collect();
    assert_eq!((results.len(), from.len()), (3999, 3999), "each once; {whole} before the restart");
    assert_eq!(from.last(), Some(&(1999 * 256)));
    let left: BTreeSet<_> = fs::read_dir(file.parent().expect("a place"))
        .expect("the job")
        .collect::<Vec<_>>()
        .into_iter()
        .map(|entry| entry.expect("entry").file_name())
        .collect();
    assert!(!left.contains(std::ffi::OsStr::new("0")), "its inputs are gone: {left:?}");
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_wants_is_not_done_and_what_is_too_much_is_refused() {
    let (_place, mut set) = place();
    set.extend(["api.jobs.waiting=2".to_owned(), "api.jobs.max=8MiB".to_owned()]);
    let (app, address, _broker) = start(&set).await;
    let body = recording(1000);
    let path = format!("{BEARING}?step=1");
    let first = say(address, "POST", &path, "", &body).await.json();
    let second = say(address, "POST", &path, "", &body).await.json();
    let third = say(address, "POST", &path, "", &body).await;
    let (status, message) = third.refused();
    assert_eq!((status, third.header("retry-after")), (429, Some("1")), "{message}");
    for job in [&second, &first] {
        let path = format!("/v2/jobs/{}/cancel", id(job));
        assert_eq!(say(address, "POST", &path, "", b"").await.status, 200);
        assert_eq!(ended(address, &id(job)).await["state"], "CANCELLED");
        let again = say(address, "POST", &path, "", b"").await.json();
        assert_eq!(again["state"], "CANCELLED", "to say it twice changes nothing");
    }
    let all = get(address, &format!("/v2/jobs/{}/results", id(&second))).await;
    assert_eq!((all.status, all.body.as_str()), (200, ""), "it was never begun");

    let (status, message) = say(address, "POST", BEARING, "", &recording(3000)).await.refused();
    assert_eq!((status, message.contains("8388608 bytes")), (413, true), "{message}");
    let torn = format!("POST {BEARING} HTTP/1.1\r\nhost: eir\r\ncontent-length: 99\r\n\r\n1234");
    let mut stream = TcpStream::connect(address).await.expect("connect");
    stream.write_all(torn.as_bytes()).await.expect("write");
    drop(stream);
    let secret = "?folder=..%2F..%2Fetc";
    for (query, headers, body, status, told) in [
        ("", "", &b""[..], 400, "it has no input"),
        ("", "", b"12345", 202, ""),
        ("?step=0", "", b"1234", 400, "step must be"),
        ("?step=99999999999999999999", "", b"1234", 400, "number too large"),
        ("?samples=7", "", b"1234", 400, "the model takes 256"),
        ("?stpe=1", "", b"1234", 400, "unknown field"),
        (secret, "", b"", 400, "there is no folder"),
        ("?folder=none", "", b"", 400, "there is no folder"),
        ("", "content-type: multipart/form-data; boundary=x\r\n", b"--x\r\nno", 400, "the form"),
    ] {
        let said = say(address, "POST", &format!("{BEARING}{query}"), headers, body).await;
        assert_eq!(said.status, status, "{query}: {}", said.json());
        let error = said.json()["error"].as_str().unwrap_or_default().to_owned();
        assert!(error.contains(told), "{error:?} lacks {told:?}");
        if status == 202 {
            let end = ended(address, &id(&said.json())).await;
            let error = end["error"].as_str().expect("an error");
            assert_eq!(end["state"], "FAILED", "{end}");
            assert!(error.contains("none of its inputs") && error.contains("5 bytes"), "{error}");
        }
    }
    // A step beyond everything went round and round.
    let far = format!("{BEARING}?step={}", usize::MAX);
    let far = say(address, "POST", &far, "", &recording(2)).await.json();
    let end = ended(address, &id(&far)).await;
    assert_eq!((&end["state"], &end["results"]), (&json!("SUCCEEDED"), &json!(1)), "{end}");
    let (status, _) = say(address, "GET", "/v2/jobs/7", "", b"").await.refused();
    assert_eq!(status, 404);
    let listed = get(address, "/v2/jobs").await.json();
    assert_eq!(listed.as_array().expect("jobs").len(), 4, "no more than were taken: {listed}");
    app.drain().await;
}

/// It would end eir again and again.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_in_which_eir_keeps_ending_is_left_alone() {
    let (place, set) = place();
    let id = "01a22429-ff0c-7606-84fe-86e462e52061";
    let job = place.path().join("jobs").join(id);
    fs::create_dir_all(&job).expect("a place");
    let about = json!({
        "id": id, "state": "RUNNING", "model_name": "bearing", "model_version": "1", "inputs": 1,
        "results": 0, "errors": 0, "progress": 0.0, "begun": 3, "created_at": "2026-01-01T00:00:00Z",
    });
    let write = |name: &str, bytes: &[u8]| {
        eir::disk::replace(&job.join(name), bytes).expect("a file");
    };
    write("job.json", about.to_string().as_bytes());
    write("inputs.json", b"[\"body\"]");
    write("0", &recording(1));
    let (app, address, _broker) = start(&set).await;
    let end = ended(address, id).await;
    assert_eq!(end["state"], "FAILED", "{end}");
    assert!(end["error"].as_str().expect("an error").contains("eir ended 3 times"), "{end}");
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_place_there_are_no_jobs_and_a_bad_place_is_told() {
    let (app, address, _broker) = device(&[]).await;
    let (status, message) = say(address, "POST", BEARING, "", b"1234").await.refused();
    assert_eq!((status, message.contains("[api.jobs]")), (404, true), "{message}");
    app.drain().await;
    let (mut app, address, _broker) = device(&["api.jobs.dir=/dev/null/jobs"]).await;
    let (status, message) = say(address, "POST", BEARING, "", b"1234").await.refused();
    assert_eq!((status, message.as_str()), (503, "jobs cannot be kept at the moment"));
    app.tick();
    let detail = get(address, "/v2/health/detail").await.json();
    let parts = detail["parts"].as_array().expect("parts");
    let jobs = parts.iter().find(|part| part["kind"] == "jobs").expect("jobs");
    assert_eq!((&jobs["state"], jobs["why"].is_string()), (&json!("degraded"), true), "{jobs}");
    assert_eq!(get(address, "/v2/health/live").await.status, 200);
    app.drain().await;
}
