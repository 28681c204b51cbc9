//! Over the air: what others make of our repositories, and we of theirs.

use std::path::Path;

use eir::task::{Clock, SystemClock};
use eir::update::archive;
use eir::update::author::{Lifetimes, Repository, Roles};
use eir::update::release::{About, Content};
use eir::update::sign::{Key, Scheme};
use eir::update::source::Directory;
use eir::update::store::{Store, StoreError};
use eir::update::trust::Trusted;

use super::support::{client, eir, site};

/// python-tuf's client: it begins with the first root and fetches all that is published.
const CLIENT: &str = r#"
import pathlib, sys
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import Updater
from tuf.ngclient.fetcher import FetcherInterface

class Files(FetcherInterface):
    def _fetch(self, url):
        try:
            yield pathlib.Path(url).read_bytes()
        except FileNotFoundError:
            raise DownloadHTTPError("not there", 404)

repository, place, *wanted = sys.argv[1:]
place = pathlib.Path(place)
for name in ("metadata", "targets"):
    (place / name).mkdir(parents=True, exist_ok=True)
root = pathlib.Path(repository, "metadata", "1.root.json").read_bytes()
updater = Updater(str(place / "metadata"), repository + "/metadata/", str(place / "targets"),
                  repository + "/targets/", fetcher=Files(), bootstrap=root)
updater.refresh()
for name in wanted:
    found = updater.get_targetinfo(name)
    assert found is not None, name
    path = pathlib.Path(updater.download_target(found))
    print(name, path.read_bytes().decode(), found.custom["note"], found.custom["waves"])
assert updater.get_targetinfo("models/defects/99.tar.zst") is None
print("done")
"#;

/// A repository as python-tuf makes it, with Ed25519 and ECDSA keys.
const KEEPER: &str = r#"
import datetime, pathlib, sys
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (DelegatedRole, Key, Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp)

place = pathlib.Path(sys.argv[1])
metadata, targets = place / "metadata", place / "targets"
(targets / "config" / "rules").mkdir(parents=True)
metadata.mkdir()
until = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) + datetime.timedelta(days=1)
ed25519, ecdsa = CryptoSigner.generate_ed25519, CryptoSigner.generate_ecdsa
signers = {"root": [ed25519(), ecdsa(), ed25519()], "targets": [ecdsa()], "snapshot": [ed25519()], "timestamp": [ed25519()]}
root = Root(expires=until)
for role, of in signers.items():
    for signer in of:
        root.add_key(signer.public_key, role)
root.roles["root"].threshold = 2

def write(name, signed, by):
    whole = Metadata(signed)
    for signer in by:
        whole.sign(signer, append=True)
    data = whole.to_bytes()
    (metadata / name).write_bytes(data)
    return MetaFile.from_data(signed.version, data, ["sha256"])

list_ = Targets(expires=until)
target = TargetFile.from_data("config/rules/1.toml", b"[rules]", ["sha256"])
target.unrecognized_fields["custom"] = {"note": "Nachtschicht für Øst \u65e5\u672c \"\\", "waves": [], "needs": {}}
list_.targets["config/rules/1.toml"] = target
write("1.root.json", root, signers["root"][:2])
snapshot = Snapshot(expires=until)
snapshot.meta["targets.json"] = write("1.targets.json", list_, signers["targets"])
timestamp = Timestamp(expires=until)
timestamp.snapshot_meta = write("1.snapshot.json", snapshot, signers["snapshot"])
write("timestamp.json", timestamp, signers["timestamp"])
# The next root: one key less, one more, signed by both.
root.version = 2
root.revoke_key(signers["root"][0].public_key.keyid, "root")
new = ed25519()
root.add_key(new.public_key, "root")
write("2.root.json", root, signers["root"][:2] + [new])
print("done")
"#;

/// Runs a script with python-tuf; none: it is not here.
fn python(script: &str, arguments: &[&str]) -> Option<String> {
    let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let said = client(("tuf", "tuf.ngclient"), script, &arguments)?;
    assert!(said.ends_with("done\n"), "{said}");
    Some(said)
}

