//! A CEL value with fixed fields: a detection, the device, the time.

use cel::ExecutionError;
use cel::common::traits::Indexer;
use cel::common::types::{CelDouble, CelInt, CelString, Type};
use cel::common::value::{CowVal, Val};

use super::value::Table;

/// The function name that marks a missing field in an [`ExecutionError::FunctionError`].
pub(super) const FIELD: &str = "field";

static RECORD: Type = Type::new_unspecified_type("record");

/// A thing with fixed fields. Unlike in a map, a field that it does not have is a mistake in the rule.
#[derive(Debug, Clone)]
pub(super) struct Record<'a, const N: usize> {
    /// Its name in messages.
    pub(super) kind: &'static Type,
    /// The fields' names.
    pub(super) names: &'static [&'static str; N],
    /// The fields' values, in the order of the names.
    pub(super) fields: [Field<'a>; N],
}

/// What a field of a [`Record`] holds.
#[derive(Debug, Clone)]
pub(super) enum Field<'a> {
    Text(CelString<'a>),
    Number(CelDouble),
    Whole(CelInt),
    Table(Table<'a>),
}

impl<'a> Field<'a> {
    fn lend(&self) -> &(dyn Val + 'a) {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number,
            Self::Whole(whole) => whole,
            Self::Table(table) => table,
        }
    }
}

impl<const N: usize> Val for Record<'_, N> {
    fn get_type(&self) -> &Type {
        self.kind
    }

    fn cel_type() -> &'static Type {
        &RECORD
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(self.clone())
    }
}

impl<const N: usize> Indexer for Record<'_, N> {
    fn get<'b, 'v>(&'b self, index: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let wanted = index.downcast_ref::<CelString<'_>>().map(CelString::inner);
        let at = wanted.and_then(|wanted| self.names.iter().position(|name| *name == wanted));
        at.map(|at| CowVal::Borrowed(self.fields[at].lend())).ok_or_else(|| {
            let known = self.names.join(", ");
            let wanted = wanted.unwrap_or("…");
            ExecutionError::function_error(FIELD, format!("no field `{wanted}`; known are {known}"))
        })
    }

    fn steal<'v>(self: Box<Self>, index: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(index).map(CowVal::into_owned)
    }
}
