//! Pictures: one resize in bytes, then one pass that picks channels, looks values up and lays them out.
//!
//! A byte has 256 values, so `(raw - mean) * scale` in the model's element type is a table a channel,
//! made once; no picture of floats ever exists.

mod fitting;
mod paint;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use half::f16;

use self::fitting::Fitting;
use self::paint::{Paint, View};
use super::element::Element;
use super::{Batch, Placement, PrepareError};
use crate::event::{DType, Data, Frame, Pixels};
use crate::package::{Color, Fit, InputSpec, Layout};
use crate::pipeline::decode::Wanted;

/// No side of a model's input is longer.
const MAX_SIDE: usize = 1 << 14;

/// How pictures become an item.
#[derive(Debug)]
pub(super) struct Picture {
    width: u32,
    height: u32,
    /// NCHW, otherwise NHWC.
    planar: bool,
    fit: Fit,
    color: Color,
    pad: u8,
    levels: Levels,
    resizer: Resizer,
    resized: Vec<u8>,
}

/// What each of the 256 levels becomes, for each channel of the model.
#[derive(Debug)]
enum Levels {
    U8(Vec<[u8; 256]>),
    I8(Vec<[i8; 256]>),
    F16(Vec<[f16; 256]>),
    F32(Vec<[f32; 256]>),
}

impl Picture {
    /// `shape` is without the batch. Also gives the shape of an item.
    pub(super) fn new(
        spec: &InputSpec,
        shape: &[Option<usize>],
        dtype: DType,
    ) -> Result<(Self, Vec<usize>), String> {
        let &[first, second, third] = shape else {
            let found = shape.len();
            return Err(format!("a picture has 3 dimensions behind the batch, the model {found}"));
        };
        let (planar, [channels, height, width]) = match spec.layout {
            Some(Layout::Nchw) | None => (true, [first, second, third]),
            Some(Layout::Nhwc) => (false, [third, first, second]),
            Some(layout) => return Err(format!("layout {layout:?} is for samples")),
        };
        let wanted = if spec.color == Color::Gray { 1 } else { 3 };
        if channels.is_some_and(|found| found != wanted) {
            return Err(format!(
                "color {:?} has {wanted} channels, the model {} (or is its layout the other one?)",
                spec.color,
                channels.unwrap_or(0)
            ));
        }
        let size = |index: usize, declared: Option<usize>| {
            let stated = spec.size.map(|size| size[index] as usize);
            match (stated, declared) {
                (Some(stated), Some(declared)) if stated != declared => Err(format!(
                    "size says {stated}, the model {declared}; size is [width, height]"
                )),
                (None, None) => Err("the model leaves its size open: give size".to_owned()),
                (stated, declared) => match stated.or(declared) {
                    Some(side @ 1..=MAX_SIDE) => Ok(side),
                    _ => Err(format!("a side must be 1 to {MAX_SIDE} pixels")),
                },
            }
        };
        let (width, height) = (size(0, width)?, size(1, height)?);
        let plan = Self {
            width: u32::try_from(width).unwrap_or(1),
            height: u32::try_from(height).unwrap_or(1),
            planar,
            fit: spec.fit,
            color: spec.color,
            pad: spec.pad,
            levels: Levels::new(spec, wanted, dtype)?,
            resizer: Resizer::new(),
            resized: Vec::new(),
        };
        let item = if planar { [wanted, height, width] } else { [height, width, wanted] };
        Ok((plan, item.to_vec()))
    }

    pub(super) fn wanted(&self) -> Wanted {
        Wanted { size: [self.width, self.height], fit: self.fit }
    }

