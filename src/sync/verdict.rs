//! What an answer says of a batch (`interfaces.md` §5): the whole table, and nothing that does work.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;

use super::AckBy;
use crate::net::{HttpError, Reply, with_sources};

/// The header of an answer that repeats the batch's `Idempotency-Key`.
const ECHO: &str = "eir-batch";

/// Whoever answers in the cloud's place cannot hold up its records for longer than this.
const PATIENCE_WITH_STRANGERS: Duration = Duration::from_mins(5);

/// So many bytes of what the cloud says of its no are shown.
const MAX_WORDS: usize = 200;

/// What became of one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The cloud has every record of it.
    Delivered,
    /// The cloud goes along, and has not all of it yet.
    Part,
    /// Not now: the cloud is busy or away, or what answered may not be the cloud.
    Wait {
        /// What is wrong at the moment.
        why: String,
        /// How long the cloud wants to be left alone.
        after: Option<Duration>,
    },
    /// There is no network here: nobody was asked.
    Offline {
        /// What is missing.
        why: String,
    },
    /// It is more than the cloud takes at once.
    TooLarge {
        /// What the cloud answered.
        why: String,
    },
    /// The cloud does not want something that is in it.
    Rejected {
        /// What the cloud answered.
        why: String,
    },
    /// The cloud will not take anything until a person changes something.
    Stop {
        /// What is wrong, and what would be right.
        why: String,
    },
}

/// By what an answer is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) ack: AckBy,
    /// The connection is one that nobody else can answer on.
    pub(super) trusted: bool,
}

/// The verdict of `peer` on the batch with this `key`.
pub(super) fn judge(
    terms: Terms,
    peer: &str,
    key: &str,
    answer: &Result<Reply, HttpError>,
) -> Verdict {
    match answer {
        Err(error) => {
            let why = with_sources(error);
            match error {
                HttpError::Identity { .. } => Verdict::Stop { why },
                _ if error.is_offline() => Verdict::Offline { why },
                _ => Verdict::Wait { why, after: None },
            }
        }
        Ok(reply) => judge_reply(terms, peer, key, reply),
    }
}

fn judge_reply(terms: Terms, peer: &str, key: &str, reply: &Reply) -> Verdict {
    let status = reply.status;
    let why = format!("{peer} answered {status}");
    let longest = if terms.trusted { Duration::MAX } else { PATIENCE_WITH_STRANGERS };
    let after = reply.retry_after.map(|after| after.min(longest));
    let in_its_words = || format!("{why}{}", words(reply));
    let advice = |advice: &str| Verdict::Stop { why: format!("{why}: {advice}") };
    match status {
        _ if status.is_success() => match doubt(terms, key, reply) {
            None => Verdict::Delivered,
            Some(doubt) => Verdict::Wait { why: format!("{why}, but {doubt}"), after: None },
        },
        // They say of themselves that another time is a better time.
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY => {
            Verdict::Wait { why, after }
        }
        _ if status.is_server_error() => Verdict::Wait { why, after },
        StatusCode::PAYLOAD_TOO_LARGE => Verdict::TooLarge { why: in_its_words() },
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
            Verdict::Rejected { why: in_its_words() }
        }
        StatusCode::UNAUTHORIZED => advice("see token_file, or cert_file and key_file"),
        StatusCode::FORBIDDEN => advice("this device may not send here; see token_file and url"),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::GONE => {
            advice("nothing takes records there; see the path in url")
        }
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            advice("the proxy lets nobody through; see proxy")
        }
        // Redirects are not followed. Only the cloud itself can have moved; anything else is a portal that
        // leads to its own page.
        _ if status.is_redirection() && terms.trusted => {
            advice("it has moved; set url to where it is now")
        }
        _ if status.is_redirection() => Verdict::Wait { why, after: None },
        _ => Verdict::Stop { why: in_its_words() },
    }
}

/// What a cloud says of its no, as far as it can be shown: printable, and short.
fn words(reply: &Reply) -> String {
    let Ok(body) = &reply.body else { return String::new() };
    let shown = printable(body);
    if is_html(reply) || shown.is_empty() { String::new() } else { format!(": {shown}") }
}

/// The beginning of what somebody far away wrote, fit for a line of the log.
pub(super) fn printable(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text.get(..MAX_WORDS).unwrap_or(text));
    let shown: String = text.split(|c: char| c.is_control()).collect::<Vec<_>>().join(" ");
    shown.trim().to_owned()
}

