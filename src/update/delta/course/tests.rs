use std::collections::HashMap;

use jiff::Timestamp;

use super::*;
use crate::update::author::{Lifetimes, Repository, Roles};
use crate::update::delta::{self, Plain, Said, ends};
use crate::update::release::About;
use crate::update::sign::{Key, Scheme};
use crate::update::source::{CHUNK, Directory};

const MOST_FETCHED: u64 = 64 << 20;

fn noise(seed: u32) -> Vec<u8> {
    let mix = |i: u32| {
        let mixed = (i ^ (seed << 20)).wrapping_mul(0x9e37_79b9);
        (mixed ^ (mixed >> 15)).wrapping_mul(0x85eb_ca6b)
    };
    (0..200_000).map(|i| mix(i).to_be_bytes()[0]).collect()
}

/// A repository and a device, with as many releases as were published.
struct Site {
    place: tempfile::TempDir,
    repository: Repository,
    keys: [Key; 2],
}

impl Site {
    fn new() -> Self {
        let place = tempfile::tempdir().expect("tempdir");
        let keys = [(); 2].map(|()| Key::generate(Scheme::default()).expect("random"));
        let roles =
            Roles { root: (1, vec![&keys[0]]), targets: (1, vec![&keys[0]]), online: &keys[1] };
        let directory = place.path().join("repository");
        let made =
            Repository::init(&directory, &roles, Lifetimes::default(), Timestamp::UNIX_EPOCH);
        fs::create_dir(place.path().join("download")).expect("directory");
        Self { repository: made.expect("made"), keys, place }
    }

    fn download(&self) -> PathBuf {
        self.place.path().join("download")
    }

    /// Publishes a version of a model, and says how large the patches are that lead to it.
    fn model(&mut self, version: u32, weights: &[u8]) -> Vec<u64> {
        let directory = self.place.path().join(format!("model-{version}"));
        fs::create_dir_all(&directory).expect("directory");
        disk::replace(&directory.join("model.onnx"), weights).expect("file");
        let bytes = archive::pack(&directory).expect("packed");
        self.publish(&format!("models/m/{version}.tar.zst"), &bytes)
    }

    fn publish(&mut self, name: &str, bytes: &[u8]) -> Vec<u64> {
        let content = Content::of(name).expect("a release");
        let told = self.repository.add(&content, bytes, &About::default()).expect("added");
        let keys: Vec<_> = self.keys.iter().collect();
        self.repository.publish(&keys, Timestamp::UNIX_EPOCH).expect("published");
        told.iter().map(|patch| patch.length).collect()
    }

    fn target(&self, name: &str) -> Target {
        let found = self.repository.releases().find(|(known, _)| *known == name);
        found.expect("published").1.clone()
    }

    /// All that is signed, patches too.
    fn targets(&self) -> HashMap<String, Target> {
        let list = fs::read_dir(self.place.path().join("repository/metadata")).expect("there");
        let lists = list.flatten().map(|entry| entry.path());
        let version = |path: &PathBuf| -> Option<u64> {
            path.file_name()?.to_str()?.strip_suffix(".targets.json")?.parse().ok()
        };
        let newest = lists.filter(|path| version(path).is_some()).max_by_key(version);
        let text = fs::read(newest.expect("a list")).expect("there");
        let list: serde_json::Value = serde_json::from_slice(&text).expect("json");
        serde_json::from_value(list["signed"]["targets"].clone()).expect("targets")
    }

    fn offered(&self, name: &str) -> Offered {
        let targets = self.targets();
        let targets = targets.iter().map(|(name, target)| (name.as_str(), target));
        delta::offered(targets, &self.download(), &self.target(name), u64::MAX)
    }

    fn patch(&self, name: &str) -> Option<Patch> {
        self.offered(name).patch
    }

    /// Fetches a release as a device does; the bytes that came.
    async fn fetch(&self, name: &str, patch: Option<Patch>) -> Result<u64, DownloadError> {
        let source = Directory(self.place.path().join("repository"));
        let (directory, target) = (self.download(), self.target(name));
        let offered = Offered { patch, ..self.offered(name) };
        let mut course = Course::open(directory, name.to_owned(), target, offered, MOST_FETCHED)?;
        let mut came = 0;
        loop {
            let before = course.progress().0;
            if !course.step(&source, CHUNK).await? {
                break;
            }
            came += course.progress().0.saturating_sub(before);
        }
        Ok(came)
    }

    /// The weights as the device has them.
    fn weights(&self, name: &str) -> Vec<u8> {
        let archive = self.download().join(hex(&self.target(name).hashes.sha256));
        let into = self.place.path().join("unpacked");
        let limits = archive::Limits { bytes: MOST_FETCHED, entries: 10 };
        let tar = delta::open(&archive).expect("there");
        archive::unpack_tar(tar, &into, limits).expect("unpacked");
        let weights = fs::read(into.join("model.onnx")).expect("weights");
        fs::remove_dir_all(into).expect("removed");
        weights
    }

