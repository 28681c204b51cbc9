//! A power loss at every point while releases come and go: what was written and not synced may be gone, in part or in
//! whole. What serves is whole, the old or the new; what had its end keeps it; and the next start reaches the end.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

use super::*;
use crate::disk::power::{
    Change, Image, Recording, contents, directory, files, images, lay_out, record, unlike,
    whole as all,
};

/// At each point so many images in which each file keeps something else.
const MIXED: usize = 4;

/// What was there, what was done, and what is to come of it.
struct Story {
    recording: Recording,
    undo: bool,
    /// What serves in the end, and what before.
    after: u64,
    before: u64,
}

impl Story {
    /// Of a device that has nothing.
    fn first() -> Self {
        let directory = directory();
        keep(directory.path())(1);
        Self::record(directory.path(), (0, 1))
    }

    /// Of one that has the first version.
    async fn next() -> Self {
        let directory = directory();
        prepare(directory.path()).await;
        Self::record(directory.path(), (1, 2))
    }

    /// Of one that has the second, and is to go back.
    async fn back() -> Self {
        let directory = directory();
        prepare(directory.path()).await;
        drive(directory.path(), false).await;
        disk::replace(&directory.path().join("undo"), b"").expect("noted");
        Self::record(directory.path(), (2, 1))
    }

    fn record(site: &Path, (before, after): (u64, u64)) -> Self {
        let recording = record(site, "update::kill::child", SITE);
        // Nothing went unseen.
        assert_eq!(unlike(&contents(&recording, &all(&recording)), &files(site)), [""; 0]);
        Self { recording, undo: after < before, after, before }
    }

    /// Goes on from what a power loss at that point left.
    async fn go_on(&self, image: &Image, point: usize) {
        let Self { before, after, .. } = *self;
        let directory = directory();
        let site = directory.path();
        lay_out(&self.recording, image, site);
        let ended: Vec<_> = self.recording.notes(point).collect();
        let kinds = ["Model ended", "Config ended", "Binary ended"];
        for (kind, version) in kinds.into_iter().zip(serves(site)) {
            assert!(
                version == after || version == before && !ended.contains(&kind),
                "{kind}: {version}"
            );
        }
        // Three starts at most, as of any release that is cut off.
        drive(site, self.undo).await;
        drive(site, false).await;
        assert_eq!(serves(site), [after; 3]);
    }

    /// Everything that a power loss could have left is looked at: how much that was, and where the first is that is wrong.
    async fn lose_power_everywhere(&self) -> (usize, Option<String>) {
        let images = images(&self.recording, MIXED, 1);
        for (image, point) in &images {
            if AssertUnwindSafe(self.go_on(image, *point)).catch_unwind().await.is_err() {
                let last = &self.recording.changes[point - 1];
                let found = format!("power lost after change {point} ({last})\n{image:?}");
                return (images.len(), Some(found));
            }
        }
        (images.len(), None)
    }
}

#[tokio::test]
async fn a_power_loss_while_the_first_releases_come_leaves_them_or_nothing() {
    let (images, wrong) = Story::first().lose_power_everywhere().await;
    assert_eq!(wrong, None);
    assert!(images > 150, "only {images} images");
}

#[tokio::test]
async fn a_power_loss_leaves_the_old_or_the_new() {
    let (images, wrong) = Story::next().await.lose_power_everywhere().await;
    assert_eq!(wrong, None);
    assert!(images > 300, "only {images} images");
}

#[tokio::test]
async fn a_power_loss_on_the_way_back_leaves_a_way() {
    let (images, wrong) = Story::back().await.lose_power_everywhere().await;
    assert_eq!(wrong, None);
    assert!(images > 80, "only {images} images");
}

/// Without these it is found out at once; `EIR_TORTURE_UPDATE` tries all that are not [`MENDED`].
const NEEDED: [&str; 7] = [
    "update/config",
    "update/journal",
    "update/models/a",
    "update/slots",
    "update/slots.json.new",
    "update/staging",
    "update/staging/binary-0.2.0/eir",
];

/// What is looked at before it is relied on, and fetched or noted anew where it is damaged: all that begins so.
const MENDED: [&str; 4] = ["update/download/", "update/ended", "update/journal/", "update/trust"];

/// That the tests above can fail: a device that never syncs one of its files or directories is found out.
#[tokio::test]
async fn without_any_of_its_syncs_an_update_is_lost() {
    let mut story = Story::next().await;
    let changes = story.recording.changes.clone();
    let mut paths: BTreeSet<_> = changes.iter().filter_map(synced).collect();
    // Nothing is made or moved in the directory of all models; each has one of its own.
    let is_mended = |path: &str| {
        path == "update/models" || MENDED.iter().any(|mended| path.starts_with(mended))
    };
    paths.retain(|path| !is_mended(path));
    if std::env::var_os("EIR_TORTURE_UPDATE").is_none() {
        assert!(NEEDED.iter().all(|needed| paths.contains(needed)), "{paths:?}");
        paths = NEEDED.into();
    }
    for path in paths {
        let kept = changes.iter().filter(|change| synced(change) != Some(path));
        story.recording.changes = kept.cloned().collect();
        let (_, wrong) = story.lose_power_everywhere().await;
        assert!(wrong.is_some(), "nobody finds {path} missing");
    }
}

fn synced(change: &Change) -> Option<&str> {
    match change {
        Change::Sync(path) => Some(path),
        _ => None,
    }
}
