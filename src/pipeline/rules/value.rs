//! CEL values that are lent from a prediction, not copied out of it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, OnceLock};

use cel::common::traits::{Container, Indexer, Iterable, Iterator as CelIterator, Sizer};
use cel::common::types::{CelDouble, CelInt, CelString, CelUInt, LIST_TYPE, MAP_TYPE, Type};
use cel::common::value::{CowVal, Val};
use cel::{ExecutionError, Value};

/// A macro (`exists`, `all`, …) goes through at most so many elements; a longer list, such as a raw
/// tensor, can be indexed and not walked.
const MAX_WALK: usize = 1024;

static LIST: Type = LIST_TYPE;
static MAP: Type = MAP_TYPE;

/// A list whose elements have been made.
#[derive(Debug, Clone)]
pub(super) struct List<T>(pub(super) Vec<T>);

/// A list of numbers, made into CEL's numbers only if a macro walks it.
#[derive(Debug)]
pub(super) struct Numbers<'a> {
    raw: &'a [f32],
    made: OnceLock<Vec<CelDouble>>,
}

/// A map from text.
#[derive(Debug)]
pub(super) struct Table<'a> {
    entries: Entries<'a>,
    keys: OnceLock<Vec<CelString<'a>>>,
}

/// Where a [`Table`] reads.
#[derive(Debug, Clone, Copy)]
pub(super) enum Entries<'a> {
    /// By label.
    Scores(&'a [(Arc<str>, f32)]),
    /// By name.
    Labels(&'a BTreeMap<String, String>),
}

impl<'a> Numbers<'a> {
    pub(super) const fn new(raw: &'a [f32]) -> Self {
        Self { raw, made: OnceLock::new() }
    }
}

impl<'a> Table<'a> {
    pub(super) const fn new(entries: Entries<'a>) -> Self {
        Self { entries, keys: OnceLock::new() }
    }

    fn len(&self) -> usize {
        match self.entries {
            Entries::Scores(scores) => scores.len(),
            Entries::Labels(labels) => labels.len(),
        }
    }

    fn keys(&self) -> &[CelString<'a>] {
        self.keys.get_or_init(|| match self.entries {
            Entries::Scores(scores) => scores.iter().map(|(label, _)| (&**label).into()).collect(),
            Entries::Labels(labels) => labels.keys().map(|name| name.as_str().into()).collect(),
        })
    }

    fn look_up<'b, 'v>(&self, key: &str) -> Option<CowVal<'b, 'v>>
    where
        'a: 'v,
    {
        match self.entries {
            Entries::Scores(scores) => scores
                .iter()
                .find(|(label, _)| &**label == key)
                .map(|(_, score)| CowVal::owned(number(*score))),
            Entries::Labels(labels) => {
                labels.get(key).map(|value| CowVal::owned(CelString::from(value.as_str())))
            }
        }
    }
}

/// CEL's only floating type is f64.
pub(super) fn number(value: f32) -> CelDouble {
    CelDouble::from(f64::from(value))
}

impl Clone for Numbers<'_> {
    fn clone(&self) -> Self {
        Self::new(self.raw)
    }
}

impl Clone for Table<'_> {
    fn clone(&self) -> Self {
        Self::new(self.entries)
    }
}

/// The index into a list of `len`; CEL takes any whole number.
fn position(index: &dyn Val, len: usize) -> Result<usize, ExecutionError> {
    let whole = if let Some(int) = index.downcast_ref::<CelInt>() {
        *int.inner()
    } else if let Some(uint) = index.downcast_ref::<CelUInt>() {
        i64::try_from(*uint.inner()).unwrap_or(i64::MAX)
    } else {
        return Err(wrong_type(index, "int"));
    };
    usize::try_from(whole)
        .ok()
        .filter(|at| *at < len)
        .ok_or(ExecutionError::IndexOutOfBounds(Value::Int(whole)))
}

fn text(index: &dyn Val) -> Result<&str, ExecutionError> {
    index
        .downcast_ref::<CelString<'_>>()
        .map_or_else(|| Err(wrong_type(index, "string")), |text| Ok(text.inner()))
}

fn wrong_type(found: &dyn Val, want: &str) -> ExecutionError {
    ExecutionError::UnexpectedType {
        got: found.get_type().name().to_owned(),
        want: want.to_owned(),
    }
}

#[expect(clippy::cast_possible_wrap, reason = "no list in memory is that long")]
fn size(len: usize) -> CelInt {
    CelInt::from(len as i64)
}