    pub(super) fn push(
        &mut self,
        frame: &Frame,
        item: &[usize],
        batch: &mut Batch,
    ) -> Result<(), PrepareError> {
        let size = frame.width as usize * frame.height as usize * frame.pixels.channels();
        if size == 0 || frame.data.len() != size {
            return Err(PrepareError::Shape {
                found: format!("{}x{} in {} bytes", frame.width, frame.height, frame.data.len()),
                wanted: "whole pixels".to_owned(),
            });
        }
        let input = [self.width, self.height];
        let fitting = Fitting::new(frame.source, input, self.fit);
        let (start, data) = batch.reserve(item)?;
        let end = start + item.iter().product::<usize>();
        let there = fitting.seen_in(frame);
        let view = match direct(frame, &there) {
            Some(view) => view,
            None => resize(&mut self.resizer, &mut self.resized, frame, &there)?,
        };
        let paint = Paint {
            view,
            target: fitting.target.map(|n| n as usize),
            width: self.width as usize,
            planar: self.planar,
            color: self.color,
            pad: (fitting.target[2..] != input).then_some(self.pad),
        };
        match (&self.levels, data) {
            (Levels::U8(levels), Data::U8(out)) => paint.run(levels, &mut out[start..end]),
            (Levels::I8(levels), Data::I8(out)) => paint.run(levels, &mut out[start..end]),
            (Levels::F16(levels), Data::F16(out)) => paint.run(levels, &mut out[start..end]),
            (Levels::F32(levels), Data::F32(out)) => paint.run(levels, &mut out[start..end]),
            (_, other) => {
                return Err(PrepareError::Shape {
                    found: format!("in a batch of {}", other.dtype()),
                    wanted: "a batch of its own".to_owned(),
                });
            }
        }
        batch.commit(Placement::new(frame.source, fitting.region, fitting.target, input));
        Ok(())
    }
}

impl Levels {
    fn new(spec: &InputSpec, channels: usize, dtype: DType) -> Result<Self, String> {
        for (key, values) in [("mean", &spec.mean), ("scale", &spec.scale)] {
            if values.len() > 1 && values.len() != channels {
                let found = values.len();
                return Err(format!("{key} has {found} values for {channels} channels"));
            }
        }
        match dtype {
            DType::U8 => Ok(Self::U8(tables(spec, channels))),
            DType::I8 => Ok(Self::I8(tables(spec, channels))),
            DType::F16 => Ok(Self::F16(tables(spec, channels))),
            DType::F32 => Ok(Self::F32(tables(spec, channels))),
            other => Err(format!("pictures become f32, f16, u8 or i8, the model wants {other}")),
        }
    }
}

fn tables<T: Element>(spec: &InputSpec, channels: usize) -> Vec<[T; 256]> {
    let of = |values: &[f32], channel: usize, default: f32| {
        values.get(channel).or(values.first()).copied().unwrap_or(default)
    };
    (0..channels)
        .map(|channel| {
            let (mean, scale) = (of(&spec.mean, channel, 0.0), of(&spec.scale, channel, 1.0));
            let mut table = [T::default(); 256];
            for (level, value) in (0_u8..=255).zip(&mut table) {
                *value = T::from_f32((f32::from(level) - mean) * scale);
            }
            table
        })
        .collect()
}

/// The region as it lies in the frame, if it needs no resize.
#[expect(clippy::float_cmp, reason = "what is not whole and equal is resized")]
fn direct<'f>(frame: &'f Frame, fitting: &Fitting) -> Option<View<'f>> {
    let [left, top, width, height] = fitting.region;
    let [.., target_width, target_height] = fitting.target;
    let same = [width, height] == [target_width, target_height].map(f64::from);
    if !same || left.fract() != 0.0 || top.fract() != 0.0 {
        return None;
    }
    let channels = frame.pixels.channels();
    let stride = frame.width as usize * channels;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole numbers within the frame"
    )]
    let start = top as usize * stride + left as usize * channels;
    Some(View { data: frame.data.get(start..)?, stride, pixels: frame.pixels })
}

/// An antialiased bilinear resize, as Pillow's `BILINEAR`.
fn resize<'b>(
    resizer: &mut Resizer,
    buffer: &'b mut Vec<u8>,
    frame: &Frame,
    fitting: &Fitting,
) -> Result<View<'b>, PrepareError> {
    let pixel = match frame.pixels {
        Pixels::Gray => PixelType::U8,
        Pixels::Rgb => PixelType::U8x3,
    };
    let [left, top, width, height] = fitting.region;
    let [.., target_width, target_height] = fitting.target;
    let stride = target_width as usize * frame.pixels.channels();
    buffer.resize(stride * target_height as usize, 0);
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .use_alpha(false)
        .crop(left, top, width, height);
    // Neither buffer nor region can be wrong here; should they be, it is an error all the same.
    let refuse = |reason: String| PrepareError::Shape { found: reason, wanted: "a picture".into() };
    let source = ImageRef::new(frame.width, frame.height, &frame.data, pixel)
        .map_err(|error| refuse(error.to_string()))?;
    let mut target = Image::from_slice_u8(target_width, target_height, buffer, pixel)
        .map_err(|error| refuse(error.to_string()))?;
    resizer.resize(&source, &mut target, &options).map_err(|error| refuse(error.to_string()))?;
    Ok(View { data: buffer, stride, pixels: frame.pixels })
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
