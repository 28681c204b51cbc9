//! A web server as a repository, well behaved or not.

use std::time::Duration;

use eir::event::HumanDuration;
use eir::update::config::UpdateConfig;
use eir::update::source::{FetchError, Source, Web, whole};

use super::super::support::cloud::{Answer, Cloud};
use super::super::support::nginx::Nginx;
use super::super::support::within;

fn web(url: String) -> Web {
    let timeout = HumanDuration::from_secs(1);
    let config = UpdateConfig { url: Some(url), timeout, ..UpdateConfig::default() };
    Web::open(&config).expect("right").expect("a server")
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_gives_what_is_there_in_pieces() {
    let place = tempfile::tempdir().expect("tempdir");
    let bytes: Vec<u8> = (0..2_500_000_u32).map(|n| (n % 251).to_le_bytes()[0]).collect();
    eir::disk::replace(&place.path().join("large"), &bytes).expect("file");
    eir::disk::replace(&place.path().join("empty"), b"").expect("file");
    let nginx = Nginx::host(place.path(), "");
    let web = web(format!("{}/", nginx.url()));
    assert!(whole(&web, "large", 1 << 30).await.expect("read").expect("there") == bytes);
    assert_eq!(whole(&web, "empty", 10).await.expect("read").expect("there"), b"");
    assert!(whole(&web, "absent", 10).await.expect("read").is_none());
    let piece = web.read("large", 2_400_000, 10).await.expect("read").expect("there");
    assert_eq!(piece, bytes[2_400_000..2_400_010]);
    assert_eq!(web.read("large", 2_500_000, 10).await.expect("read").expect("there").len(), 0);
    let error = whole(&web, "large", 1_000_000).await.expect_err("too large");
    assert!(matches!(error, FetchError::TooLarge { most: 1_000_000, .. }), "{error}");
    assert!(nginx.asked().lines().filter(|line| line.contains(" 206 ")).count() >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_answers_wrong_is_left_or_asked_later() {
    for (answer, told, is_lasting) in [
        (Answer::Status(500, "Retry-After: 7\r\n", ""), "500", false),
        (Answer::Status(503, "", ""), "503", false),
        (Answer::Status(429, "Retry-After: 7\r\n", ""), "429", false),
        // A portal that wants to be paid first.
        (Answer::Status(302, "Location: http://portal.local/\r\n", ""), "302", false),
        (Answer::Status(401, "", ""), "401", true),
        (Answer::Status(400, "", ""), "400", true),
        // Another part than the one that was asked for.
        (Answer::Status(206, "Content-Range: bytes 5-9/10\r\n", "56789"), "was asked for", false),
        (Answer::Status(206, "", "56789"), "was asked for", false),
        (Answer::Reset, "", false),
        (Answer::Drip, "", false),
        (Answer::Endless, "", false),
        (Answer::Silence, "", false),
    ] {
        let why = format!("{answer:?}");
        let cloud = Cloud::start(move |_| answer.clone()).await;
        let web = web(cloud.url());
        let error = within(&why, web.read("metadata/timestamp.json", 0, 10)).await;
        let error = error.expect_err(&why);
        let text = error.to_string();
        assert!(text.contains("timestamp.json") && text.contains(told), "{why}: {text}");
        match error {
            FetchError::Later { after, .. } => {
                assert!(!is_lasting, "{why}");
                let asked = why.contains("Retry-After").then_some(Duration::from_secs(7));
                assert_eq!(after, asked, "{why}");
            }
            FetchError::Never { .. } => assert!(is_lasting, "{why}"),
            FetchError::TooLarge { .. } => panic!("{why}"),
        }
    }
    // A server that knows no ranges gives small files, and says so of large ones.
    let cloud = Cloud::start(|_| Answer::Status(200, "", "0123456789")).await;
    let web = web(cloud.url());
    assert_eq!(web.read("a", 4, 3).await.expect("read").expect("there"), "456789");
    assert_eq!(web.read("a", 10, 3).await.expect("read").expect("there"), "");
    web.read("a", 11, 3).await.expect_err("it is another file by now");
}