/// Lends the elements of a slice one by one.
struct Walk<'b, T>(std::slice::Iter<'b, T>);

impl<'b, 'v, T: Val + 'v> CelIterator<'b, 'v> for Walk<'b, T> {
    fn next(&mut self) -> Option<&'b (dyn Val + 'v)> {
        self.0.next().map(|element| element as &(dyn Val + 'v))
    }
}

/// What lists and maps can do, in the words of the `Val` trait.
macro_rules! capabilities {
    ($type:expr) => {
        fn get_type(&self) -> &Type {
            &$type
        }

        fn cel_type() -> &'static Type {
            &$type
        }

        fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
        where
            Self: 'v,
        {
            Some(self)
        }

        fn as_iterable<'b, 'v>(&'b self) -> Option<&'b (dyn Iterable + 'v)>
        where
            Self: 'v,
        {
            (self.len() <= MAX_WALK).then_some(self as &(dyn Iterable + 'v))
        }

        fn as_container(&self) -> Option<&dyn Container> {
            (self.len() <= MAX_WALK).then_some(self as &dyn Container)
        }

        fn as_sizer(&self) -> Option<&dyn Sizer> {
            Some(self)
        }

        fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
        where
            Self: 'v,
        {
            Box::new(self.clone())
        }
    };
}

impl<T> List<T> {
    fn len(&self) -> usize {
        self.0.len()
    }
}

impl Numbers<'_> {
    fn len(&self) -> usize {
        self.raw.len()
    }

    fn made(&self) -> &[CelDouble] {
        self.made.get_or_init(|| self.raw.iter().map(|value| number(*value)).collect())
    }
}

impl<T: Val + Clone> Val for List<T> {
    capabilities!(LIST);
}

impl Val for Numbers<'_> {
    capabilities!(LIST);
}

impl Val for Table<'_> {
    capabilities!(MAP);
}

impl<T: Val + Clone> Indexer for List<T> {
    fn get<'b, 'v>(&'b self, index: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        Ok(CowVal::Borrowed(&self.0[position(index, self.0.len())?]))
    }

    fn steal<'v>(self: Box<Self>, index: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(index).map(CowVal::into_owned)
    }
}

impl Indexer for Numbers<'_> {
    fn get<'b, 'v>(&'b self, index: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        Ok(CowVal::owned(number(self.raw[position(index, self.raw.len())?])))
    }

    fn steal<'v>(self: Box<Self>, index: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(index).map(CowVal::into_owned)
    }
}

impl Indexer for Table<'_> {
    fn get<'b, 'v>(&'b self, index: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let key = text(index)?;
        self.look_up(key).ok_or_else(|| ExecutionError::no_such_key(key))
    }

    fn steal<'v>(self: Box<Self>, index: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(index).map(CowVal::into_owned)
    }
}

impl<T: Val + Clone> Iterable for List<T> {
    fn iter<'b, 'v>(&'b self) -> Box<dyn CelIterator<'b, 'v> + 'b>
    where
        Self: 'v,
    {
        Box::new(Walk(self.0.iter()))
    }
}

impl Iterable for Numbers<'_> {
    fn iter<'b, 'v>(&'b self) -> Box<dyn CelIterator<'b, 'v> + 'b>
    where
        Self: 'v,
    {
        Box::new(Walk(self.made().iter()))
    }
}

impl Iterable for Table<'_> {
    fn iter<'b, 'v>(&'b self) -> Box<dyn CelIterator<'b, 'v> + 'b>
    where
        Self: 'v,
    {
        Box::new(Walk(self.keys().iter()))
    }
}

impl<T: Val + Clone> Container for List<T> {
    fn contains(&self, value: &dyn Val) -> Result<bool, ExecutionError> {
        Ok(self.0.iter().any(|element| element.equals(value)))
    }
}

impl Container for Numbers<'_> {
    fn contains(&self, value: &dyn Val) -> Result<bool, ExecutionError> {
        Ok(self.raw.iter().any(|element| number(*element).equals(value)))
    }
}

impl Container for Table<'_> {
    fn contains(&self, value: &dyn Val) -> Result<bool, ExecutionError> {
        Ok(self.look_up(text(value)?).is_some())
    }
}

impl<T: Val + Clone> Sizer for List<T> {
    fn size(&self) -> CelInt {
        size(self.0.len())
    }
}

impl Sizer for Numbers<'_> {
    fn size(&self) -> CelInt {
        size(self.raw.len())
    }
}

impl Sizer for Table<'_> {
    fn size(&self) -> CelInt {
        size(self.len())
    }
}
