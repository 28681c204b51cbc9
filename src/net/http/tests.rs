//! Against a scripted server on loopback.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::net::{TlsConfig, client_config};
use crate::task::Group;

/// Answers the n-th request of all connections with the n-th script; a connection is closed after a
/// script that ends in `Connection: close` is up to the script.
async fn server(group: &mut Group, answers: Vec<&'static [u8]>) -> (Url, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("address").port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    group.spawn("server", async move {
        let mut answers = answers.into_iter();
        let mut next = answers.next();
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let mut buffer = vec![0; 4096];
            while let Ok(1..) = stream.read(&mut buffer).await {
                let Some(answer) = next else { std::future::pending().await };
                stream.write_all(answer).await.expect("written");
                next = answers.next();
                if answer.windows(5).any(|word| word == b"close") {
                    break;
                }
            }
        }
    });
    let url = Url::parse(&format!("http://127.0.0.1:{port}/hook"), false).expect("address");
    (url, connections)
}

fn client(millis: u64) -> HttpClient {
    HttpClient::plain(Duration::from_millis(millis))
}

async fn post(client: &HttpClient, url: &Url) -> Result<Reply, HttpError> {
    client.request(Method::POST, url, HeaderMap::new(), b"{}".to_vec()).await
}

#[tokio::test]
async fn one_connection_serves_many_requests_and_a_closed_one_is_replaced() {
    let mut group = Group::default();
    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let last = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    // Ends the connection without saying so in a header.
    let cut = b"HTTP/1.1 204 close\r\n\r\n";
    let (url, connections) = server(&mut group, vec![ok, ok, last, ok, cut, ok]).await;
    let client = client(5000);
    let mut seen = vec![];
    for _ in 0..6 {
        let reply = post(&client, &url).await.expect("answer");
        reply.body.expect("body");
        seen.push((reply.status.as_u16(), connections.load(Ordering::Relaxed)));
    }
    assert_eq!(seen, [(200, 1), (200, 1), (200, 1), (200, 2), (204, 2), (200, 3)]);
}

/// A router forgot it meanwhile, and the next request waited for its whole deadline.
#[tokio::test]
async fn a_connection_that_was_idle_for_long_is_not_used_again() {
    let mut group = Group::default();
    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let (url, connections) = server(&mut group, vec![ok; 3]).await;
    let client = client(5000);
    for (idle, expected) in [(0, 1), (LONGEST_IDLE.as_secs() - 5, 1), (LONGEST_IDLE.as_secs(), 2)] {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(idle)).await;
        tokio::time::resume();
        post(&client, &url).await.expect("answer").body.expect("body");
        assert_eq!(connections.load(Ordering::Relaxed), expected);
    }
}

#[tokio::test]
async fn the_deadline_covers_the_answer_and_its_body() {
    let mut group = Group::default();
    let (silent, _) = server(&mut group, vec![]).await;
    let client = client(200);
    let error = post(&client, &silent).await.expect_err("nobody answers");
    assert!(matches!(error, HttpError::Timeout { .. }), "{error}");

    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
    let (slow, connections) = server(&mut group, vec![half, half]).await;
    for expected in 1..=2 {
        let reply = post(&client, &slow).await.expect("the status came");
        assert_eq!(reply.status, StatusCode::OK);
        assert!(matches!(reply.body, Err(HttpError::Timeout { .. })));
        // A connection with half an answer on it is not used again.
        assert_eq!(connections.load(Ordering::Relaxed), expected);
    }
}

