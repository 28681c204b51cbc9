//! Where a broker's URL points.

/// Host and port, and whether TLS is spoken there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: bool,
}

/// Reads `mqtt://host[:port]` and `mqtts://host[:port]`, and nothing else.
pub(super) fn parse_url(url: &str) -> Option<Endpoint> {
    let (scheme, rest) = url.split_once("://")?;
    let (tls, default_port) = match scheme {
        "mqtt" => (false, 1883),
        "mqtts" => (true, 8883),
        _ => return None,
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match authority.strip_prefix('[').and_then(|a| a.split_once(']')) {
        Some((address, "")) => (address, None),
        Some((address, after)) => (address, Some(after.strip_prefix(':')?)),
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let odd = |c: char| c.is_whitespace() || c.is_control() || "/?#@[]".contains(c);
    if host.is_empty() || host.len() > 253 || host.contains(odd) {
        return None;
    }
    let port = port.map_or(Some(default_port), |p| p.parse().ok().filter(|p| *p != 0))?;
    Some(Endpoint { host: host.to_owned(), port, tls })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn urls_are_read_and_rubbish_is_refused() {
        let endpoint = |host: &str, port, tls| Some(Endpoint { host: host.to_owned(), port, tls });
        assert_eq!(parse_url("mqtt://pi.local"), endpoint("pi.local", 1883, false));
        assert_eq!(parse_url("mqtts://10.0.0.1/"), endpoint("10.0.0.1", 8883, true));
        assert_eq!(parse_url("mqtt://[::1]:1884"), endpoint("::1", 1884, false));
        assert_eq!(parse_url("mqtt://[::1]"), endpoint("::1", 1883, false));
        for bad in [
            "",
            "localhost",
            "http://a",
            "mqtt://",
            "mqtt://a:",
            "mqtt://a:0",
            "mqtt://a:99999",
            "mqtt://u:p@h",
            "mqtt://a/b",
            "mqtt://[::1]1883",
            "mqtt://a b",
            "MQTT://a",
        ] {
            assert_eq!(parse_url(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_url_panics(url in "(mqtts?://)?\\PC{0,40}") {
            if let Some(endpoint) = parse_url(&url) {
                prop_assert!(!endpoint.host.is_empty());
            }
        }
    }
}
