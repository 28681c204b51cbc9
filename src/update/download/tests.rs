use std::collections::HashMap;
use std::sync::Mutex;

use hyper::body::Bytes;
use tough::schema::Hashes;

use super::*;
use crate::update::source::CHUNK;

/// One file, of which so many bytes come before the network is gone for once.
struct Flaky {
    bytes: Vec<u8>,
    until: Mutex<Vec<u64>>,
    given: Mutex<u64>,
}

impl Flaky {
    fn new(bytes: &[u8], until: &[u64]) -> Self {
        let until = Mutex::new(until.to_vec());
        Self { bytes: bytes.to_vec(), until, given: Mutex::default() }
    }
}

impl Source for Flaky {
    async fn read(&self, path: &str, from: u64, most: u64) -> Result<Option<Bytes>, FetchError> {
        if let Some(until) = self.until.lock().expect("no panic").pop_if(|until| *until <= from) {
            let reason = format!("the network was gone at {until}");
            return Err(FetchError::Later { path: path.to_owned(), reason, after: None });
        }
        let all = self.bytes.len() as u64;
        let range =
            [from.min(all), (from + most).min(all)].map(|at| usize::try_from(at).expect("small"));
        let bytes = self.bytes[range[0]..range[1]].to_vec();
        *self.given.lock().expect("no panic") += bytes.len() as u64;
        Ok(Some(bytes.into()))
    }
}

const NAME: &str = "models/defects/4.tar.zst";
const MOST: u64 = 64 << 20;

fn bytes() -> Vec<u8> {
    (0..3_500_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()[0]).collect()
}

fn target(bytes: &[u8]) -> Target {
    Target {
        length: bytes.len() as u64,
        hashes: Hashes { sha256: Sha256::digest(bytes).to_vec().into(), _extra: HashMap::new() },
        custom: HashMap::new(),
        _extra: HashMap::new(),
    }
}

async fn fetched(
    directory: &Path,
    target: &Target,
    source: &Flaky,
) -> Result<PathBuf, DownloadError> {
    let mut download = Download::open(directory, NAME, target, MOST)?;
    while download.step(source, CHUNK).await? {}
    download.finish()
}

fn files(directory: &Path) -> usize {
    fs::read_dir(directory).expect("there").count()
}

#[tokio::test]
async fn what_is_there_already_is_not_fetched_again() {
    let (place, bytes) = (tempfile::tempdir().expect("tempdir"), bytes());
    let source = Flaky::new(&bytes, &[3 << 20, 1 << 20, 0]);
    let target = target(&bytes);
    for _ in 0..3 {
        let error = fetched(place.path(), &target, &source).await.expect_err("no network");
        assert!(error.to_string().contains("the network was gone"), "{error}");
    }
    let path = fetched(place.path(), &target, &source).await.expect("all of it");
    assert_eq!(fs::read(&path).expect("there"), bytes);
    assert_eq!(*source.given.lock().expect("no panic"), bytes.len() as u64);
    assert_eq!(files(place.path()), 1);
}

#[tokio::test]
async fn what_was_not_signed_for_is_removed() {
    let (place, bytes) = (tempfile::tempdir().expect("tempdir"), bytes());
    let target = target(&bytes);
    let mut changed = bytes.clone();
    changed[2_000_000] ^= 1;
    let error =
        fetched(place.path(), &target, &Flaky::new(&changed, &[])).await.expect_err("changed");
    assert!(error.to_string().contains("its SHA-256 is "), "{error}");
    assert_eq!(files(place.path()), 0);
    let cut = &bytes[..1_000_000];
    let error = fetched(place.path(), &target, &Flaky::new(cut, &[])).await.expect_err("cut off");
    assert!(error.to_string().contains("ends after 1000000 of 3500000 bytes"), "{error}");
    assert_eq!(files(place.path()), 1, "what is there stays");
    let path = fetched(place.path(), &target, &Flaky::new(&bytes, &[])).await.expect("the rest");
    fs::remove_file(path).expect("there");
    // What another hand left is no beginning of it.
    for left in [&changed[..], &[bytes.clone(), vec![0]].concat()] {
        let part = place.path().join(format!("{}.part", hex(&target.hashes.sha256)));
        disk::replace(&part, left).expect("written");
        let source = Flaky::new(&bytes, &[]);
        // More than there should be is seen at once, and the rest in the end: that is nobody's fault who publishes.
        let first = fetched(place.path(), &target, &source).await;
        assert!(matches!(first, Ok(_) | Err(DownloadError::Torn(_))), "{first:?}");
        let path = fetched(place.path(), &target, &source).await.expect("from the beginning");
        fs::remove_file(path).expect("there");
    }
    let error = Download::open(place.path(), NAME, &target, 1 << 20).expect_err("too large");
    assert!(error.to_string().ends_with("has 3500000 bytes, 1048576 may be downloaded"), "{error}");
}

#[test]
fn a_target_is_hosted_by_its_hash() {
    assert_eq!(hosted(NAME, &[0xab, 1]), "targets/models/defects/ab01.4.tar.zst");
    assert_eq!(hosted("file", &[0xab, 1]), "targets/ab01.file");
}