/// Why a yes is not believed.
fn doubt(terms: Terms, key: &str, reply: &Reply) -> Option<String> {
    match terms.ack {
        AckBy::Echo => match reply.headers.get(ECHO) {
            // Who repeats the key has read the batch's head; no page of a portal does.
            Some(echo) if echo.as_bytes() == key.as_bytes() => None,
            Some(_) => Some("its Eir-Batch names another batch".to_owned()),
            None => Some("without the Eir-Batch that ack = \"echo\" asks for".to_owned()),
        },
        AckBy::Status if !terms.trusted => {
            Some("over http:// anybody can; use https://, or ack = \"echo\"".to_owned())
        }
        AckBy::Status if is_html(reply) => {
            Some("with a page of HTML, as a captive portal does".to_owned())
        }
        AckBy::Status => match &reply.body {
            // The answer was longer than anybody reads, but it was whole as far as that.
            Ok(_) | Err(HttpError::TooLarge { .. }) => None,
            Err(error) => Some(format!("the answer broke off: {}", with_sources(error))),
        },
    }
}

/// By its type, or by how it begins where it says nothing of its type.
fn is_html(reply: &Reply) -> bool {
    let kind = reply.headers.get(CONTENT_TYPE).map(|kind| kind.as_bytes().to_ascii_lowercase());
    if let Some(kind) = kind {
        let kind = kind.trim_ascii_start();
        return kind.starts_with(b"text/html") || kind.starts_with(b"application/xhtml");
    }
    let Ok(body) = &reply.body else { return false };
    let start = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start();
    let begins =
        |word: &[u8]| start.get(..word.len()).is_some_and(|found| found.eq_ignore_ascii_case(word));
    begins(b"<!doctype html") || begins(b"<html")
}

#[cfg(test)]
mod tests {
    use hyper::body::Bytes;
    use hyper::header::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    const KEY: &str = "018f-key";

