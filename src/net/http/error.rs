//! Why a request was not answered.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use rustls::AlertDescription;
use thiserror::Error;

use crate::net::{NetError, Url};

/// Why a request was not answered.
#[derive(Debug, Error)]
pub enum HttpError {
    /// Nobody there, or no way there.
    #[error("cannot connect to {host}")]
    Connect {
        /// Host and port.
        host: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The certificates of this device cannot be used as they are.
    #[error("no TLS with {host}")]
    Files {
        /// Host and port.
        host: String,
        /// Which file, and why.
        source: NetError,
    },
    /// The proxy does not lead there.
    #[error("the proxy {proxy} gives no way to {host}: {why}")]
    Proxy {
        /// Host and port of the proxy.
        proxy: String,
        /// Host and port.
        host: String,
        /// What it answered.
        why: String,
    },
    /// The server is the right one, and does not take this device for the right one.
    #[error(
        "{host} wants another certificate of this device ({alert:?}); see cert_file and key_file"
    )]
    Identity {
        /// Host and port.
        host: String,
        /// What the server says of the certificate, or of there being none (RFC 8446 section 6.2).
        alert: AlertDescription,
    },
    /// Somebody is there, and it is not who it should be or does not speak TLS.
    #[error("no TLS with {host}")]
    Tls {
        /// Host and port.
        host: String,
        /// The reason.
        source: io::Error,
    },
    /// The deadline passed.
    #[error("no whole answer from {host} within {within:?}")]
    Timeout {
        /// Host and port.
        host: String,
        /// The deadline.
        within: Duration,
    },
    /// The connection broke, or what came back is not HTTP.
    #[error("the exchange with {host} failed")]
    Exchange {
        /// Host and port.
        host: String,
        /// The reason.
        source: hyper::Error,
    },
    /// The answer is over the limit.
    #[error("{host} answered with more than {most} bytes")]
    TooLarge {
        /// Host and port.
        host: String,
        /// The limit.
        most: usize,
    },
}

impl HttpError {
    /// A handshake that failed.
    pub(super) fn tls(url: &Url, source: io::Error) -> Self {
        let host = url.to_string();
        match refusal(&source) {
            Some(alert) => Self::Identity { host, alert },
            None => Self::Tls { host, source },
        }
    }

    /// An exchange that failed. In TLS 1.3 this device is through with the handshake before the server has seen
    /// its certificate.
    pub(super) fn exchange(url: &Url, source: hyper::Error) -> Self {
        let host = url.to_string();
        match refusal(&source) {
            Some(alert) => Self::Identity { host, alert },
            None => Self::Exchange { host, source },
        }
    }

    /// This device has no network: nobody was asked, and asking again soon burdens nobody.
    pub fn is_offline(&self) -> bool {
        use io::ErrorKind::{HostUnreachable, NetworkDown, NetworkUnreachable};
        match self {
            // A name that cannot be looked up is the one failure that bears no number of the system's.
            Self::Connect { source, .. } => {
                source.raw_os_error().is_none()
                    || matches!(source.kind(), HostUnreachable | NetworkDown | NetworkUnreachable)
            }
            _ => false,
        }
    }
}

/// What the server has against the certificate of this device, if that is what an error is about.
fn refusal(error: &(dyn StdError + 'static)) -> Option<AlertDescription> {
    use AlertDescription as Alert;
    let mut next = Some(error);
    let alert = loop {
        let error = next?;
        let within = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        match within.and_then(|error| error.downcast_ref()) {
            Some(rustls::Error::AlertReceived(alert)) => break *alert,
            _ => next = error.source(),
        }
    };
    let is_of_certificates = matches!(
        alert,
        Alert::AccessDenied
            | Alert::BadCertificate
            | Alert::CertificateExpired
            | Alert::CertificateRequired
            | Alert::CertificateRevoked
            | Alert::CertificateUnknown
            | Alert::DecryptError
            | Alert::UnknownCA
            | Alert::UnsupportedCertificate
    );
    is_of_certificates.then_some(alert)
}
