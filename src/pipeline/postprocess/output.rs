//! Which output is meant, and the numbers of one item of it.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use super::InterpretError;
use crate::event::{Data, Tensor};
use crate::package::{OutputSpec, Spec, TensorInfo};

/// A tensor of the model by its place and its name.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) index: usize,
    pub(super) name: String,
    /// As declared, with the batch.
    pub(super) shape: Vec<Option<usize>>,
}

/// One item of a tensor.
#[derive(Debug)]
pub(super) struct Item<'t> {
    /// Without the batch.
    pub(super) shape: &'t [usize],
    /// All finite.
    pub(super) values: Cow<'t, [f32]>,
}

/// The outputs that the package gives a meaning, in the order of the model. Without a name the only
/// output is meant; `all` is asked for where a meaning needs several.
pub(super) fn choose(
    spec: &Spec,
    outputs: &[TensorInfo],
    all: bool,
) -> Result<(Vec<Place>, OutputSpec), InterpretError> {
    let names: Vec<_> = outputs.iter().map(|info| format!("`{}`", info.name)).collect();
    let names = names.join(", ");
    if let Some(missing) =
        spec.output.keys().find(|key| !key.is_empty() && outputs.iter().all(|o| o.name != **key))
    {
        return Err(InterpretError::spec(format!(
            "model.toml names an output `{missing}`, the model has {names}"
        )));
    }
    let unnamed = spec.output.keys().all(String::is_empty);
    let chosen: Vec<_> = outputs
        .iter()
        .enumerate()
        .filter(|(_, info)| unnamed || spec.output.contains_key(&info.name))
        .map(|(index, info)| Place { index, name: info.name.clone(), shape: info.shape.clone() })
        .collect();
    if chosen.is_empty() || (chosen.len() > 1 && !all) {
        return Err(InterpretError::spec(format!(
            "the model has the outputs {names}; name the one that is meant as [output.NAME]"
        )));
    }
    let meaning = spec.output.values().find(|output| output.layout.is_some());
    let meaning = meaning.or_else(|| spec.output.values().next()).cloned().unwrap_or_default();
    Ok((chosen, meaning))
}

impl Place {
    /// Item `item` of this tensor. Anything that is not finite is an error.
    pub(super) fn item<'t>(
        &self,
        tensors: &'t [Tensor],
        item: usize,
    ) -> Result<Item<'t>, InterpretError> {
        let tensor =
            tensors.get(self.index).ok_or_else(|| self.wrong("missing", "it must be there"))?;
        let (items, shape) =
            tensor.shape().split_first().map_or((1, [].as_slice()), |(n, s)| (*n, s));
        if item >= items {
            let found = format!("{:?}", tensor.shape());
            return Err(self.wrong(&found, &format!("item {item} must be in it")));
        }
        let size = tensor.data().len() / items;
        let values = floats(tensor.data(), item * size..(item + 1) * size);
        // Without an early end, so that the compiler can look at many numbers at once.
        if values.iter().fold(false, |bad, value| bad | !value.is_finite()) {
            return Err(InterpretError::NotFinite { tensor: self.name.clone() });
        }
        Ok(Item { shape, values })
    }

    pub(super) fn wrong(&self, found: &str, wanted: &str) -> InterpretError {
        let (output, found, wanted) = (self.name.clone(), found.to_owned(), wanted.to_owned());
        InterpretError::Shape { output, found, wanted }
    }

    /// Dimension `axis` as declared; `None` where it is open.
    pub(super) fn declared(&self, axis: usize) -> Option<usize> {
        self.shape.get(axis).copied().flatten()
    }

    /// Refuses another declared rank.
    pub(super) fn check_rank(&self, rank: usize, wanted: &str) -> Result<(), InterpretError> {
        if self.shape.len() == rank { Ok(()) } else { Err(self.wrong(&self.describe(), wanted)) }
    }

    /// Refuses a declared dimension below `least`.
    pub(super) fn check_least(
        &self,
        axis: usize,
        least: usize,
        wanted: &str,
    ) -> Result<(), InterpretError> {
        let fits = self.declared(axis).is_none_or(|n| n >= least);
        if fits { Ok(()) } else { Err(self.wrong(&self.describe(), wanted)) }
    }

    pub(super) fn describe(&self) -> String {
        let dim = |dim: &Option<usize>| dim.map_or_else(|| "?".to_owned(), |n| n.to_string());
        format!("[{}]", self.shape.iter().map(dim).collect::<Vec<_>>().join(", "))
    }
}

fn floats(data: &Data, range: Range<usize>) -> Cow<'_, [f32]> {
    match data {
        Data::F32(values) => Cow::Borrowed(&values[range]),
        Data::F16(values) => values[range].iter().map(|value| value.to_f32()).collect(),
        other => Cow::Owned(other.to_f32()[range].to_vec()),
    }
}

/// The names of classes.
#[derive(Debug, Clone)]
pub(super) struct Labels {
    names: Vec<Arc<str>>,
    /// The file that they are from; `None`: they are the indices.
    file: Option<String>,
}

impl Labels {
    /// Labels must be as many as the classes, where the model says how many it has.
    pub(super) fn new(
        labels: &[Arc<str>],
        spec: &OutputSpec,
        output: &Place,
        classes: Option<usize>,
    ) -> Result<Self, InterpretError> {
        if labels.is_empty() {
            let known = classes.unwrap_or(0).min(1 << 16);
            let names = (0..known).map(|class| class.to_string().into()).collect();
            return Ok(Self { names, file: None });
        }
        let file = spec.labels.clone().unwrap_or_else(|| "the labels file".to_owned());
        let all = Self { names: labels.to_vec(), file: Some(file) };
        classes.map_or(Ok(()), |classes| all.check(output, classes))?;
        Ok(all)
    }

    /// The answer has so many classes.
    pub(super) fn check(&self, output: &Place, classes: usize) -> Result<(), InterpretError> {
        match &self.file {
            Some(file) if self.names.len() != classes => Err(InterpretError::Labels {
                file: file.clone(),
                labels: self.names.len(),
                output: output.name.clone(),
                classes,
            }),
            _ => Ok(()),
        }
    }

    /// The name of a class; `None` only where there are labels, and none for this class.
    pub(super) fn get(&self, class: usize) -> Option<Arc<str>> {
        let index = || self.file.is_none().then(|| class.to_string().into());
        self.names.get(class).cloned().or_else(index)
    }

    pub(super) fn names(&self) -> &[Arc<str>] {
        &self.names
    }
}
