//! A job that is being sent: its files arrive, and it is there as a whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::desk::Inner;
use super::record::{Job, JobError};
use super::store::Place;
use crate::model::files_in;
use crate::package::InputKind;

/// A job has no more files.
pub(super) const MAX_FILES: usize = 100_000;

/// A file's name has no more bytes.
const MAX_NAME: usize = 255;

/// All names of a job have no more: they are held while it is sent, and while it is worked on.
const MAX_NAMES: usize = 4 << 20;

/// A job that is being sent. Dropped before [`Draft::submit`], it leaves nothing behind.
#[derive(Debug)]
pub struct Draft {
    inner: Arc<Inner>,
    job: Job,
    place: Place,
    names: Vec<String>,
    named: usize,
    file: Option<File>,
    submitted: bool,
}

impl Draft {
    /// A place was taken for it.
    pub(super) fn new(inner: &Arc<Inner>, job: Job, place: Place) -> Result<Self, JobError> {
        let draft = Self {
            inner: Arc::clone(inner),
            job,
            place,
            names: Vec::new(),
            named: 0,
            file: None,
            submitted: false,
        };
        draft.place.make()?;
        Ok(draft)
    }

    /// The next file; its name is told with its results.
    pub fn begin(&mut self, name: &str) -> Result<(), JobError> {
        self.add(name)?;
        self.end_file()?;
        let path = self.place.file(self.names.len() - 1);
        self.file = Some(File::options().write(true).create_new(true).open(path)?);
        Ok(())
    }

    /// More of the file that was begun.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), JobError> {
        self.inner.grow(self.job.id, bytes.len() as u64)?;
        if let Some(file) = &mut self.file {
            file.write_all(bytes)?;
        }
        Ok(())
    }

    /// All files of a folder below `inputs` that suit the model.
    pub(super) fn take_folder(
        &mut self,
        inputs: &Path,
        folder: &str,
        kind: InputKind,
    ) -> Result<(), JobError> {
        let directory = below(inputs, folder)?;
        let unread =
            |error| JobError::Invalid(format!("the folder `{folder}` cannot be read: {error}"));
        let files = files_in(&directory, kind, MAX_FILES).map_err(unread)?;
        let names = files.iter().filter_map(|file| file.file_name()?.to_str());
        let names: Vec<_> = names.collect();
        if names.is_empty() {
            let message = format!("there is nothing in `{folder}` that the model takes");
            return Err(JobError::Invalid(message));
        }
        names.iter().try_for_each(|name| self.add(name))
    }

    /// Hands it in: from now on it is not lost.
    pub fn submit(mut self) -> Result<Job, JobError> {
        if self.names.is_empty() {
            let message = "it has no input; send a file, or files in a form".to_owned();
            return Err(JobError::Invalid(message));
        }
        self.end_file()?;
        self.job.inputs = self.names.len();
        self.place.write_names(&self.names)?;
        self.place.write(&self.job)?;
        self.submitted = true;
        self.inner.settle(self.job.id, Some(self.job.clone()));
        Ok(self.job.clone())
    }

    fn add(&mut self, name: &str) -> Result<(), JobError> {
        if self.names.len() >= MAX_FILES {
            return Err(JobError::Invalid(format!("it has more than {MAX_FILES} files")));
        }
        if name.len() > MAX_NAME {
            return Err(JobError::Invalid(format!("a name has more than {MAX_NAME} bytes")));
        }
        self.named += name.len();
        if self.named > MAX_NAMES {
            let message = format!("the names of its files have more than {MAX_NAMES} bytes");
            return Err(JobError::Invalid(message));
        }
        self.inner.grow(self.job.id, name.len() as u64 + 4)?;
        self.names.push(name.to_owned());
        Ok(())
    }

    fn end_file(&mut self) -> io::Result<()> {
        self.file.take().map_or(Ok(()), |file| file.sync_all())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.submitted {
            self.place.remove();
            self.inner.settle(self.job.id, None);
        }
    }
}

/// The folder of this name, if it is below `inputs` and nowhere else.
pub(super) fn below(inputs: &Path, folder: &str) -> Result<PathBuf, JobError> {
    let none = || JobError::Invalid(format!("there is no folder `{folder}` for jobs here"));
    let root = fs::canonicalize(inputs).map_err(|_| none())?;
    let directory = fs::canonicalize(root.join(folder)).map_err(|_| none())?;
    if directory.starts_with(&root) && directory.is_dir() { Ok(directory) } else { Err(none()) }
}
