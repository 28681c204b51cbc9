//! A remote on loopback that gives one answer.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::net::with_sources;
use crate::task::Group;

/// Asks a remote that answers so, and tells what it was asked in small letters.
async fn ask(
    config: &str,
    question: Question,
    answer: impl Into<Vec<u8>>,
) -> (String, Result<Said, RemoteError>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("address").port();
    let (answer, length) = (answer.into(), question.body.len());
    let (tell, heard) = tokio::sync::oneshot::channel();
    let mut group = Group::default();
    group.spawn("remote", async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut asked = Vec::new();
        let whole = |asked: &[u8]| {
            asked.windows(4).position(|four| four == b"\r\n\r\n").map(|end| end + 4 + length)
        };
        while whole(&asked).is_none_or(|whole| asked.len() < whole) {
            assert!(stream.read_buf(&mut asked).await.expect("read") > 0);
        }
        stream.write_all(&answer).await.expect("written");
        tell.send(String::from_utf8_lossy(&asked).to_lowercase()).expect("the test listens");
        std::future::pending::<()>().await;
    });
    let config = format!(
        "uncertain = [0.3, 0.7]\nurl = \"http://127.0.0.1:{port}/base\"\n\
         deadline = \"20s\"\nmax_answer = \"2KiB\"\n{config}"
    );
    let remote = Remote::new(&toml::from_str(&config).expect("config")).expect("a remote");
    let reply = remote.ask(&question, None).await;
    let said = reply.and_then(|reply| remote.read(&question, reply, &["y"]));
    (heard.await.expect("asked"), said)
}

fn tensors() -> Question {
    let tensor = Tensor::new(vec![1, 2], vec![1.0_f32, 2.0]).expect("tensor");
    Question::tensors(("x", &tensor), &["y"], b"")
}

fn input() -> Question {
    let input = serde_json::value::to_raw_value("the input").expect("json");
    let (name, stream) = (Name::near("p"), crate::event::StreamKey::new("7"));
    let prediction = Prediction::Anomaly { score: 0.5 };
    Question::input(&Inquiry {
        pipeline: &name,
        stream: &stream,
        model: &name,
        version: 3,
        prediction: &prediction,
        input: &input,
    })
    .expect("a question")
}

fn http(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
}

#[tokio::test]
async fn tensors_are_posted_where_the_protocol_says_and_read_in_either_form() {
    let json = r#"{"model_name":"big","model_version":"9","outputs":[
        {"name":"y","shape":[1,1],"datatype":"FP32","data":[0.25]}]}"#;
    let (asked, said) =
        ask("model = \"m\"\nversion = 2", tensors(), http("200 OK", "", json)).await;
    assert!(asked.starts_with("post /base/v2/models/m/versions/2/infer http/1.1\r\n"), "{asked}");
    let length = tensors().json.expect("json");
    for header in [
        &*format!("inference-header-content-length: {length}\r\n"),
        "content-type: application/octet-stream\r\n",
    ] {
        assert!(asked.contains(header), "{header} in {asked}");
    }
    let said = said.expect("an answer");
    let Words::Tensors(found) = said.words else { panic!("{:?}", said.words) };
    assert_eq!(found, [Tensor::new(vec![1, 1], vec![0.25_f32]).expect("tensor")]);
    assert_eq!((said.model.as_str(), said.version), ("big", 9));

    let head = r#"{"outputs":[{"name":"y","shape":[1],"datatype":"FP32",
                   "parameters":{"binary_data_size":4}}]}"#;
    let (length, all) = (head.len(), head.len() + 4);
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {all}\r\nInference-Header-Content-Length: {length}\r\n\r\n{head}"
    )
    .into_bytes();
    answer.extend(0.5_f32.to_le_bytes());
    let said = ask("model = \"m\"\nversion = 2", tensors(), answer).await.1.expect("an answer");
    let Words::Tensors(found) = said.words else { panic!("{:?}", said.words) };
    assert_eq!(found, [Tensor::new(vec![1], vec![0.5_f32]).expect("tensor")]);
    assert_eq!((said.model.as_str(), said.version), ("m", 2), "as it was asked for");
}

