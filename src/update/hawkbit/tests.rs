use super::*;

fn hawkbit(more: &str) -> Hawkbit {
    let config: UpdateConfig =
        toml::from_str(&format!("[hawkbit]\nurl = \"https://hawkbit.example.com/\"\n{more}"))
            .expect("it can be read");
    assert!(config.check().is_empty(), "{:?}", config.check());
    Hawkbit::open(&config, "line-7").expect("it can be opened").expect("a server")
}

#[test]
fn all_that_is_asked_lies_below_the_device() {
    let base = hawkbit("tenant = \"plant\"").base.text();
    assert_eq!(base, "https://hawkbit.example.com/plant/controller/v1/line-7");
    let none = Hawkbit::open(&UpdateConfig::default(), "line-7").expect("right");
    assert!(none.is_none());
}

#[test]
fn an_artifact_may_lie_elsewhere_with_tls_alone() {
    let hawkbit = hawkbit("");
    for (link, leads) in [
        ("https://cdn.example.com/x", true),
        ("/plant/artifacts/x", true),
        ("http://10.0.0.9/x", false),
        ("http://cdn.example.com/x", false),
        ("https://a:b@cdn.example.com/x", false),
    ] {
        assert_eq!(hawkbit.artifact(link).is_ok(), leads, "{link}");
    }
}

#[tokio::test]
async fn the_token_goes_to_the_configured_server_alone() {
    let place = tempfile::tempdir().expect("tempdir");
    let file = place.path().join("token");
    crate::disk::replace(&file, b"secret\n").expect("file");
    let hawkbit = hawkbit(&format!("token = \"gateway\"\ntoken_file = {file:?}"));
    for (link, sent) in [
        ("/x", Some("GatewayToken secret")),
        ("https://HAWKBIT.example.com:443/x", Some("GatewayToken secret")),
        ("https://hawkbit.example.com:8443/x", None),
        ("https://cdn.example.com/x", None),
    ] {
        let (url, mut headers) = (hawkbit.artifact(link).expect(link), HeaderMap::new());
        hawkbit.sign(&url, &mut headers).await.expect("signed");
        let found = headers.get(AUTHORIZATION).map(|value| value.to_str().expect("text"));
        assert_eq!(found, sent, "{link}");
    }
}

#[test]
fn a_status_says_whether_to_ask_again() {
    let after = Some(Duration::from_secs(90));
    let of = |status: u16| {
        let status = StatusCode::from_u16(status).expect("a status");
        let (headers, body) = (HeaderMap::new(), Ok(Bytes::new()));
        judge(Reply { status, retry_after: after, headers, body }).map(|reply| reply.status)
    };
    for status in [200, 201, 204, 304] {
        assert!(of(status).is_ok(), "{status}");
    }
    for status in [302, 408, 429, 500, 503] {
        assert!(matches!(of(status), Err(DdiError::Later { after: found, .. }) if found == after));
    }
    for status in [401, 403, 404] {
        assert!(matches!(of(status), Err(DdiError::Refused(_))), "{status}");
    }
    assert_eq!(of(410), Err(DdiError::Over));
    assert!(matches!(of(400), Err(DdiError::Strange(_))));
}