#[tokio::test]
async fn answers_are_bounded_and_rubbish_is_an_error() {
    let mut group = Group::default();
    let long: &[u8] = Box::leak(
        [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", &*vec![b'x'; MAX_REPLY + 1]]
            .concat()
            .into_boxed_slice(),
    );
    let (url, _) = server(&mut group, vec![long, b"220 mail.example close\r\n"]).await;
    let client = client(5000);
    let reply = post(&client, &url).await.expect("the status came");
    assert!(matches!(reply.body, Err(HttpError::TooLarge { .. })));
    let error = post(&client, &url).await.expect_err("not HTTP");
    assert!(matches!(error, HttpError::Exchange { .. }), "{error}");
    let nobody = Url::parse("http://127.0.0.1:1/", false).expect("address");
    let error = post(&client, &nobody).await.expect_err("nobody there");
    assert!(matches!(error, HttpError::Connect { .. }), "{error}");
}

#[tokio::test]
async fn a_private_authority_is_trusted_for_its_own_names_only() {
    let ca = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("certificate");
    let mut file = tempfile::NamedTempFile::new().expect("file");
    file.write_all(ca.cert.pem().as_bytes()).expect("written");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(ca.signing_key.serialize_der());
    let serving = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![ca.cert.der().clone()], key.into())
        .expect("certificate");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("address").port();
    let mut group = Group::default();
    group.spawn("server", async move {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(serving));
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut buffer = [0; 4096];
            let _asked = stream.read(&mut buffer).await;
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            stream.write_all(answer).await.expect("written");
        }
    });
    let tls = TlsConfig { ca_file: Some(file.path().to_owned()), ..TlsConfig::default() };
    let client = HttpClient::new(client_config(&tls).expect("tls"), Duration::from_secs(5));
    let right = Url::parse(&format!("https://localhost:{port}/"), false).expect("address");
    let reply = post(&client, &right).await.expect("answer");
    assert_eq!(&*reply.body.expect("body"), b"ok");
    let wrong = Url::parse(&format!("https://127.0.0.1:{port}/"), false).expect("address");
    let error = post(&client, &wrong).await.expect_err("another name");
    assert!(matches!(error, HttpError::Tls { .. }), "{error}");
}

/// It was an exchange that failed, for a channel that was closed or an alert that nobody can look up.
#[tokio::test]
async fn a_server_that_wants_a_certificate_is_told_from_one_that_fails() {
    let name = || vec!["localhost".to_owned()];
    let ca = rcgen::generate_simple_self_signed(name()).expect("certificate");
    let mut file = tempfile::NamedTempFile::new().expect("file");
    file.write_all(ca.cert.pem().as_bytes()).expect("written");
    let tls = TlsConfig { ca_file: Some(file.path().to_owned()), ..TlsConfig::default() };
    let tls = client_config(&tls).expect("tls");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca.cert.der().clone()).expect("an authority");
        let clients =
            WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(ca.signing_key.serialize_der());
        let serving = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .expect("versions")
            .with_client_cert_verifier(clients.build().expect("a verifier"))
            .with_single_cert(vec![ca.cert.der().clone()], key.into())
            .expect("certificate");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("address").port();
        let mut group = Group::default();
        group.spawn("server", async move {
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(serving));
            while let Ok((stream, _)) = listener.accept().await {
                assert!(acceptor.accept(stream).await.is_err(), "a stranger");
            }
        });
        let client = HttpClient::new(Arc::clone(&tls), Duration::from_secs(5));
        let url = Url::parse(&format!("https://localhost:{port}/"), false).expect("address");
        let error = post(&client, &url).await.expect_err("refused");
        assert!(matches!(error, HttpError::Identity { .. }), "{version:?}: {error:?}");
        assert!(error.to_string().contains("see cert_file and key_file"), "{error}");
    }
}

#[test]
fn without_a_network_nobody_was_asked() {
    let connect = |source| HttpError::Connect { host: "cloud:443".to_owned(), source };
    for (source, offline) in [
        (io::Error::from_raw_os_error(libc::ENETUNREACH), true),
        (io::Error::from_raw_os_error(libc::EHOSTUNREACH), true),
        (io::Error::from_raw_os_error(libc::ENETDOWN), true),
        (io::Error::other("failed to lookup address information"), true),
        (io::Error::from_raw_os_error(libc::ECONNREFUSED), false),
        (io::Error::from_raw_os_error(libc::ETIMEDOUT), false),
    ] {
        let error = connect(source);
        assert_eq!(error.is_offline(), offline, "{error:?}");
    }
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let read = |headers: &[(hyper::header::HeaderName, &str)]| {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).expect("header")));
        retry_after(&headers.collect())
    };
    assert_eq!(read(&[(RETRY_AFTER, "7")]), Some(Duration::from_secs(7)));
    let date = "Wed, 21 Oct 2015 07:28:00 GMT";
    let later = "Wed, 21 Oct 2015 07:28:30 GMT";
    assert_eq!(read(&[(RETRY_AFTER, later), (DATE, date)]), Some(Duration::from_secs(30)));
    assert_eq!(read(&[(RETRY_AFTER, "99999999999")]), Some(MAX_RETRY_AFTER));
    assert_eq!(read(&[(RETRY_AFTER, "soon")]), None);
    assert_eq!(read(&[]), None);
}