    fn files(&self) -> Vec<String> {
        let files = fs::read_dir(self.download()).expect("there").flatten();
        let mut files: Vec<_> =
            files.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        files.sort();
        files
    }
}

/// Some weights changed.
fn trained(weights: &[u8]) -> Vec<u8> {
    let mut weights = weights.to_vec();
    weights.iter_mut().step_by(100).for_each(|weight| *weight = weight.wrapping_add(1));
    weights
}

const FIRST: &str = "models/m/1.tar.zst";
const SECOND: &str = "models/m/2.tar.zst";
const THIRD: &str = "models/m/3.tar.zst";

#[tokio::test]
async fn what_has_changed_is_fetched_and_serves_as_the_base_of_the_next() {
    let mut site = Site::new();
    let first = noise(1);
    assert!(site.model(1, &first).is_empty());
    let whole = site.fetch(FIRST, site.patch(FIRST)).await.expect("fetched");
    assert!(site.patch(FIRST).is_none() && whole > 150_000, "{whole}");
    let second = trained(&first);
    let lengths = site.model(2, &second);
    assert!(lengths.len() == 1 && lengths[0] < whole / 10, "{lengths:?} of {whole}");
    let came = site.fetch(SECOND, site.patch(SECOND)).await.expect("fetched");
    assert_eq!((came, site.weights(SECOND)), (lengths[0], second.clone()));
    let hash = |name| hex(&site.target(name).hashes.sha256);
    let mut here = vec![hash(FIRST), format!("{}.tar", hash(SECOND))];
    here.sort();
    assert_eq!(site.files(), here);
    // It is there, and not fetched once more.
    assert_eq!(site.fetch(SECOND, site.patch(SECOND)).await.expect("there"), 0);
    // What was damaged since is made anew.
    let made = site.download().join(format!("{}.tar", hash(SECOND)));
    let mut damaged = fs::read(&made).expect("made");
    damaged[1000] ^= 1;
    disk::replace(&made, &damaged).expect("written");
    assert_eq!(site.fetch(SECOND, site.patch(SECOND)).await.expect("made anew"), lengths[0]);
    assert_eq!(site.weights(SECOND), second);
    // From what came out of a patch, and is not packed.
    fs::remove_file(site.download().join(hash(FIRST))).expect("removed");
    let third = trained(&second[..150_000]);
    let lengths = site.model(3, &third);
    assert_eq!(lengths.len(), 2);
    let came = site.fetch(THIRD, site.patch(THIRD)).await.expect("fetched");
    assert_eq!((came, site.weights(THIRD)), (lengths[0], third));
}

#[tokio::test]
async fn a_program_comes_out_under_its_own_hash() {
    let mut site = Site::new();
    let first = noise(2);
    let names = ["eir/0.9.0/t", "eir/0.10.0/t"];
    site.publish(names[0], &first);
    site.publish("eir/0.9.5/other", &first);
    site.fetch(names[0], None).await.expect("fetched");
    let second = [&b"more"[..], &trained(&first)].concat();
    let lengths = site.publish(names[1], &second);
    assert_eq!(lengths.len(), 1, "none from what is for another machine");
    let came = site.fetch(names[1], site.patch(names[1])).await.expect("fetched");
    assert_eq!(came, lengths[0]);
    let hash = hex(&site.target(names[1]).hashes.sha256);
    assert_eq!(fs::read(site.download().join(hash)).expect("there"), second);
    assert_eq!(site.files().len(), 2);
}

/// Makes a patch be of no use.
type Spoil<'a> = &'a dyn Fn(&Site, &mut Patch);

