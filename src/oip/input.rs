//! One input of a request, read in one go: where its type and shape stand before its elements, as clients write them, the
//! elements become what they are to be at once.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::numbers::Typed;
use super::{Given, dtype, short, volume};
use crate::event::Data;

#[derive(Debug, JsonSchema)]
pub(super) struct Input<'a> {
    pub name: String,
    pub shape: Vec<usize>,
    pub datatype: String,
    #[schemars(default)]
    pub parameters: Size,
    #[schemars(with = "Option<Vec<serde_json::Value>>")]
    pub data: Given<'a>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct Size {
    pub binary_data_size: Option<usize>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Field {
    Name,
    Shape,
    Datatype,
    Parameters,
    Data,
    /// For other servers.
    #[serde(other)]
    Other,
}

impl<'de: 'a, 'a> Deserialize<'de> for Input<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Input<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an input")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Input<'de>, A::Error> {
        let (mut name, mut shape, mut datatype) = (None, None, None);
        let (mut parameters, mut data) = (None, None);
        while let Some(field) = map.next_key()? {
            match field {
                Field::Name => once(&mut name, "name", map.next_value::<String>()?)?,
                Field::Shape => once(&mut shape, "shape", map.next_value::<Vec<usize>>()?)?,
                Field::Datatype => once(&mut datatype, "datatype", map.next_value::<String>()?)?,
                Field::Parameters => once(&mut parameters, "parameters", map.next_value()?)?,
                Field::Data => {
                    let known = datatype.as_deref().and_then(dtype);
                    let given = match known.zip(shape.as_deref().and_then(volume)) {
                        Some((dtype, most)) => {
                            let read = map.next_value_seed(Present(Typed { dtype, most }));
                            let named = |error| {
                                let name = short(name.as_deref().unwrap_or_default());
                                A::Error::custom(format_args!("`{name}` holds no {dtype}: {error}"))
                            };
                            read.map_err(named)?.map(Given::Read)
                        }
                        None => {
                            map.next_value::<Option<&RawValue>>()?.map(|it| Given::Json(it.get()))
                        }
                    };
                    once(&mut data, "data", given.unwrap_or(Given::Nowhere))?;
                }
                Field::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let missing = A::Error::missing_field;
        Ok(Input {
            name: name.ok_or_else(|| missing("name"))?,
            shape: shape.ok_or_else(|| missing("shape"))?,
            datatype: datatype.ok_or_else(|| missing("datatype"))?,
            parameters: parameters.unwrap_or_default(),
            data: data.unwrap_or(Given::Nowhere),
        })
    }
}

fn once<T, E: Error>(place: &mut Option<T>, name: &'static str, value: T) -> Result<(), E> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::duplicate_field(name)),
    }
}

/// Elements, or null where there are none.
struct Present(Typed);

impl<'de> DeserializeSeed<'de> for Present {
    type Value = Option<Data>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Option<Data>, D::Error> {
        from.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Present {
    type Value = Option<Data>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("elements")
    }

    fn visit_none<E>(self) -> Result<Option<Data>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Option<Data>, D::Error> {
        self.0.deserialize(from).map(Some)
    }
}
