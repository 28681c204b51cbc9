//! `eir device init`: a machine is made this device, and made so again.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::support::eir;

/// The exit code and everything that was said.
fn init(directory: &Path, arguments: &[&str]) -> (i32, String) {
    let output = eir()
        .args(["device", "init", "--directory"])
        .arg(directory)
        .args(arguments)
        .output()
        .expect("eir");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().expect("code"), String::from_utf8_lossy(&said).into_owned())
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("file").permissions().mode() & 0o777
}

#[test]
fn a_device_is_set_up_once_and_stays_so() {
    let directory = tempfile::tempdir().expect("tempdir");
    let etc = directory.path().join("etc/eir");
    let password = directory.path().join("password");
    eir::disk::replace(&password, b"secret\n").expect("password");
    let password = password.to_str().expect("text");
    let arguments = [
        "--broker",
        "mqtts://broker.example.com",
        "--id",
        "press-07",
        "--label",
        "site=lyon",
        "--username",
        "press",
        "--password-file",
        password,
        "--client-certificate",
    ];
    let (code, said) = init(&etc, &arguments);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("device.csr") && said.contains("eir check"), "{said}");
    assert!(!said.contains("secret"), "{said}");

    let keys = etc.join("keys");
    assert_eq!(mode(&keys), 0o700);
    assert_eq!(mode(&keys.join("device.key")), 0o600);
    assert_eq!(mode(&keys.join("local.password")), 0o600);
    let request = Command::new("openssl")
        .args(["req", "-verify", "-noout", "-subject", "-in"])
        .arg(keys.join("device.csr"))
        .output()
        .expect("openssl");
    let subject = String::from_utf8_lossy(&request.stdout).into_owned();
    assert!(request.status.success() && subject.contains("press-07"), "{subject}");

    let read = || -> Vec<_> {
        ["eir.toml", "conf.d/50-device.toml", "keys/device.key", "keys/device.csr"]
            .map(|name| std::fs::read(etc.join(name)).expect(name))
            .into()
    };
    let before = read();
    let (code, said) = init(&etc, &arguments);
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains("written"), "{said}");
    assert_eq!(before, read());

    // What a person wrote stays; the broker changes, the key does not.
    eir::disk::replace(&etc.join("eir.toml"), b"[mqtt.local]\nurl = \"mqtt://127.0.0.1\"\n")
        .expect("file");
    let (code, said) = init(&etc, &["--broker", "mqtt://192.168.1.5"]);
    assert_eq!(code, 0, "{said}");
    let layer = std::fs::read_to_string(etc.join("conf.d/50-device.toml")).expect("layer");
    assert!(layer.contains("mqtt://192.168.1.5") && !layer.contains("key_file"), "{layer}");
    assert_eq!(read()[2], before[2]);
}

/// Whatever could not be read counted as absent, and the key that a certificate was signed for was replaced.
#[test]
fn a_key_that_cannot_be_read_is_not_replaced() {
    let directory = tempfile::tempdir().expect("tempdir");
    let arguments = ["--broker", "mqtts://broker.example.com", "--client-certificate"];
    let (code, said) = init(directory.path(), &arguments);
    assert_eq!(code, 0, "{said}");
    let key = directory.path().join("keys/device.key");
    for rubbish in [b"rubbish \xff".to_vec(), vec![b'x'; 70_000]] {
        eir::disk::replace(&key, &rubbish).expect("rubbish");
        let (code, said) = init(directory.path(), &arguments);
        assert_ne!(code, 0);
        assert!(said.contains("device.key"), "{said}");
        assert_eq!(std::fs::read(&key).expect("key"), rubbish);
    }
}

/// It was cut at the limit, which makes another password of it.
#[test]
fn a_password_that_is_too_long_is_refused() {
    let directory = tempfile::tempdir().expect("tempdir");
    let long = directory.path().join("long");
    eir::disk::replace(&long, &vec![b'x'; 70_000]).expect("password");
    let output = eir()
        .args(["device", "init", "--broker", "mqtt://127.0.0.1", "--username", "a"])
        .args(["--password-file", "-", "--directory"])
        .arg(directory.path().join("etc"))
        .stdin(std::fs::File::open(&long).expect("password"))
        .output()
        .expect("eir");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(66), "{said}");
    assert!(said.contains("65536 bytes"), "{said}");
    assert!(!directory.path().join("etc").exists());
}

