//! An address that may be spoken to: `https://host:port/path`.

use std::fmt;

use hyper::Uri;
use hyper::http::uri::PathAndQuery;
use thiserror::Error;

use super::is_private_or_loopback;

/// The address of an HTTP endpoint, checked: a known scheme, a host, and nothing in the clear that
/// leaves the site unless that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    uri: Uri,
    tls: bool,
    host: String,
    port: u16,
}

/// A text that is no address to send to.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UrlError {
    /// It cannot be read as an address at all.
    #[error("{0:?} is no address; write it like \"https://example.com/path\"")]
    Malformed(String),
    /// Another scheme than HTTP.
    #[error("scheme `{0}` is not known; use https:// or http://")]
    Scheme(String),
    /// A password in an address ends up in logs.
    #[error("user and password do not belong in an address; send them as a header from token_file")]
    UserInfo,
    /// Plain text would leave the site.
    #[error("http:// to {0} crosses the network in the clear; use https:// or set insecure = true")]
    Insecure(String),
}

impl Url {
    /// Reads the address of an HTTP proxy. TLS is spoken with what is behind it; with the proxy itself none is.
    pub fn proxy(text: &str) -> Result<Self, String> {
        let url = Self::parse(text, true).map_err(|error| error.to_string())?;
        if url.is_tls() {
            return Err(format!("no TLS is spoken with a proxy; write http://{url}"));
        }
        Ok(url)
    }

    /// Reads an address. `insecure` allows `http://` beyond loopback and private addresses.
    pub fn parse(text: &str, insecure: bool) -> Result<Self, UrlError> {
        let malformed = || UrlError::Malformed(text.chars().take(80).collect());
        let uri: Uri = text.parse().map_err(|_| malformed())?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(other) => return Err(UrlError::Scheme(other.to_owned())),
            None => return Err(malformed()),
        };
        let authority = uri.authority().ok_or_else(malformed)?;
        if authority.as_str().contains('@') {
            return Err(UrlError::UserInfo);
        }
        let bracketed = authority.host();
        let inside = bracketed.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = inside.unwrap_or(bracketed).to_owned();
        if host.is_empty() {
            return Err(malformed());
        }
        if !tls && !insecure && !is_private_or_loopback(&host) {
            return Err(UrlError::Insecure(host));
        }
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            // A colon with no number that fits behind it.
            None if authority.as_str().len() > bracketed.len() => return Err(malformed()),
            None if tls => 443,
            None => 80,
        };
        Ok(Self { uri, tls, host, port })
    }

    /// The address that a reference in an answer from here leads to (RFC 3986 section 5.2, but for dots, which are
    /// left to the server).
    pub fn join(&self, reference: &str, insecure: bool) -> Result<Self, UrlError> {
        let scheme = if self.tls { "https" } else { "http" };
        let own = self.path_and_query().split('?').next().unwrap_or_default();
        let directory = own.rsplit_once('/').map_or("", |(directory, _)| directory);
        let is_absolute = reference.starts_with("http://") || reference.starts_with("https://");
        let text = match reference.as_bytes() {
            _ if is_absolute => reference.to_owned(),
            [b'/', b'/', ..] => format!("{scheme}:{reference}"),
            [b'/', ..] => format!("{scheme}://{}{reference}", self.authority()),
            [b'?', ..] => format!("{scheme}://{}{own}{reference}", self.authority()),
            _ => format!("{scheme}://{}{directory}/{reference}", self.authority()),
        };
        Self::parse(&text, insecure)
    }

    /// Whoever answers there answers here, too.
    pub fn is_same_server(&self, other: &Self) -> bool {
        let server = |url: &Self| (url.tls, url.host.to_ascii_lowercase(), url.port);
        server(self) == server(other)
    }

    /// The whole of it as text; not for logs.
    pub fn text(&self) -> String {
        self.uri.to_string()
    }

    /// The host as a name or an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, as written or as the scheme implies.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Whether TLS is spoken.
    pub const fn is_tls(&self) -> bool {
        self.tls
    }

    /// The value of the `Host` header.
    pub(super) fn authority(&self) -> &str {
        self.uri.authority().map_or(&self.host, |authority| authority.as_str())
    }

    /// Host and port in one, an IPv6 address in brackets: what a proxy is asked for (RFC 9112 section 3.2.3).
    pub(super) fn host_and_port(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The whole of it: what stands in a request line to a proxy (RFC 9112 section 3.2.2).
    pub(super) const fn uri(&self) -> &Uri {
        &self.uri
    }

    /// What stands in the request line.
    pub fn path_and_query(&self) -> &str {
        self.uri.path_and_query().map_or("/", PathAndQuery::as_str)
    }
}

/// Host and port alone: a path or query may hold a secret, and this is for logs.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_read_and_refused_with_a_reason() {
        let url = Url::parse("https://example.com/a?b=c", false).expect("address");
        assert_eq!((url.host(), url.port(), url.is_tls()), ("example.com", 443, true));
        assert_eq!((url.path_and_query(), url.authority()), ("/a?b=c", "example.com"));
        let url = Url::parse("http://[::1]:8080", false).expect("address");
        assert_eq!((url.host(), url.port(), url.path_and_query()), ("::1", 8080, "/"));
        assert_eq!(url.authority(), "[::1]:8080");
        assert_eq!(url.host_and_port(), "[::1]:8080");
        let url = Url::parse("https://h:1/files/new?x=1", false).expect("address");
        for (reference, whole, same) in [
            ("https://H:1/a", "https://H:1/a", true),
            ("/files/7?y", "https://h:1/files/7?y", true),
            ("7", "https://h:1/files/7", true),
            ("?id=7", "https://h:1/files/new?id=7", true),
            ("//other/7", "https://other/7", false),
            ("https://h/files/7", "https://h/files/7", false),
            ("http://10.0.0.1:1/7", "http://10.0.0.1:1/7", false),
        ] {
            let joined = url.join(reference, false).expect(reference);
            assert_eq!((joined.text(), joined.is_same_server(&url)), (whole.to_owned(), same));
        }
        for reference in ["http://h:1/7", "https://me:secret@h:1/7", "a b", "7\r\nX: 1"] {
            url.join(reference, false).expect_err(reference);
        }
        for (text, error) in [
            ("http://example.com/", "set insecure = true"),
            ("ftp://10.0.0.1/", "scheme `ftp`"),
            ("https://me:secret@example.com/", "token_file"),
            ("example.com", "no address"),
            ("https://example.com:99999/", "no address"),
            ("/only/a/path", "no address"),
        ] {
            let found = Url::parse(text, false).expect_err(text).to_string();
            assert!(found.contains(error), "{text}: {found}");
        }
        assert!(Url::parse("http://example.com/", true).is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_an_address_or_a_mistake(text in any::<String>(), insecure: bool) {
            let _url = Url::parse(&text, insecure);
        }
    }
}