/// What a device believes that comes for the first time.
pub(super) fn seen(directory: &Path) -> Result<Trusted, StoreError> {
    let device = tempfile::tempdir().expect("tempdir");
    let root = std::fs::read(directory.join("metadata/1.root.json")).expect("there");
    let (store, mut trusted, _) = Store::open(device.path(), &root)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let source = Directory(directory.to_owned());
    runtime.block_on(store.refresh(&mut trusted, &source, SystemClock.wall()))?;
    Ok(trusted)
}

#[test]
fn python_tufs_client_takes_what_we_publish_over_a_rotation_of_all_keys() {
    let place = tempfile::tempdir().expect("tempdir");
    let directory = place.path().join("repository");
    let schemes = [Scheme::Ed25519, Scheme::Ecdsa, Scheme::Ecdsa, Scheme::Ed25519];
    let ring = || schemes.map(|scheme| Key::generate(scheme).expect("random"));
    let [old, new] = [ring(), ring()];
    let roles = |[first, second, targets, online]: &'static [Key; 4]| Roles {
        root: (2, vec![first, second]),
        targets: (1, vec![targets]),
        online,
    };
    let [old, new] = [old, new].map(|ring| -> &'static [Key; 4] { Box::leak(Box::new(ring)) });
    let (now, lifetimes) = (SystemClock.wall(), Lifetimes::default());
    let mut repository = Repository::init(&directory, &roles(old), lifetimes, now).expect("made");
    let custom = r#"{"note": "für alle, \"日本\"", "waves": [{"percent": 0.5, "after": "0s"}]}"#;
    let about: About = serde_json::from_str(custom).expect("custom");
    let targets = ["models/defects/4.tar.zst", "config/rules/12.toml"];
    for (target, bytes) in targets.iter().zip(["weights", "rules"]) {
        let content = Content::of(target).expect("a release");
        repository.add(&content, bytes.as_bytes(), &about).expect("added");
    }
    repository.publish(&[&old[2], &old[3]], now).expect("published");
    let [directory, client] =
        [directory, place.path().join("client")].map(|path| path.display().to_string());
    let arguments = [directory.as_str(), client.as_str(), targets[0], targets[1]];
    let Some(said) = python(CLIENT, &arguments) else { return };
    let about = "für alle, \"日本\" [{'after': '0s', 'percent': '0.5'}]";
    let expected = format!(
        "models/defects/4.tar.zst weights {about}\nconfig/rules/12.toml rules {about}\ndone\n"
    );
    assert_eq!(said, expected);
    // The client has been here before, and comes again.
    repository.rotate(&roles(new), &[&old[0], &old[1]], now).expect("replaced");
    assert_eq!(python(CLIENT, &arguments).expect("it is here"), expected);
}

#[test]
fn a_repository_that_python_tuf_made_is_believed() {
    let place = tempfile::tempdir().expect("tempdir");
    let directory = place.path().display().to_string();
    if python(KEEPER, &[&directory]).is_none() {
        return;
    }
    let trusted = seen(place.path()).expect("believed");
    assert_eq!(trusted.next_root().get(), 3);
    let (name, target) = trusted.targets().next().expect("one target");
    assert_eq!((name, target.length), ("config/rules/1.toml", 7));
    let custom = serde_json::to_value(&target.custom).expect("json");
    let about: About = serde_json::from_value(custom).expect("custom");
    assert_eq!(about.note, "Nachtschicht für Øst 日本 \"\\");
    // One byte of what was signed, and nobody believes it.
    let path = place.path().join("metadata/1.targets.json");
    let text = std::fs::read_to_string(&path).expect("there");
    let length = |length: &str| text.replace("\"length\": 7", &format!("\"length\": {length}"));
    let other = if length("8") == text {
        text.replace("\"length\":7", "\"length\":8")
    } else {
        length("8")
    };
    assert_ne!(other, text);
    eir::disk::replace(&path, other.as_bytes()).expect("written");
    let error = seen(place.path()).expect_err("it was changed").to_string();
    assert!(error.contains("the targets is another"), "{error}");
}

const PASSPHRASE: &str = "correct horse battery staple";

/// `eir release …` in a directory; what it says, and its exit code.
pub(super) fn release(place: &Path, arguments: &[&str]) -> (String, Option<i32>) {
    let mut command = eir();
    command.arg("release").args(arguments).current_dir(place);
    let output = command.env("EIR_KEY_PASSPHRASE", PASSPHRASE).output().expect("eir");
    let said = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&said).into_owned(), output.status.code())
}

