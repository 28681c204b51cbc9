//! Passwords, certificates, and the group of the key exchange.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use eir::broker::{Broker, BrokerConfig, UserConfig};
use eir::mqtt::{ConnectionConfig, LinkState, QoS, Version};
use rustls::NamedGroup;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::support::Authority;
use crate::support::mosquitto::{Mosquitto, write};
use crate::support::mqtt::{Client, SOON, config};

const BOTH: [Version; 2] = [Version::V5, Version::V4];

fn refused(state: &LinkState) -> bool {
    matches!(state, LinkState::Connecting { last_error: Some(error), .. }
        if error.contains("not authorized") || error.contains("user name"))
}

/// The right password opens, a wrong one and none do not.
async fn check_passwords(url: &str, directory: &Path) {
    let (right, wrong) = (directory.join("right"), directory.join("wrong"));
    write(&right, "secret\n");
    write(&wrong, "guess\n");
    for version in BOTH {
        let mut ann = config(url, version);
        ann.username = Some("ann".to_owned());
        ann.password_file = Some(right.clone());
        let mut client = Client::up("ann", &ann, &[("t", QoS::AtLeastOnce)]).await;
        client.publish("t", "hello", QoS::AtLeastOnce).await;
        assert_eq!(client.next_text().await, "hello");
        client.stop().await;

        let guess = ConnectionConfig { password_file: Some(wrong.clone()), ..ann.clone() };
        let client = Client::start("ann", &guess);
        client.wait(refused).await;
        // The file is read at each attempt: with the right password in it, the link heals.
        write(&wrong, "secret\n");
        client.wait(LinkState::is_up).await;
        client.stop().await;
        write(&wrong, "guess\n");

        let client = Client::start("nobody", &config(url, version));
        client.wait(refused).await;
        client.stop().await;
    }
}

#[tokio::test]
async fn passwords_open_mosquitto() {
    let directory = tempfile::tempdir().expect("tempdir");
    let passwords = directory.path().join("passwords");
    let status = Command::new("mosquitto_passwd")
        .args(["-b", "-c"])
        .arg(&passwords)
        .args(["ann", "secret"])
        .status()
        .expect("mosquitto_passwd");
    assert!(status.success());
    let lines =
        format!("allow_anonymous false\npassword_file {}\nuser root\n", passwords.display());
    let mosquitto = Mosquitto::with(&lines);
    check_passwords(&format!("mqtt://127.0.0.1:{}", mosquitto.port()), directory.path()).await;
}

#[tokio::test]
async fn passwords_open_the_embedded_broker() {
    let directory = tempfile::tempdir().expect("tempdir");
    let password_file = directory.path().join("ann");
    write(&password_file, "secret");
    let broker = Broker::start(&BrokerConfig {
        listen: "127.0.0.1:0".to_owned(),
        users: [("ann".to_owned(), UserConfig { password_file })].into(),
        ..BrokerConfig::default()
    })
    .expect("broker");
    check_passwords(&format!("mqtt://{}", broker.local_addr()), directory.path()).await;
}

/// A private authority and what it signed, as files.
struct Pki {
    directory: tempfile::TempDir,
}

impl Pki {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("tempdir");
        let authority = Authority::new();
        write(&directory.path().join("ca.pem"), &authority.pem());
        for (name, subject) in [("server", "localhost"), ("client", "device")] {
            let (certificate, key) = authority.sign(subject);
            write(&directory.path().join(format!("{name}.pem")), &certificate);
            write(&directory.path().join(format!("{name}.key")), &key);
        }
        Self { directory }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn client(&self, port: u16, version: Version) -> ConnectionConfig {
        let mut config = config(&format!("mqtts://localhost:{port}"), version);
        config.ca_file = Some(self.file("ca.pem"));
        config.cert_file = Some(self.file("client.pem"));
        config.key_file = Some(self.file("client.key"));
        config
    }
}

#[tokio::test]
async fn a_private_authority_and_a_client_certificate_open_mosquitto() {
    let pki = Pki::new();
    let mosquitto = Mosquitto::with(&format!(
        "allow_anonymous true\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\nuser root\n",
        pki.file("ca.pem").display(),
        pki.file("server.pem").display(),
        pki.file("server.key").display(),
    ));
    for version in BOTH {
        let config = pki.client(mosquitto.port(), version);
        assert_eq!(config.check(), []);
        let mut client = Client::up("tls", &config, &[("t", QoS::AtLeastOnce)]).await;
        let payload = "x".repeat(1 << 20);
        client.publish("t", &payload, QoS::AtLeastOnce).await;
        assert_eq!(client.next_text().await, payload);
        client.stop().await;

        let stranger = ConnectionConfig { cert_file: None, key_file: None, ..config.clone() };
        let failed =
            |state: &LinkState| matches!(state, LinkState::Connecting { last_error: Some(_), .. });
        let client = Client::start("stranger", &stranger);
        client.wait(failed).await;
        client.stop().await;

        let other = ConnectionConfig { ca_file: Some(Pki::new().file("ca.pem")), ..config };
        let client = Client::start("other", &other);
        client.wait(failed).await;
        client.stop().await;
    }
}

#[tokio::test]
async fn the_key_exchange_is_the_post_quantum_hybrid() {
    let pki = Pki::new();
    let certificate = CertificateDer::from_pem_file(pki.file("server.pem")).expect("certificate");
    let key = PrivateKeyDer::from_pem_file(pki.file("server.key")).expect("key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("server");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    let client = Client::start("hybrid", &pki.client(port, Version::V5));
    let (tcp, _) = timeout(SOON, listener.accept()).await.expect("in time").expect("accept");
    let handshake = TlsAcceptor::from(Arc::new(server)).accept(tcp);
    let stream = timeout(SOON, handshake).await.expect("in time").expect("handshake");
    let group = stream.get_ref().1.negotiated_key_exchange_group().expect("a group").name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
    client.stop().await;
}
