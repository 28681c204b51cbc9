//! Who is let in, to what, and how many.

use eir::net::{TlsConfig, client_config};
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::models::{device, say};
use super::*;
use crate::support::Authority;

/// A configuration with a token of each role, and the tokens.
fn with_tokens() -> (Vec<String>, [String; 3]) {
    let made = ["read", "infer", "admin"].map(|role| {
        let (token, sha256) = eir::api::new_token();
        let key = format!("api.auth.tokens.{role}");
        ([format!("{key}.role={role}"), format!("{key}.sha256={sha256}")], token)
    });
    let lines = made.iter().flat_map(|(lines, _)| lines.clone()).collect();
    (lines, made.map(|(_, token)| token))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_what_its_role_may_and_nothing_else() {
    let (lines, [read, infer, admin]) = with_tokens();
    // Nobody here carries out what is ordered; that is not waited for.
    let lines: Vec<_> = lines.iter().map(String::as_str).chain(["api.timeout=1s"]).collect();
    let (app, address, _broker) = device(&lines).await;
    let ask = async |method: &str, path: &str, token: &str| {
        let header = match token {
            "" => String::new(),
            token => format!("authorization: Bearer {token}\r\n"),
        };
        say(address, method, path, &header, b"").await
    };
    for (method, path, least) in [
        ("GET", "/", 0),
        ("GET", "/page.js", 0),
        ("GET", "/v2/health/live", 0),
        ("GET", "/v2", 1),
        ("GET", "/metrics", 1),
        ("GET", "/v2/health/detail", 1),
        ("GET", "/v2/models/bearing/stats", 1),
        ("POST", "/v2/repository/index", 1),
        ("POST", "/v2/models/bearing/infer", 2),
        ("POST", "/v2/models/bearing/versions/1/predict", 2),
        ("POST", "/v2/repository/models/bearing/load", 3),
        ("GET", "/v2/jobs", 1),
        ("POST", "/v2/models/bearing/jobs", 2),
        ("POST", "/v2/jobs/1/cancel", 2),
        ("GET", "/v2/admin/outbox", 3),
        ("GET", "/v2/admin/update", 3),
        ("POST", "/v2/admin/update", 3),
        ("POST", "/v2/admin/log", 3),
        ("POST", "/v2/admin/reload", 3),
    ] {
        for (place, token) in ["", &read, &infer, &admin, "eir_made-up"].into_iter().enumerate() {
            let role = if place == 4 { 0 } else { place };
            let said = ask(method, path, token).await;
            let why = format!("{method} {path} with {place}: {}", said.head);
            if role < least {
                let (status, message) = said.refused();
                assert_eq!(status, if role == 0 { 401 } else { 403 }, "{why}");
                let wanted = if role == 0 { "a token is needed" } else { "this token's role is" };
                assert!(message.starts_with(wanted), "{message}");
                let challenge = said.header("www-authenticate");
                assert_eq!(challenge.is_some(), role == 0, "{why}");
            } else if path != "/v2/admin/reload" {
                assert!(![401, 403].contains(&said.status), "{why}");
            }
        }
    }
    // Nobody learns the names of what is missing.
    let ready = ask("GET", "/v2/health/ready", "").await;
    assert!(ready.json().get("error").is_none(), "{}", ready.json());
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_is_not_answered() {
    let (app, address, _broker) = device(&[]).await;
    let post = async |headers: &str| {
        say(address, "POST", "/v2/repository/models/bearing/unload", headers, b"").await.status
    };
    assert_eq!(post("origin: https://evil.example\r\n").await, 403);
    assert_eq!(post("origin: http://eir\r\n").await, 400, "a pipeline uses it");
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_is_told_when_to_come_again() {
    let (app, address, _broker) = device(&["api.rate=3/min"]).await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        let reply = get(address, "/v2").await;
        statuses.push(reply.status);
        if reply.status == 429 {
            let wait = reply.head.lines().find_map(|line| line.strip_prefix("retry-after: "));
            let seconds: u64 = wait.expect("when").parse().expect("seconds");
            assert!((1..=20).contains(&seconds), "{seconds}");
        }
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    app.drain().await;
}

/// A directory with what a TLS server and a client need, of one authority.
fn papers(authority: &Authority) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("tempdir");
    for (file, name) in [("server", "localhost"), ("client", "client")] {
        let (certificate, key) = authority.sign(name);
        put(directory.path(), &format!("{file}.pem"), &certificate);
        put(directory.path(), &format!("{file}.key"), &key);
    }
    put(directory.path(), "ca.pem", &authority.pem());
    directory
}

fn put(directory: &Path, name: &str, text: &str) {
    eir::disk::replace(&directory.join(name), text.as_bytes()).expect("written");
}

/// What is said over TLS to a client that shows a certificate, or none.
async fn ask_over_tls(
    address: SocketAddr,
    papers: &Path,
    shows: bool,
) -> Result<String, std::io::Error> {
    let file = |name: &str| papers.join(name);
    let config = client_config(&TlsConfig {
        ca_file: Some(file("ca.pem")),
        cert_file: shows.then(|| file("client.pem")),
        key_file: shows.then(|| file("client.key")),
    });
    let connector = TlsConnector::from(config.expect("a client"));
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    let mut stream = connector.connect(name, stream).await?;
    stream.write_all(b"GET /v2 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut text = String::new();
    within("an answer", stream.read_to_string(&mut text)).await?;
    Ok(text)
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_follows_its_files_and_asks_for_the_client_s() {
    let authority = Authority::new();
    let papers = papers(&authority);
    let set =
        [("cert_file", "server.pem"), ("key_file", "server.key"), ("client_ca_file", "ca.pem")]
            .map(|(key, file)| format!("api.tls.{key}={}", papers.path().join(file).display()));
    let set: Vec<_> = set.iter().map(String::as_str).collect();
    let (app, address, _broker) = device(&set).await;
    let said = ask_over_tls(address, papers.path(), true).await.expect("an answer");
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    assert!(ask_over_tls(address, papers.path(), false).await.is_err(), "it shows no certificate");
    // Rubbish for a moment: the old one stays. Then another authority's: that one counts.
    put(papers.path(), "server.pem", "rubbish");
    ask_over_tls(address, papers.path(), true).await.expect("by the old one");
    let other = Authority::new();
    let (certificate, key) = other.sign("localhost");
    put(papers.path(), "server.key", &key);
    put(papers.path(), "server.pem", &certificate);
    assert!(ask_over_tls(address, papers.path(), true).await.is_err(), "it is another's now");
    app.drain().await;
}

/// Ten thousand that say nothing, and some that say it byte by byte: whoever asks is served.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_keep_nobody_out() {
    let (app, address, _broker) = device(&["api.max_connections=64"]).await;
    let mut idle = std::collections::VecDeque::new();
    for number in 0..10_000 {
        let mut stream =
            within("a connection", TcpStream::connect(address)).await.expect("connect");
        if number % 100 == 0 {
            let _cut_off = stream.write_all(b"POST /v2 HTTP/1.1\r\nhost: e").await;
            assert_eq!(get(address, "/v2/health/live").await.status, 200, "at {number}");
        }
        idle.push_back(stream);
        // The test's own files are not without number either; those of the server are gone long before.
        if idle.len() > 400 {
            idle.pop_front();
        }
    }
    assert_eq!(get(address, "/v2/health/live").await.status, 200);
    app.drain().await;
}

/// A body that would fill the memory, one whose chunks are none, one that never ends.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_without_measure_are_refused() {
    let (app, address, _broker) = device(&["api.timeout=500ms"]).await;
    let head = "POST /v2/models/bearing/infer HTTP/1.1\r\nhost: eir\r\nconnection: close\r\n";
    for (rest, status) in [
        ("content-length: 1073741824\r\n\r\n{", 413),
        ("transfer-encoding: chunked\r\n\r\nnot hex\r\n", 400),
        ("content-length: 100\r\n\r\n{", 408),
        ("content-length: 1\r\n\r\n{", 400),
        ("content-length: nine\r\n\r\n{", 400),
    ] {
        let reply = ask(address, &format!("{head}{rest}")).await;
        assert_eq!(reply.status, status, "{rest:?} {}", reply.body);
    }
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_on_every_path_has_an_answer() {
    let (app, address, _broker) = device(&[]).await;
    let model = "/v2/models/bearing";
    let paths = ["/", "/v2", "/metrics", "/v2/health/ready", "/v2/health/detail"];
    let paths = paths.map(str::to_owned).into_iter().chain(
        ["", "/ready", "/config", "/stats", "/infer", "/predict", "/versions/1", "/versions/x"]
            .map(|end| format!("{model}{end}")),
    );
    let odd = ["/v2/models/..%2f..%2fetc/infer", "/v2/models/%00", "/v2/models/a%20b", "//", "/%"];
    for path in paths.chain(odd.map(str::to_owned)) {
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "X"] {
            let said = say(address, method, &path, "", b"").await;
            let expected = (200..500).contains(&said.status) || path == "/v2/health/ready";
            assert!(expected, "{method} {path}: {}", said.head);
            assert!(!said.head.contains("access-control"), "{}", said.head);
        }
    }
    app.drain().await;
}