#[tokio::test]
async fn an_input_is_posted_as_json_and_a_prediction_is_read() {
    let body = r#"{"task":"anomaly","score":0.25}"#;
    let (asked, said) = ask("", input(), http("200 OK", "", body)).await;
    assert!(asked.starts_with("post /base http/1.1\r\n"), "{asked}");
    assert!(asked.contains("content-type: application/json\r\n"), "{asked}");
    let told = r#"{"pipeline":"p","stream":"7","model":"p","version":3,"prediction":{"task":"anomaly","score":0.5},"input":"the input"}"#;
    assert!(asked.ends_with(told), "{asked}");
    let said = said.expect("an answer");
    assert!(matches!(said.words, Words::Prediction(Prediction::Anomaly { .. })));
    assert_eq!((said.model.as_str(), said.version), ("127.0.0.1", 0), "it does not say who it is");
}

#[tokio::test]
async fn whatever_else_comes_back_is_a_failure_with_a_reason() {
    let page = http("200 OK", "Content-Type: text/html; charset=utf-8\r\n", "{}");
    let huge = http("200 OK", "", &"x".repeat(3000));
    let busy = http("503 Busy", "Retry-After: 7\r\n", r#"{"error":"too\nbusy"}"#);
    for (answer, told, for_good, after) in [
        (page, "a page of HTML", false, None),
        (huge, "more than 2048 bytes", false, None),
        (busy, "answered 503 Service Unavailable: toobusy", false, Some(7)),
        (http("404 Gone", "", "<html>"), "answered 404 Not Found", true, None),
        (http("401 No", "", ""), "answered 401", true, None),
        (http("302 There", "Location: /\r\n", ""), "answered 302", true, None),
        (http("400 No", "", ""), "answered 400", false, None),
        (
            http("200 OK", "", "<html>"),
            "cannot be read: it is not as the protocol says",
            false,
            None,
        ),
        (http("200 OK", "", ""), "cannot be read", false, None),
        ("SSH-2.0-OpenSSH\r\n".to_owned(), "the exchange with 127.0.0.1", false, None),
    ] {
        let error = ask("model = \"m\"", tensors(), answer).await.1.expect_err(told);
        let text = with_sources(&error);
        assert!(text.contains(told), "{text}");
        assert_eq!(error.is_for_good(), for_good, "{text}");
        assert_eq!(error.retry_after().map(|after| after.as_secs()), after, "{text}");
    }
    let error = ask("", input(), http("200 OK", "", "{}")).await.1.expect_err("no prediction");
    assert!(with_sources(&error).contains("holds no prediction"), "{error}");
}

/// What a reader of JSON says about a mistake holds the mistake, however long it is, and goes into the log.
#[tokio::test]
async fn no_more_is_shown_of_an_answer_than_of_an_error() {
    let junk = "\u{1b}[2J\nWARN junk ".repeat(60);
    let word = serde_json::to_string(&junk).expect("json");
    let task = format!(r#"{{"task":{word}}}"#);
    let error = ask("", input(), http("200 OK", "", &task)).await.1.expect_err("no task");
    let data =
        format!(r#"{{"outputs":[{{"name":"y","shape":[1],"datatype":"FP32","data":[{word}]}}]}}"#);
    let other = ask("model = \"m\"", tensors(), http("200 OK", "", &data)).await.1;
    for error in [error, other.expect_err("no number")] {
        let text = error.in_short();
        assert!(text.contains("answer"), "{text}");
        assert!(text.chars().count() <= 400 && !text.contains(char::is_control), "{text:?}");
    }
}

#[tokio::test]
async fn a_missing_token_is_told_and_nothing_is_sent() {
    let config = "uncertain = [0.3, 0.7]\nurl = \"http://127.0.0.1:1\"\ntoken_file = \"/nowhere\"";
    let remote = Remote::new(&toml::from_str(config).expect("config")).expect("a remote");
    let error = remote.ask(&input(), None).await.expect_err("no token");
    assert!(error.to_string().contains("token_file /nowhere"), "{error}");
}

#[test]
fn the_same_content_has_the_same_hash_whoever_asks() {
    assert_eq!(input().content(), input().content());
    assert_eq!(tensors().content(), tensors().content());
    let tensor = Tensor::new(vec![1, 2], vec![1.0_f32, 2.0]).expect("tensor");
    let elsewhere = Question::tensors(("x", &tensor), &["y"], b"another place");
    assert_ne!(tensors().content(), elsewhere.content());
    let other = Tensor::new(vec![2, 1], vec![1.0_f32, 2.0]).expect("tensor");
    assert_ne!(tensors().content(), Question::tensors(("x", &other), &["y"], b"").content());
}
