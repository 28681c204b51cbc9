//! What is refused, and what is not.

use super::*;

fn keys(more: &str) -> Vec<String> {
    let config: CloudConfig = toml::from_str(more).expect(more);
    config.check().into_iter().map(|problem| problem.key).collect()
}

#[test]
fn one_line_is_enough_and_unknown_keys_are_refused() {
    let config: CloudConfig = toml::from_str("url = \"https://c.example\"").expect("a config");
    assert_eq!(config, CloudConfig::new("https://c.example"));
    assert_eq!(config.check(), []);
    let again = toml::to_string(&config).expect("toml");
    assert_eq!(toml::from_str::<CloudConfig>(&again).expect("again"), config);
    for bad in [
        "url = \"x\"\ntoken = \"x\"",
        "url = \"x\"\nack = \"body\"",
        "url = \"x\"\nrate = \"1KiB\"",
    ] {
        assert!(toml::from_str::<CloudConfig>(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_yes_that_anybody_could_give_is_not_asked_for() {
    for (text, wanted) in [
        ("url = \"http://127.0.0.1:8080/in\"", &[][..]),
        ("url = \"http://localhost\"", &[]),
        ("url = \"http://192.168.1.5/in\"", &["ack"]),
        ("url = \"http://192.168.1.5/in\"\nack = \"echo\"", &[]),
        ("url = \"http://cloud.example.com\"\nack = \"echo\"", &["url"]),
        ("url = \"http://cloud.example.com\"\nack = \"echo\"\ninsecure = true", &[]),
        ("url = \"http://cloud.example.com\"\ninsecure = true", &["ack"]),
        ("url = \"http://127.0.0.1\"\nproxy = \"http://10.0.0.1:3128\"", &["ack"]),
        ("url = \"otlp+https://c.example:4318\"", &[]),
        ("url = \"otlp+http://127.0.0.1:4318\"", &[]),
        ("url = \"otlp+http://192.168.1.5:4318\"", &["url"]),
        ("url = \"otlp+http://c.example\"", &["url"]),
        ("url = \"otlp+ftp://c.example\"", &["url"]),
        ("url = \"otlp+https://c.example\"\nack = \"echo\"", &["ack"]),
        ("url = \"otlp+http://127.0.0.1\"\nca_file = \"x\"", &["ca_file"]),
        ("url = \"https://c.example\"\nsamples = \"https://f.example/files\"", &[]),
        ("url = \"otlp+https://c.example\"\nsamples = \"http://127.0.0.1:1080/files/\"", &[]),
        ("url = \"https://c.example\"\nsamples = \"http://192.168.1.5/files\"", &["samples"]),
        ("url = \"https://c.example\"\nsamples = \"ftp://c.example\"", &["samples"]),
        ("mqtt = \"local\"\nsamples = \"https://f.example/files\"", &["samples"]),
        ("url = \"https://c.example\"\nproxy = \"http://10.0.0.1:3128\"", &[]),
        ("url = \"https://c.example\"\nproxy = \"http://proxy.example:3128\"", &[]),
        ("url = \"https://c.example\"\nproxy = \"https://10.0.0.1:3128\"", &["proxy"]),
        ("url = \"http://10.0.0.2\"\nack = \"echo\"\nproxy = \"http://proxy.example\"", &["proxy"]),
    ] {
        assert_eq!(keys(text), wanted, "{text}");
    }
}

#[test]
fn every_problem_is_told_at_once() {
    let text = "url = \"https://c.example\"\ncert_file = \"c.pem\"\nmax_batch = \"1B\"\n\
                max_records = 0\nmax_delay = \"2h\"\ntimeout = \"0s\"\nrecheck = \"1ms\"";
    let wanted = ["key_file", "max_batch", "max_records", "max_delay", "timeout", "recheck"];
    assert_eq!(keys(text), wanted);
    assert_eq!(keys("url = \"ftp://c.example\"\nproxy = \"x\""), ["url", "proxy"]);
    assert_eq!(keys("ack = \"echo\""), ["url"]);
    assert_eq!(keys("url = \"https://c.example\"\nmqtt = \"up\""), ["mqtt"]);
    assert_eq!(keys("mqtt = \"up\"\ntoken_file = \"x\"\nack = \"echo\""), ["token_file", "ack"]);
    assert_eq!(keys("mqtt = \"up\"\ndaily = \"10MiB\""), Vec::<String>::new());
}

#[test]
fn files_may_come_later() {
    let mut config = CloudConfig::new("https://c.example");
    config.ca_file = Some("/nonexistent/ca.pem".into());
    config.token_file = Some("/nonexistent/token".into());
    assert_eq!(config.check(), []);
    let found = config.check_files();
    let keys: Vec<_> = found.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["ca_file", "token_file"]);
    assert!(found[1].message.contains("/nonexistent/token"), "{found:?}");
}
