//! The way through an HTTP proxy (RFC 9110 section 9.3.6).

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::HttpError;
use crate::net::Url;

/// The largest answer of a proxy that is read, in bytes.
const LARGEST: usize = 16 << 10;

/// Asks a proxy for a tunnel. Afterwards the stream leads to the host itself.
pub(super) async fn tunnel(
    stream: &mut TcpStream,
    proxy: &Url,
    url: &Url,
) -> Result<(), HttpError> {
    let broken = |source| HttpError::Connect { host: proxy.to_string(), source };
    let target = url.host_and_port();
    let ask = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.map_err(broken)?;
    let mut answer = Vec::new();
    let refused =
        |why: String| HttpError::Proxy { proxy: proxy.to_string(), host: url.to_string(), why };
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= LARGEST {
            return Err(refused("its answer does not end".to_owned()));
        }
        // One by one: what comes behind the answer is not the proxy's.
        let byte = stream.read_u8().await.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => refused("it hung up".to_owned()),
            _ => broken(error),
        })?;
        answer.push(byte);
    }
    match status(&answer) {
        Some(code) if code.starts_with('2') => Ok(()),
        Some(code) => Err(refused(format!("it answered {code}"))),
        None => Err(refused("it does not speak HTTP".to_owned())),
    }
}

/// The three digits of a status line.
fn status(answer: &[u8]) -> Option<&str> {
    let line = answer.split(|byte| *byte == b'\r').next()?;
    let rest = std::str::from_utf8(line).ok()?.strip_prefix("HTTP/1.")?;
    let code = rest.split(' ').nth(1)?;
    (code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit())).then_some(code)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hyper::header::HeaderMap;
    use hyper::{Method, StatusCode};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;
    use crate::net::{HttpClient, TlsConfig, TlsFiles};
    use crate::task::Group;

    /// A proxy that answers everything alike and tells what it was asked.
    async fn proxy(group: &mut Group, answer: &'static [u8]) -> (Url, mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        let (tell, hear) = mpsc::channel(8);
        group.spawn("proxy", async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut buffer = vec![0; 4096];
                let count = stream.read(&mut buffer).await.expect("read");
                buffer.truncate(count);
                stream.write_all(answer).await.expect("written");
                tell.send(String::from_utf8_lossy(&buffer).into_owned()).await.expect("heard");
            }
        });
        (Url::parse(&url, false).expect("address"), hear)
    }

    async fn ask(client: &HttpClient, url: &str) -> Result<StatusCode, HttpError> {
        let url = Url::parse(url, true).expect("address");
        let reply = client.request(Method::POST, &url, HeaderMap::new(), vec![1]).await;
        reply.map(|reply| reply.status)
    }

    #[tokio::test]
    async fn what_is_in_the_clear_is_handed_to_the_proxy() {
        let mut group = Group::default();
        let ok = b"HTTP/1.1 204 No Content\r\n\r\n";
        let (url, mut asked) = proxy(&mut group, ok).await;
        let client = HttpClient::plain(Duration::from_secs(5)).through(Some(url));
        let status = ask(&client, "http://cloud.invalid:81/in?x=1").await.expect("answer");
        assert_eq!(status, StatusCode::NO_CONTENT);
        let asked = asked.recv().await.expect("asked").to_ascii_lowercase();
        assert!(asked.starts_with("post http://cloud.invalid:81/in?x=1 http/1.1\r\n"), "{asked}");
        assert!(asked.contains("host: cloud.invalid:81\r\n"), "{asked}");
    }

    #[tokio::test]
    async fn a_refused_tunnel_says_who_refused() {
        let mut group = Group::default();
        for (answer, why) in [
            (&b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"[..], "it answered 407"),
            (b"220 mail.example\r\n\r\n", "does not speak HTTP"),
            (b"HTTP/1.1 200", "it hung up"),
        ] {
            let (url, mut asked) = proxy(&mut group, answer).await;
            let tls = TlsFiles::new(TlsConfig::default());
            let client = HttpClient::from_files(tls, Duration::from_secs(5)).through(Some(url));
            let error = ask(&client, "https://cloud.invalid/").await.expect_err("refused");
            assert!(error.to_string().contains(why), "{error}");
            assert!(!error.is_offline());
            let asked = asked.recv().await.expect("asked");
            let wanted = "CONNECT cloud.invalid:443 HTTP/1.1\r\nHost: cloud.invalid:443\r\n\r\n";
            assert_eq!(asked, wanted);
        }
    }
}
