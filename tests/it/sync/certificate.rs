//! A cloud that lets in who has a certificate of its own authority, and a service that has another.

use std::path::Path;

use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;

use super::*;
use crate::outbox::{recorded, records, subscribed, until, verify, with_outbox};
use crate::support::cloud::{Doorman, identity_for};
use crate::support::{Authority, Mosquitto, Peer, site};

/// A cloud for the devices of that authority, and the certificate that vouches for the cloud.
async fn cloud_for(devices: &Authority) -> (Cloud, String) {
    let mut roots = RootCertStore::empty();
    roots.add(devices.der()).expect("an authority");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
    let (acceptor, ca) = identity_for("localhost", verifier.build().expect("a verifier"));
    let doorman: Doorman = Box::new(move || Some(acceptor.clone()));
    (Cloud::listen("127.0.0.1", |_| OK, Some(doorman)).await, ca)
}

/// Puts a device's certificate and its key where the service looks for them.
fn put(directory: &Path, (certificate, key): &(String, String)) {
    for (name, text) in [("device.crt", certificate), ("device.key", key)] {
        eir::disk::replace(&directory.join(name), text.as_bytes()).expect("written");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_that_is_put_right_on_disk_opens_the_cloud() {
    const MESSAGES: u64 = 20;
    let broker = Mosquitto::start();
    let directory = tempfile::tempdir().expect("tempdir");
    let at = directory.path();
    let (devices, strangers) = (Authority::new(), Authority::new());
    let (cloud, ca) = cloud_for(&devices).await;
    eir::disk::replace(&at.join("ca.pem"), ca.as_bytes()).expect("written");
    put(at, &strangers.sign("test"));
    let files = [("ca_file", "ca.pem"), ("cert_file", "device.crt"), ("key_file", "device.key")];
    let files = files.map(|(key, name)| format!("{key} = \"{}\"\n", at.join(name).display()));
    let more = format!(
        "[cloud.main]\nurl = \"{}\"\n{}max_delay = \"10ms\"\nrecheck = \"1s\"\n\
         backoff = {{ first = \"10ms\", max = \"200ms\" }}",
        cloud.tls_url(),
        files.concat()
    );
    let (file, path) = with_outbox(at, broker.port(), &more);
    let mut peer = Peer::connect("peer", broker.port()).await;
    peer.subscribe("plant/+/alarm").await;
    let mut process = subscribed(&file, &mut peer).await;
    for number in 0..MESSAGES {
        peer.publish("plant/a/vibration", site::window("outer_race", number)).await;
    }
    let advice = "see cert_file and key_file";
    let line = within(advice, process.says(advice)).await;
    let host = format!("localhost:{}", cloud.port());
    assert!(line.contains("ERROR") && line.contains(&host), "{line}");
    let all: BTreeSet<_> = (0..MESSAGES).collect();
    until("every decision on disk", || recorded(&path).is_superset(&all)).await;
    let kept: BTreeSet<_> = records(&path).iter().map(|record| record.id.to_string()).collect();
    assert_eq!(cloud.asked().len(), 0);

    put(at, &devices.sign("test"));
    process.says("records leave again").await;
    let all_there = || set(cloud.accepted()).is_superset(&kept);
    until("every record at the cloud", all_there).await;
    process.signal("TERM");
    let (status, log) = process.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
    verify(&path);
    assert!(records(&path).is_empty(), "all are delivered, the one of the end too");
}
