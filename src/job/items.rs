//! A file, as the inputs that a model takes: a picture is one, a recording as many as there are windows in it.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::record::{JobError, Plan};
use crate::disk;
use crate::event::Input;
use crate::model::{Intake, MAX_VALUES, samples};
use crate::net::with_sources;
use crate::package::InputKind;

/// A file that is read whole is no larger; a recording of plain numbers is read piece by piece.
const MAX_WHOLE: u64 = 64 << 20;

/// How recordings are cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    samples: usize,
    step: usize,
}

impl Cut {
    /// As the plan has it, where the model takes that; `None`: a file is one input.
    pub(super) fn new(plan: &Plan, intake: &Intake) -> Result<Option<Self>, JobError> {
        let wrong = |message: String| Err(JobError::Invalid(message));
        if intake.kind() == InputKind::Image {
            if plan.samples.is_some() || plan.step.is_some() {
                return wrong("the model takes pictures, which are not cut".to_owned());
            }
            return Ok(None);
        }
        let wanted = intake.instants();
        if let (Some(samples), Some(wanted)) = (plan.samples, wanted)
            && samples != wanted
        {
            return wrong(format!("samples = {samples}; the model takes {wanted}"));
        }
        let Some(samples) = plan.samples.or(wanted) else {
            if plan.step.is_some() {
                return wrong("the model takes any length: a step needs samples".to_owned());
            }
            return Ok(None);
        };
        let most = MAX_VALUES / intake.channels();
        if !(1..=most).contains(&samples) {
            return wrong(format!("samples must be from 1 to {most}"));
        }
        let step = plan.step.unwrap_or(samples);
        if step == 0 {
            return wrong("step must be at least 1".to_owned());
        }
        Ok(Some(Self { samples, step }))
    }
}

/// The inputs in one file, one after another.
#[derive(Debug)]
pub(super) enum Items {
    /// All of it is one.
    Whole(Option<Input>),
    /// A recording.
    Windows {
        numbers: Numbers,
        channels: usize,
        cut: Cut,
        /// Instants in all of it.
        total: usize,
        next: usize,
    },
}

/// Where the numbers of a recording are.
#[derive(Debug)]
pub(super) enum Numbers {
    /// Little-endian f32.
    File(File),
    Memory(Vec<f32>),
}

/// Where in its recording an input begins, and itself.
pub(super) type Item = (Option<u64>, Result<Input, String>);

impl Items {
    /// Opens a file. An error says what is wrong with it.
    pub(super) fn open(
        path: &Path,
        name: &str,
        intake: &Intake,
        cut: Option<Cut>,
    ) -> Result<Self, String> {
        let whole = || {
            disk::read_bounded(path, MAX_WHOLE).map_err(|error| format!("cannot be read: {error}"))
        };
        let is_json = name.to_ascii_lowercase().ends_with(".json");
        let Some(cut) = cut else {
            let bytes = whole()?;
            let input = if is_json { intake.json(&bytes) } else { intake.bytes(&bytes) };
            return input
                .map(|input| Self::Whole(Some(input)))
                .map_err(|error| with_sources(&error));
        };
        let channels = intake.channels();
        let (numbers, total) = if is_json {
            match intake.json(&whole()?).map_err(|error| with_sources(&error))? {
                Input::Samples(all) => {
                    let total = all.values.len() / channels;
                    (Numbers::Memory(all.values), total)
                }
                Input::Frame(_) => return Err("is a picture".to_owned()),
            }
        } else {
            let failed = |error| format!("cannot be read: {error}");
            let size = fs::metadata(path).map_err(failed)?.len();
            let instant = 4 * channels as u64;
            if !size.is_multiple_of(instant) {
                let message = format!(
                    "{size} bytes are no whole number of instants, of {channels} little-endian f32"
                );
                return Err(message);
            }
            let total = usize::try_from(size / instant).map_err(|_| "is too large".to_owned())?;
            (Numbers::File(File::open(path).map_err(failed)?), total)
        };
        if total < cut.samples {
            return Err(format!("has {total} instants; an input takes {}", cut.samples));
        }
        Ok(Self::Windows { numbers, channels, cut, total, next: 0 })
    }

    /// Leaves out so many, as far as there are so many; how many it were.
    pub(super) fn skip(&mut self, most: u64) -> u64 {
        match self {
            Self::Whole(input) => u64::from(most > 0 && input.take().is_some()),
            Self::Windows { cut, total, next, .. } => {
                let left = match (*total - cut.samples).checked_sub(*next) {
                    Some(rest) => (rest / cut.step) as u64 + 1,
                    None => 0,
                };
                let skipped = most.min(left);
                let far = usize::try_from(skipped).unwrap_or(usize::MAX).saturating_mul(cut.step);
                *next = next.saturating_add(far);
                skipped
            }
        }
    }

    /// What part of it is behind us, 0 to 1.
    pub(super) fn progress(&self) -> f64 {
        match self {
            Self::Whole(input) => f64::from(u8::from(input.is_none())),
            Self::Windows { total, next, .. } => (*next as f64 / *total as f64).min(1.0),
        }
    }

    /// The next. A rest that is shorter than an input is left out.
    pub(super) fn next(&mut self) -> Option<Item> {
        match self {
            Self::Whole(input) => input.take().map(|input| (None, Ok(input))),
            Self::Windows { numbers, channels, cut, total, next } => {
                let from = *next;
                if from > *total - cut.samples {
                    return None;
                }
                *next = next.saturating_add(cut.step);
                let values = numbers.read(from * *channels, cut.samples * *channels);
                let input = values.and_then(|values| {
                    samples(values, *channels).map_err(|error| with_sources(&error))
                });
                Some((Some(from as u64), input))
            }
        }
    }
}

impl Numbers {
    fn read(&mut self, from: usize, count: usize) -> Result<Vec<f32>, String> {
        match self {
            Self::Memory(values) => Ok(values[from..from + count].to_vec()),
            Self::File(file) => {
                let mut bytes = vec![0; 4 * count];
                file.seek(SeekFrom::Start(4 * from as u64))
                    .and_then(|_| file.read_exact(&mut bytes))
                    .map_err(|error| format!("cannot be read: {error}"))?;
                let (numbers, _) = bytes.as_chunks::<4>();
                Ok(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
            }
        }
    }
}
