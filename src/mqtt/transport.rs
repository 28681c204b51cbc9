//! A byte stream to the broker: TCP, or TLS over it.

use std::io;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::net::{TlsConfig, client_config};

use super::endpoint::Endpoint;

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Opens a stream. Small packets are sent at once (`TCP_NODELAY`): waiting for more of them costs a
/// millisecond each.
pub(super) async fn open(endpoint: &Endpoint, tls: &TlsConfig) -> Result<Box<dyn Stream>, String> {
    let Endpoint { host, port, .. } = endpoint;
    let at = |error: io::Error| format!("{host}:{port}: {}", super::with_sources(&error));
    let tcp = TcpStream::connect((host.as_str(), *port)).await.map_err(at)?;
    tcp.set_nodelay(true).map_err(at)?;
    if !endpoint.tls {
        return Ok(Box::new(tcp));
    }
    let client = client_config(tls).map_err(|error| super::with_sources(&error))?;
    let name = ServerName::try_from(host.clone())
        .map_err(|_| format!("{host} is no name that a certificate can hold"))?;
    let stream = TlsConnector::from(client).connect(name, tcp).await.map_err(at)?;
    Ok(Box::new(stream))
}