#[tokio::test]
async fn what_is_of_no_use_gives_way_to_the_whole_for_good() {
    let other = |patch: &mut Patch| {
        patch.base = patch.base.with_file_name("other");
        disk::replace(&patch.base, &zstd::stream::encode_all(&noise(9)[..], 1).expect("memory"))
            .expect("file");
    };
    let cases: [(&str, Spoil<'_>); 6] = [
        ("it is not in the repository", &|_, patch| patch.name.push('0')),
        ("it has other bytes", &|site, patch| {
            let path = crate::update::download::hosted(&patch.name, &patch.target.hashes.sha256);
            let path = site.place.path().join("repository").join(path);
            let mut bytes = fs::read(&path).expect("there");
            bytes[20] ^= 1;
            disk::replace(&path, &bytes).expect("written");
        }),
        ("it was made for another file", &|_, patch| other(patch)),
        ("its old file is damaged", &|_, patch| {
            disk::replace(&patch.base, b"no archive").expect("file");
        }),
        ("another hash was signed", &|_, patch| {
            patch.plain.sha256 = vec![0; 32].into();
        }),
        ("another length was signed", &|_, patch| patch.plain.length -= 1),
    ];
    for (told, spoil) in cases {
        let mut site = Site::new();
        let first = noise(1);
        site.model(1, &first);
        site.fetch(FIRST, None).await.expect("fetched");
        let second = trained(&first);
        site.model(2, &second);
        let mut patch = site.patch(SECOND).expect("offered");
        spoil(&site, &mut patch);
        let whole = site.target(SECOND).length;
        let came = site.fetch(SECOND, Some(patch)).await.expect(told);
        assert!(came >= whole, "{told}: {came} of {whole}");
        assert_eq!(site.weights(SECOND), second, "{told}");
        let left = site.files();
        assert!(left.iter().all(|file| !file.contains('.')), "{told}: {left:?}");
    }
}

/// The power goes while a patch is applied, or the process with it: the whole comes, and not the patch once more.
#[tokio::test]
async fn a_patch_that_was_cut_off_is_not_tried_again() {
    let mut site = Site::new();
    site.model(1, &noise(1));
    site.fetch(FIRST, None).await.expect("fetched");
    let second = trained(&noise(1));
    site.model(2, &second);
    let archive = site.download().join(hex(&site.target(SECOND).hashes.sha256));
    disk::replace(&archive.with_extension("part"), b"").expect("begun");
    disk::replace(&archive.with_extension("tar.new"), b"half of it").expect("left");
    let came = site.fetch(SECOND, site.patch(SECOND)).await.expect("fetched");
    assert_eq!((came, site.weights(SECOND)), (site.target(SECOND).length, second));
    // All was there when the power went: it is verified again, and not fetched.
    assert_eq!(site.fetch(SECOND, site.patch(SECOND)).await.expect("there"), 0);
}

#[test]
fn patches_go_with_the_release_that_they_lead_to_and_are_worth_it() {
    let mut site = Site::new();
    let mut weights = noise(1);
    for version in 1..=5 {
        site.model(version, &weights);
        weights = trained(&weights);
    }
    let patches = |site: &Site| {
        let mut found: HashMap<String, usize> = HashMap::new();
        for (name, target) in site.targets() {
            if let Some((_, to)) = ends(&name) {
                *found.entry(to.to_owned()).or_default() += 1;
                assert!(!target.custom.contains_key("published"));
            }
        }
        found
    };
    let hash = |site: &Site, version: u32| {
        hex(&site.target(&format!("models/m/{version}.tar.zst")).hashes.sha256)
    };
    let found = patches(&site);
    let count = |version| found.get(&hash(&site, version)).copied().unwrap_or(0);
    assert_eq!([1, 2, 3, 4, 5].map(count), [0, 1, 2, 3, 3]);
    assert_eq!(site.repository.releases().count(), 5);
    let fifth = hash(&site, 5);
    site.repository.withdraw(&Content::of("models/m/5.tar.zst").expect("it")).expect("there");
    assert_eq!(site.repository.draft().expect("a draft").len(), 1);
    site.repository.publish(&[&site.keys[0], &site.keys[1]], Timestamp::UNIX_EPOCH).expect("out");
    assert!(!patches(&site).contains_key(&fifth));
    // Other weights, and what is small anyway.
    assert!(site.model(6, &noise(99)).is_empty());
    site.publish("config/rules/1.toml", b"[rules]");
    assert!(site.publish("config/rules/2.toml", b"[rules]\n").is_empty());
}

#[test]
fn what_is_not_understood_or_has_no_room_is_not_offered() {
    let mut site = Site::new();
    site.model(1, &noise(1));
    site.model(2, &trained(&noise(1)));
    assert!(site.patch(SECOND).is_none(), "the old file is not here");
    let base = site.download().join(hex(&site.target(FIRST).hashes.sha256));
    disk::replace(&base, b"").expect("file");
    assert!(site.patch(SECOND).is_some());
    let (name, target) =
        site.targets().into_iter().find(|(name, _)| ends(name).is_some()).expect("a patch");
    let offered = |target: &Target, room| {
        let all = std::iter::once((name.as_str(), target));
        delta::offered(all, &site.download(), &site.target(SECOND), room).patch.is_some()
    };
    assert!(offered(&target, 1 << 20) && !offered(&target, 500_000));
    let with = |key: &str, value: serde_json::Value| {
        let mut target = target.clone();
        target.custom.insert(key.to_owned(), value);
        target
    };
    assert!(!offered(&with("form", 2.into()), u64::MAX));
    let sha256 = vec![0; 32];
    let plain = serde_json::to_value(Plain { sha256: sha256.into(), length: MOST + 1 });
    assert!(!offered(&with("plain", plain.expect("json")), u64::MAX));
    assert!(!offered(&with("plain", serde_json::Value::Null), u64::MAX));
    assert!(Said::of(&site.target(SECOND)).is_none(), "a release is no patch");
}
