//! Against a scripted HTTP server on loopback.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::action::line::{Couriers, Line, Patience};
use crate::task::Group;

/// Answers one request on each connection and tells what was asked.
async fn server(group: &mut Group, answers: Vec<&'static str>) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/hook", listener.local_addr().expect("address"));
    let (tell, hear) = mpsc::channel(16);
    group.spawn("server", async move {
        let mut kept = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut asked = String::new();
            while !asked.ends_with("the body") {
                let mut buffer = [0; 4096];
                let count = stream.read(&mut buffer).await.expect("read");
                asked.push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
            stream.write_all(answer.as_bytes()).await.expect("written");
            tell.send(asked).await.expect("the test listens");
            if answer.contains("close") { drop(stream) } else { kept.push(stream) }
        }
        // The connections that are kept stay open.
        std::future::pending::<()>().await;
    });
    (url, hear)
}

fn config(url: &str, more: &str) -> WebhookConfig {
    toml::from_str(&format!("url = \"{url}\"\n{more}")).expect("configuration")
}

fn order() -> WebhookOrder {
    let traceparent = Some("00-ab-cd-01".into());
    WebhookOrder {
        payload: Payload::Text("the body".to_owned()),
        id: uuid::Uuid::nil(),
        traceparent,
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
const BUSY: &str = "HTTP/1.1 500 Busy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

#[tokio::test]
async fn a_server_error_is_tried_again_with_the_same_key() {
    let mut group = Group::default();
    let (url, mut hear) = server(&mut group, vec![BUSY, OK]).await;
    let directory = tempfile::tempdir().expect("directory");
    let token = directory.path().join("token");
    crate::disk::replace(&token, b"s3cret\n").expect("written");
    let config = config(
        &url,
        &format!("token_file = {token:?}\nmethod = \"PUT\"\nheaders = {{ X-Site = \"lyon\" }}"),
    );
    let line = Line::new("webhook".to_owned(), 4);
    let mut couriers = Couriers::default();
    let patience = Patience { retries: 3, age: Duration::from_secs(30) };
    couriers.add(WebhookActuator::new(&config).expect("webhook"), &line, patience);
    line.push(order());
    assert_eq!(couriers.start().drain(Duration::from_secs(20)).await, 0);
    for _ in 0..2 {
        let asked = hear.recv().await.expect("a request").to_ascii_lowercase();
        assert!(asked.starts_with("put /hook http/1.1\r\n"), "{asked}");
        for header in [
            "authorization: bearer s3cret\r\n",
            "x-site: lyon\r\n",
            "idempotency-key: 00000000-0000-0000-0000-000000000000\r\n",
            "traceparent: 00-ab-cd-01\r\n",
            "content-type: application/json\r\n",
            "content-length: 8\r\n",
        ] {
            assert!(asked.contains(header), "{header} in {asked}");
        }
    }
    let counts = line.meter().snapshot();
    assert_eq!((counts.sent, counts.retried, counts.failed), (1, 1, 0));
}

#[tokio::test]
async fn the_status_decides() {
    let mut group = Group::default();
    let answers = vec![
        "HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: /\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        // Says yes and never ends its body: it was still a yes.
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        // Says nothing at all.
        "",
    ];
    let (url, _hear) = server(&mut group, answers).await;
    let webhook = WebhookActuator::new(&config(&url, "timeout = \"300ms\"")).expect("webhook");
    let busy = webhook.carry_out(&order()).await.expect_err("429");
    assert!(
        matches!(&busy, Failure::Later { after: Some(wait), .. } if wait.as_secs() == 7),
        "{busy}"
    );
    for _ in 0..2 {
        let refused = webhook.carry_out(&order()).await.expect_err("refused");
        assert!(matches!(refused, Failure::Refused(_)), "{refused}");
    }
    webhook.carry_out(&order()).await.expect("a yes is a yes");
    let silent = webhook.carry_out(&order()).await.expect_err("no answer");
    assert!(
        matches!(&silent, Failure::Later { why, .. } if why.contains("within 300ms")),
        "{silent}"
    );
}

#[tokio::test]
async fn a_missing_token_is_told_and_may_come_later() {
    let config = config("https://10.0.0.1/", "token_file = \"/none\"");
    let webhook = WebhookActuator::new(&config).expect("webhook");
    let failure = webhook.carry_out(&order()).await.expect_err("no token");
    assert!(matches!(&failure, Failure::Later { why, .. } if why.contains("/none")), "{failure}");
}
