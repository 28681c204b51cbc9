//! The whole task over HTTP: a picture or numbers in, what the model makes of it out.

use serde_json::{Value, json};

use super::models::{device, say};
use super::*;

const LINE: &str = "/v2/models/defects/predict";

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_becomes_labelled_boxes_however_it_is_sent() {
    let (app, address, _broker) = device(&[]).await;
    let loaded = say(address, "POST", "/v2/repository/models/defects/load", "", b"").await;
    assert_eq!(loaded.status, 200);
    let picture = site::picture("scratch");
    let form = [
        b"--x\r\ncontent-disposition: form-data; name=\"image\"; filename=\"part.jpg\"\r\n\r\n",
        &picture[..],
        b"\r\n--x--\r\n",
    ]
    .concat();
    let mut answers = Vec::new();
    for (kind, body) in [
        ("image/jpeg", &picture),
        // What curl --data-binary says.
        ("application/x-www-form-urlencoded", &picture),
        ("multipart/form-data; boundary=x", &form),
    ] {
        let said = say(address, "POST", LINE, &format!("content-type: {kind}\r\n"), body).await;
        assert_eq!(said.status, 200, "{kind}: {}", String::from_utf8_lossy(&said.body));
        answers.push(said.json());
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(answers[0]["model_name"], "defects");
    let found = answers[0]["prediction"]["detections"].as_array().expect("detections");
    let scratch = found.iter().find(|found| found["label"] == "scratch").expect("a scratch");
    assert!(scratch["score"].as_f64() > Some(0.5) && scratch["w"].as_f64() > Some(1.0));
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_become_a_label_and_mistakes_are_named() {
    let (app, address, _broker) = device(&[]).await;
    let golden: Value = serde_json::from_str(&site::window("outer_race", 1)).expect("json");
    let instants = (0..256).map(|at| json!([golden["x"][at], golden["y"][at], golden["z"][at]]));
    let samples = json!({ "samples": instants.collect::<Vec<_>>() }).to_string();
    let path = "/v2/models/bearing/predict";
    let json_body = "content-type: application/json\r\n";
    let said = say(address, "POST", path, json_body, samples.as_bytes()).await;
    assert_eq!((said.status, &said.json()["prediction"]["label"]), (200, &json!("outer_race")));
    for (headers, body, told) in [
        (json_body, &b"[1, 2, 3]"[..], "the model wants 256"),
        (json_body, b"{", "is no JSON"),
        (json_body, b"[1, 2]", "a multiple of 3 channels"),
        ("", b"\xff\xd8\xff\xe0", "is a picture; the model takes numbers"),
        ("content-type: multipart/form-data\r\n", b"x", "the form cannot be read"),
        ("content-type: multipart/form-data; boundary=x\r\n", b"--x--\r\n", "the form is empty"),
    ] {
        let (status, message) = say(address, "POST", path, headers, body).await.refused();
        assert_eq!(status, 400, "{message}");
        assert!(message.contains(told), "{message:?} lacks {told:?}");
    }
    let (status, message) = say(address, "POST", LINE, "", b"x").await.refused();
    assert_eq!((status, message.contains("is not loaded")), (404, true), "{message}");
    app.drain().await;
}
