//! TLS with a private authority over loopback, straight and through a proxy.

use std::path::{Path, PathBuf};

use eir::task::Group;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

fn file(directory: &Path, text: &str) -> PathBuf {
    let path = directory.join("ca.pem");
    eir::disk::replace(&path, text.as_bytes()).expect("written");
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_authority_is_believed_and_no_other() {
    let directory = tempfile::tempdir().expect("tempdir");
    let (other, wrong) = Cloud::start_tls(|_| OK).await;
    let (cloud, right) = Cloud::start_tls(|_| OK).await;
    let device = Device::new(&["main"]);
    let ids = device.some(10).await;
    let mut config = config(&cloud.tls_url());
    config.ca_file = Some(directory.path().join("ca.pem"));
    let sync = device.sync("main", &config);
    let missing = until(&sync, "no authority", |status| status.problem.is_some()).await;
    assert!(missing.problem.expect("a problem").contains("ca.pem"));
    file(directory.path(), &wrong);
    let no_tls = |status: &CloudStatus| {
        status.problem.as_ref().is_some_and(|problem| problem.contains("certificate"))
    };
    until(&sync, "a stranger", no_tls).await;
    assert_eq!((device.stored(), cloud.asked().len()), (10, 0));
    // The authority that is put there later is believed at the next connection.
    file(directory.path(), &right);
    device.holds(0).await;
    assert_eq!(set(cloud.accepted()), ids);
    assert_eq!(other.asked().len(), 0);
    sync.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_carries_what_it_cannot_read() {
    let directory = tempfile::tempdir().expect("tempdir");
    let (cloud, ca) = Cloud::start_tls(|_| OK).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let proxy = format!("http://{}", listener.local_addr().expect("address"));
    let mut group = Group::default();
    group.spawn("proxy", async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(near.read_u8().await.expect("a head"));
            }
            let head = String::from_utf8(head).expect("text");
            let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
            let mut far = TcpStream::connect(target.expect("a target")).await.expect("the cloud");
            near.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.expect("written");
            let _ended = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        }
    });
    let device = Device::new(&["main"]);
    let ids = device.some(10).await;
    let mut config = config(&cloud.tls_url());
    config.ca_file = Some(file(directory.path(), &ca));
    config.proxy = Some(proxy);
    let sync = device.sync("main", &config);
    device.holds(0).await;
    assert_eq!(set(cloud.accepted()), ids);
    sync.stop(Duration::from_secs(5)).await;
}