#[test]
fn a_repository_is_made_and_kept_on_the_command_line() {
    let place = tempfile::tempdir().expect("tempdir");
    let done = |arguments: &[&str]| {
        let (said, code) = release(place.path(), arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
        said
    };
    done(&["init"]);
    let bearing = site::models().join("bearing/1").display().to_string();
    done(&["add", "model", &bearing, "--note", "from the spring", "--label", "site=oslo"]);
    let rules = place.path().join("rules.toml");
    eir::disk::replace(&rules, b"[pipeline.a.rule.b]\nwhen = \"true\"\n").expect("written");
    let config = ["add", "config", "rules.toml", "--name", "night", "--version", "3"];
    done(&config);
    done(&["waves", "models/bearing/1.tar.zst", "0.5%:0s,10%:1d,100%:3d"]);
    let said = done(&["status"]);
    assert!(
        said.contains("to be published") && said.contains("0.5%:0s,10%:1day,100%:3days"),
        "{said}"
    );
    assert_eq!(done(&["publish"]), "2 changes are published\n");
    let said = done(&["status"]);
    for told in ["from the spring", "config/night/3.toml", "timestamp signed until"] {
        assert!(said.contains(told), "{said}");
    }
    assert_eq!(said.matches(" published ").count(), 3, "{said}");
    let trusted = seen(&place.path().join("repository")).expect("believed");
    assert_eq!(trusted.targets().count(), 2);
    // Only the online key is left, as where the renewal runs by itself.
    let online = place.path().join("online");
    std::fs::create_dir(&online).expect("directory");
    std::fs::copy(place.path().join("keys/online.pem"), online.join("online.pem")).expect("copied");
    assert_eq!(done(&["publish", "--keys", "online"]), "nothing is new; signatures are renewed\n");
    done(&["halt", "models/bearing/1.tar.zst"]);
    let (said, code) = release(place.path(), &["publish", "--keys", "online"]);
    assert!(code == Some(1) && said.contains("too few keys for targets: 0 of the 1"), "{said}");
    done(&["withdraw", "config/night/3.toml"]);
    done(&["publish"]);
    let trusted = seen(&place.path().join("repository")).expect("believed");
    let abouts: Vec<_> = trusted.targets().map(|(_, target)| About::of(target)).collect();
    assert!(matches!(&abouts[..], [about] if about.halted && about.labels["site"] == "oslo"));
    // What changed a little is told to be small.
    for (version, last) in [(1, "old"), (2, "new")] {
        let lines = (0..2000_u32).map(|i| format!("# {:x}\n", i.wrapping_mul(0x9e37_79b9)));
        let text = lines.chain([format!("# {last}\n")]).collect::<String>();
        eir::disk::replace(&rules, text.as_bytes()).expect("written");
        let version = version.to_string();
        let said = done(&["add", "config", "rules.toml", "--name", "day", "--version", &version]);
        assert_eq!(said.contains(" B to whoever has config/day/1.toml\n"), last == "new", "{said}");
        assert_eq!(done(&["publish"]), "1 change is published\n");
    }
    assert!(!done(&["status"]).contains("deltas"));
    // What is halted goes on, and a stick has what is published alone.
    done(&["resume", "models/bearing/1.tar.zst"]);
    assert!(done(&["status"]).contains("to be changed"));
    done(&["publish"]);
    assert!(!done(&["status"]).contains("halted"));
    done(&["bundle", "stick.tar.zst"]);
    let (stick, unpacked) = (place.path().join("stick.tar.zst"), place.path().join("unpacked"));
    let file = std::fs::File::open(stick).expect("the bundle");
    let limits = archive::Limits { bytes: 1 << 30, entries: 1000 };
    archive::unpack(file, &unpacked, limits).expect("unpacked");
    assert_eq!(seen(&unpacked).expect("believed").targets().count(), 4);
    assert!(
        !unpacked.join("targets/deltas").exists()
            && !unpacked.join("targets/config/night").exists()
    );
    // A layer together with the device that it is for.
    let device = format!("{}\n[models]\ndir = \"{}\"\n", site::BEARING, site::models().display());
    eir::disk::replace(&place.path().join("device.toml"), device.as_bytes()).expect("written");
    let rule = |when: &str| format!("[pipeline.bearing.rule.night]\nwhen = \"{when}\"\n");
    let layer = [
        "add",
        "config",
        "rules.toml",
        "--name",
        "late",
        "--version",
        "1",
        "--with",
        "device.toml",
    ];
    for (text, wrong) in [
        (rule("scores['healty'] < 0.1"), Some("healty")),
        ("[update]\nevery = \"1h\"\n".to_owned(), Some("[update] is a matter of the device")),
        (rule("scores['healthy'] < 0.1"), None),
    ] {
        eir::disk::replace(&rules, text.as_bytes()).expect("written");
        let (said, code) = release(place.path(), &layer);
        assert!(said.contains(wrong.unwrap_or("is added")), "{said}");
        assert_eq!(code == Some(0), wrong.is_none(), "{said}");
    }
    done(&["publish"]);
    // Other keys for all of it.
    for key in ["root-1", "root-2", "targets", "online"] {
        done(&["key", key, "--keys", "new", "--scheme", "ecdsa-sha2-nistp256"]);
    }
    done(&["rotate", "--keys", "new", "--old", "keys"]);
    assert!(release(place.path(), &["publish"]).1 == Some(1), "the old keys");
    done(&["publish", "--keys", "new"]);
    assert_eq!(seen(&place.path().join("repository")).expect("believed").next_root().get(), 3);
}

#[test]
fn what_does_not_work_is_not_signed() {
    let place = tempfile::tempdir().expect("tempdir");
    let made = release(place.path(), &["init", "--root-keys", "1", "--threshold", "1"]);
    assert_eq!(made.1, Some(0), "{}", made.0);
    // A model that gives other answers than it promises.
    let model = place.path().join("models/bearing/2");
    let from = site::models().join("bearing/1");
    std::fs::create_dir_all(model.join("golden")).expect("directory");
    for below in ["", "golden"] {
        for entry in std::fs::read_dir(from.join(below)).expect("there").flatten() {
            if entry.path().is_file() {
                let to = model.join(below).join(entry.file_name());
                std::fs::copy(entry.path(), to).expect("copied");
            }
        }
    }
    let golden = std::fs::read_dir(model.join("golden")).expect("there").flatten();
    let sample =
        golden.map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "json"));
    let sample = sample.expect("a sample");
    let mut text: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&sample).expect("there")).expect("json");
    for score in text["expect"]["scores"].as_object_mut().expect("scores").values_mut() {
        *score = 0.123.into();
    }
    eir::disk::replace(&sample, text.to_string().as_bytes()).expect("written");
    eir::disk::replace(&place.path().join("none"), b"[no table\n").expect("written");
    let model = model.display().to_string();
    for (arguments, told) in [
        (&["add", "model", &model][..], "does not give its golden answers on"),
        (&["add", "model", "nowhere"], "nowhere"),
        (&["add", "config", "none", "--name", "a", "--version", "1"], "none: "),
        (&["add", "config", "none", "--name", "a", "--version", "0"], "0 is not in 1.."),
        (
            &[
                "add",
                "binary",
                "none",
                "--version",
                "0.5.0",
                "--target",
                "aarch64-unknown-linux-gnu",
            ],
            "is no program for aarch64",
        ),
        (&["add", "binary", "none", "--version", "0.5.0", "--target", "vax"], "`vax` is not known"),
        (&["waves", "models/a/1.tar.zst", "10%:1d"], "neither published nor added"),
        (&["waves", "models/a/1.tar.zst", "10%"], "`10%` is no wave"),
        (&["key", "root-9", "--scheme", "rsa"], "write ed25519 or ecdsa-sha2-nistp256"),
        (&["halt", "model a"], "`model a` is no release"),
        (&["withdraw", "models/a/1.tar.zst"], "is not published"),
        (&["init"], "there is a repository already"),
    ] {
        let (said, code) = release(place.path(), arguments);
        assert!(code != Some(0) && said.contains(told), "{arguments:?}: {said}");
    }
    assert_eq!(release(place.path(), &["status"]).0.lines().next(), Some("nothing is published"));
}