    fn reply(status: u16, headers: &[(&str, &[u8])], body: &'static [u8]) -> Reply {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                let name: HeaderName = name.parse().expect("name");
                (name, HeaderValue::from_bytes(value).expect("value"))
            })
            .collect();
        let status = StatusCode::from_u16(status).expect("status");
        let retry_after = headers.get("retry-after").map(|_| Duration::from_secs(7));
        Reply { status, retry_after, headers, body: Ok(Bytes::from_static(body)) }
    }

    /// One word for the verdict, and how long to wait.
    fn word(terms: Terms, reply: Reply) -> (&'static str, Option<u64>) {
        match judge(terms, "cloud:443", KEY, &Ok(reply)) {
            Verdict::Delivered | Verdict::Part => ("delivered", None),
            Verdict::Wait { after, .. } => ("wait", after.map(|after| after.as_secs())),
            Verdict::Offline { .. } => ("offline", None),
            Verdict::TooLarge { .. } => ("too large", None),
            Verdict::Rejected { .. } => ("rejected", None),
            Verdict::Stop { .. } => ("stop", None),
        }
    }

    const STATUS: Terms = Terms { ack: AckBy::Status, trusted: true };
    const CLEAR: Terms = Terms { ack: AckBy::Status, trusted: false };
    const ECHO_CLEAR: Terms = Terms { ack: AckBy::Echo, trusted: false };
    const ECHO_TLS: Terms = Terms { ack: AckBy::Echo, trusted: true };

    #[test]
    fn the_status_decides() {
        for terms in [STATUS, CLEAR, ECHO_CLEAR, ECHO_TLS] {
            for (status, verdict) in [
                (400, "rejected"),
                (401, "stop"),
                (402, "stop"),
                (403, "stop"),
                (404, "stop"),
                (405, "stop"),
                (406, "stop"),
                (407, "stop"),
                (408, "wait"),
                (409, "stop"),
                (410, "stop"),
                (411, "stop"),
                (413, "too large"),
                (414, "stop"),
                (415, "stop"),
                (418, "stop"),
                (422, "rejected"),
                (425, "wait"),
                (429, "wait"),
                (431, "stop"),
                (451, "stop"),
                (500, "wait"),
                (501, "wait"),
                (502, "wait"),
                (503, "wait"),
                (504, "wait"),
                (511, "wait"),
                (599, "wait"),
            ] {
                assert_eq!(word(terms, reply(status, &[], b"")), (verdict, None), "{status}");
            }
        }
        for (status, after) in [(429, Some(7)), (503, Some(7)), (500, Some(7)), (404, None)] {
            let found = word(STATUS, reply(status, &[("retry-after", b"7")], b""));
            assert_eq!(found.1, after, "{status}");
        }
        let day = Reply { retry_after: Some(Duration::from_hours(24)), ..reply(503, &[], b"") };
        assert_eq!(word(STATUS, day), ("wait", Some(86_400)));
        let day = Reply { retry_after: Some(Duration::from_hours(24)), ..reply(511, &[], b"") };
        assert_eq!(word(ECHO_CLEAR, day), ("wait", Some(300)));
        // A portal leads to its page; the cloud itself would have moved.
        for status in [301, 302, 307, 308] {
            assert_eq!(word(STATUS, reply(status, &[], b"")).0, "stop");
            assert_eq!(word(ECHO_CLEAR, reply(status, &[], b"")).0, "wait");
        }
    }

    #[test]
    fn a_yes_is_believed_only_from_the_cloud() {
        let html: &[(&str, &[u8])] = &[("content-type", b"Text/HTML; charset=utf-8")];
        let json: &[(&str, &[u8])] = &[("content-type", b"application/json")];
        let right: &[(&str, &[u8])] = &[("eir-batch", KEY.as_bytes())];
        let right_html: &[(&str, &[u8])] =
            &[("eir-batch", KEY.as_bytes()), ("content-type", b"text/html")];
        let wrong: &[(&str, &[u8])] = &[("eir-batch", b"another")];
        let rubbish: &[(&str, &[u8])] = &[("eir-batch", b"\xff\xfe"), ("content-type", b"\xff")];
        for (terms, headers, body, verdict) in [
            (STATUS, &[][..], &b""[..], "delivered"),
            (STATUS, json, b"{}", "delivered"),
            (STATUS, json, b"<html>", "delivered"),
            (STATUS, rubbish, b"", "delivered"),
            (STATUS, wrong, b"", "delivered"),
            (STATUS, html, b"<p>Log in</p>", "wait"),
            (STATUS, html, b"", "wait"),
            (STATUS, &[], b" \r\n<!DOCTYPE HTML><title>Log in</title>", "wait"),
            (STATUS, &[], b"\xef\xbb\xbf<Html>", "wait"),
            (STATUS, &[], b"<", "delivered"),
            (CLEAR, &[], b"", "wait"),
            (CLEAR, right, b"", "wait"),
            (ECHO_CLEAR, right, b"", "delivered"),
            (ECHO_CLEAR, right_html, b"", "delivered"),
            (ECHO_CLEAR, wrong, b"", "wait"),
            (ECHO_CLEAR, rubbish, b"", "wait"),
            (ECHO_CLEAR, &[], b"", "wait"),
            (ECHO_TLS, &[], b"", "wait"),
            (ECHO_TLS, right, b"", "delivered"),
        ] {
            for status in [200, 201, 202, 204] {
                let found = word(terms, reply(status, headers, body));
                assert_eq!(found, (verdict, None), "{terms:?} {status} {headers:?} {body:?}");
            }
        }
    }

    #[test]
    fn an_answer_that_broke_off_is_no_yes_and_a_long_one_is() {
        let with = |terms, headers: &[(&str, &[u8])], error| {
            word(terms, Reply { body: Err(error), ..reply(200, headers, b"") }).0
        };
        let host = || "cloud:443".to_owned();
        let broken = || HttpError::Timeout { host: host(), within: Duration::from_secs(1) };
        let endless = || HttpError::TooLarge { host: host(), most: 1 };
        assert_eq!(with(STATUS, &[], broken()), "wait");
        assert_eq!(with(STATUS, &[], endless()), "delivered");
        assert_eq!(with(STATUS, &[("content-type", b"text/html")], endless()), "wait");
        // The key stood in the head, and the head was whole.
        assert_eq!(with(ECHO_TLS, &[("eir-batch", KEY.as_bytes())], broken()), "delivered");
    }

    #[test]
    fn what_the_cloud_says_of_its_no_is_shown() {
        let of = |reply| match judge(STATUS, "cloud:443", KEY, &Ok(reply)) {
            Verdict::Rejected { why } | Verdict::Stop { why } => why,
            other => format!("{other:?}"),
        };
        let why = of(reply(400, &[], b"{\"error\":\n\x1b\"no device\"}"));
        assert_eq!(why, "cloud:443 answered 400 Bad Request: {\"error\":  \"no device\"}");
        let html = of(reply(400, &[("content-type", b"text/html")], b"<html>"));
        assert_eq!(html, "cloud:443 answered 400 Bad Request");
        assert!(of(reply(404, &[], b"")).contains("see the path in url"));
        assert!(of(reply(418, &[], &[b'x'; 1000])).len() < 300);
    }

    #[test]
    fn no_answer_is_no_verdict_on_the_records() {
        let host = || "cloud:443".to_owned();
        let refused = std::io::Error::from_raw_os_error(libc::ECONNREFUSED);
        let away = Err(HttpError::Connect { host: host(), source: refused });
        assert!(matches!(
            judge(STATUS, "cloud:443", KEY, &away),
            Verdict::Wait { after: None, .. }
        ));
        let cut = std::io::Error::from_raw_os_error(libc::ENETUNREACH);
        let cut = Err(HttpError::Connect { host: host(), source: cut });
        assert!(matches!(judge(STATUS, "cloud:443", KEY, &cut), Verdict::Offline { .. }));
        let alert = rustls::AlertDescription::CertificateExpired;
        let stranger = Err(HttpError::Identity { host: host(), alert });
        assert!(matches!(judge(STATUS, "cloud:443", KEY, &stranger), Verdict::Stop { .. }));
    }
}
