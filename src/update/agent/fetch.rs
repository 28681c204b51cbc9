//! How a release's bytes come, piece by piece.

use std::time::{Duration, Instant};

use super::error::failed;
use super::{Agent, Fetched};
use crate::task::Clock;
use crate::update::delta::{self, Course};
use crate::update::download::Download;
use crate::update::integrity::Serves;
use crate::update::journal::Subject;
use crate::update::layout::free;
use crate::update::machine::State;
use crate::update::source::Source;

/// How long it is waited for room on the disk.
pub(super) const NO_ROOM: Duration = Duration::from_mins(1);

/// Bytes of the disk that stay free.
const SPARE: u64 = 16 << 20;

impl Agent {
    /// Fetches the next piece of a release.
    pub async fn fetch(
        &mut self,
        subject: &Subject,
        source: &impl Source,
        clock: &dyn Clock,
    ) -> Fetched {
        let metered = source.is_metered();
        self.close_downloads();
        let (release, mut download) = match self.downloads.remove(subject) {
            Some(open) => open,
            None => match self.open_download(subject).await {
                Ok(open) => open,
                Err(fetched) => return fetched,
            },
        };
        let (before, all) = download.progress();
        // What is all here needs no line any more.
        let put_off = self.put_off(clock).filter(|_| metered && before < all);
        if let Some((wait, why)) = put_off {
            self.downloads.insert(subject.clone(), (release, download));
            return Fetched::Wait(wait, why);
        }
        let stepped = download.step(source, self.piece(metered, clock)).await;
        let (have, all) = download.progress();
        if metered {
            self.came(have.saturating_sub(before), clock);
        }
        if matches!(stepped, Ok(false)) {
            return Fetched::Whole;
        }
        self.downloads.insert(subject.clone(), (release, download));
        stepped.map_or_else(|error| failed(&error), |_| Fetched::More(have, all))
    }

    /// Closes what is of no release any more that is fetched.
    fn close_downloads(&mut self) {
        let mut open = std::mem::take(&mut self.downloads);
        open.retain(|subject, (release, _)| {
            let known = self.progress(subject);
            known
                .is_some_and(|known| known.state == State::Downloading && known.release == *release)
        });
        self.downloads = open;
    }

    async fn open_download(&self, subject: &Subject) -> Result<(String, Course), Fetched> {
        let release = self.progress(subject).map(|progress| progress.release.clone());
        let found = release.and_then(|release| Some((self.target(&release)?, release)));
        if self.knows_nothing() {
            return Err(Fetched::Wait(NO_ROOM, "waits for a look at the repository".to_owned()));
        }
        let gone = || Fetched::Failed("it is not published any more".to_owned());
        let (target, release) = found.ok_or_else(gone)?;
        let (directory, most) = (self.depot.place("download"), self.config.max.0 as u64);
        // It comes once more when it is laid out.
        let free = free(&directory);
        if let Some(free) = free
            && free < target.length.saturating_mul(2).saturating_add(SPARE)
        {
            let why = format!("no room on the disk for {} bytes: {free} are free", target.length);
            return Err(Fetched::Wait(NO_ROOM, why));
        }
        let room = free.unwrap_or(u64::MAX).saturating_sub(SPARE);
        let offered = delta::offered(self.trusted.targets(), &directory, &target, room);
        // What is there already is read again, and hashed.
        let name = release.clone();
        let open = move || Course::open(directory, name, target, offered, most);
        let opened = tokio::task::spawn_blocking(open).await;
        let opened = opened.map_err(|error| Fetched::Failed(error.to_string()))?;
        opened.map(|course| (release, course)).map_err(|error| failed(&error))
    }

    /// Fetches once more, and whole, what was fetched of a release that serves: what is here of it is damaged.
    pub async fn refetch(
        &mut self,
        serves: &Serves,
        source: &impl Source,
        (clock, until): (&dyn Clock, Instant),
    ) -> Result<(), String> {
        let release = serves.content.to_string();
        let target = self.target(&release).ok_or("it is not published any more")?;
        let (directory, most) = (self.depot.place("download"), self.config.max.0 as u64);
        let (archive, made) = (serves.archive.clone(), delta::unpacked(&serves.archive));
        let open = move || {
            for damaged in [archive, made] {
                let _may_be_gone = std::fs::remove_file(damaged);
            }
            Download::open(&directory, &release, &target, most)
        };
        let opened = tokio::task::spawn_blocking(open).await.map_err(|error| error.to_string())?;
        let mut download = opened.map_err(|error| error.to_string())?;
        loop {
            // What is here stays, and the next time goes on from there.
            if clock.now() >= until {
                return Err("it goes on later".to_owned());
            }
            let (before, all) = download.progress();
            let metered = source.is_metered();
            if let Some((_, why)) = self.put_off(clock).filter(|_| metered && before < all) {
                return Err(why);
            }
            let more = download.step(source, self.piece(metered, clock)).await;
            let more = more.map_err(|error| error.to_string())?;
            if metered {
                self.came(download.progress().0 - before, clock);
            }
            if !more {
                return download.finish().map(drop).map_err(|error| error.to_string());
            }
        }
    }
}