#[test]
fn a_broker_that_cannot_be_is_refused_and_nothing_is_written() {
    let directory = tempfile::tempdir().expect("tempdir");
    let etc = directory.path().join("etc");
    for (broker, wanted) in [("http://x", "mqtt"), ("mqtt://broker.example.com", "insecure")] {
        let (code, said) = init(&etc, &["--broker", broker]);
        assert_eq!(code, 78, "{said}");
        assert!(said.contains(wanted) && said.contains("50-device.toml"), "{said}");
    }
    let (code, said) = init(&etc, &["--broker", "mqtt://127.0.0.1", "--label", "site"]);
    assert_eq!(code, 64, "{said}");
    let (code, said) = init(
        &etc,
        &["--broker", "mqtt://127.0.0.1", "--username", "a", "--password-file", "/nowhere"],
    );
    assert_eq!(code, 66, "{said}");
    assert!(said.contains("/nowhere"), "{said}");
    assert!(!etc.exists());
}

#[test]
fn a_cloud_is_added_to_what_is_there_and_its_token_is_for_the_service_alone() {
    let directory = tempfile::tempdir().expect("tempdir");
    let etc = directory.path().join("etc/eir");
    let token = directory.path().join("token");
    let ca = directory.path().join("ca.pem");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("certificate");
    eir::disk::replace(&ca, made.cert.pem().as_bytes()).expect("ca");
    eir::disk::replace(&token, b"s3cret-token\n").expect("token");
    let (code, said) = init(&etc, &["--broker", "mqtt://192.168.1.5", "--id", "press-07"]);
    assert_eq!(code, 0, "{said}");
    let arguments = [
        "--cloud",
        "https://ingest.example.com/v1/eir",
        "--cloud-token-file",
        token.to_str().expect("text"),
        "--cloud-ca-file",
        ca.to_str().expect("text"),
    ];
    let (code, said) = init(&etc, &arguments);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("main.token") && said.contains("eir check"), "{said}");
    assert!(!said.contains("s3cret"), "{said}");
    let kept = etc.join("keys/main.token");
    assert_eq!((mode(&etc.join("keys")), mode(&kept)), (0o700, 0o600));
    assert_eq!(std::fs::read(&kept).expect("token"), b"s3cret-token\n");

    let read = || std::fs::read_to_string(etc.join("conf.d/50-device.toml")).expect("layer");
    let layer = read();
    for part in ["mqtt://192.168.1.5", "press-07", "[cloud.main]", "main.token", "ca.pem"] {
        assert!(layer.contains(part), "{part} in {layer}");
    }
    let (code, said) = init(&etc, &arguments);
    assert_eq!((code, read()), (0, layer), "{said}");
    assert!(!said.contains("written"), "{said}");
    // What the layer says is what eir takes.
    let check = eir().args(["check", "--config"]).arg(etc.join("eir.toml")).output().expect("eir");
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(!said.contains("cloud."), "{said}");

    // A second one beside it; the broker anew; both clouds stay.
    let (code, said) = init(&etc, &["--cloud", "https://10.0.0.9/in", "--cloud-name", "spare"]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = init(&etc, &["--broker", "mqtt://192.168.1.6"]);
    assert_eq!(code, 0, "{said}");
    let layer = read();
    for part in ["mqtt://192.168.1.6", "press-07", "main.token", "[cloud.spare]"] {
        assert!(layer.contains(part), "{part} in {layer}");
    }
}

#[test]
fn a_cloud_that_cannot_be_is_refused_and_nothing_is_written() {
    let directory = tempfile::tempdir().expect("tempdir");
    let etc = directory.path().join("etc");
    for (cloud, wanted) in [("mqtt://x", "scheme"), ("http://cloud.example.com", "insecure")] {
        let (code, said) = init(&etc, &["--cloud", cloud]);
        assert_eq!(code, 78, "{said}");
        assert!(said.contains(wanted) && said.contains("50-device.toml"), "{said}");
    }
    let token = ["--cloud", "https://c.example", "--cloud-token-file", "/nowhere"];
    let (code, said) = init(&etc, &token);
    assert_eq!(code, 66, "{said}");
    assert!(said.contains("--cloud-token-file /nowhere"), "{said}");
    let both = [
        &["--broker", "mqtt://127.0.0.1", "--username", "a", "--password-file", "-"][..],
        &["--cloud", "https://c.example", "--cloud-token-file", "-"],
    ]
    .concat();
    for wrong in
        [&[][..], &["--cloud-token-file", "/x"], &["--ca-file", "/x", "--cloud", "x"], &both]
    {
        let (code, said) = init(&etc, wrong);
        assert_eq!(code, 64, "{wrong:?}: {said}");
    }
    assert!(!etc.exists());
}
