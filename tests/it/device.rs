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
