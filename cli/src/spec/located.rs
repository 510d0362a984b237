//! A YAML (or JSON) document as a tree in which every value knows its line and column.
//! Nothing is known here of what the values mean.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// Line and column, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub line: u64,
    pub column: u64,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Located {
    pub value: Value,
    pub place: Place,
}

/// What YAML can say.
#[derive(Clone, Debug)]
pub enum Value {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    List(Vec<Located>),
    /// In the order of the document.
    Map(Vec<(Key, Located)>),
}

/// A key and where it stands.
#[derive(Clone, Debug)]
pub struct Key {
    pub name: String,
    pub place: Place,
}

impl Value {
    /// For errors: what was found.
    pub fn what(&self) -> String {
        match self {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Unsigned(value) => value.to_string(),
            Value::Signed(value) => value.to_string(),
            Value::Float(value) => value.to_string(),
            Value::Text(text) => format!("\"{text}\""),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }
}

/// The document is not YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotYaml {
    pub place: Option<Place>,
    pub detail: String,
}

/// Reads one document.
pub fn read(text: &str) -> Result<Located, NotYaml> {
    let mut options = serde_saphyr::Options::default();
    options.with_snippet = false;
    let spanned: Spanned<Value> = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = error.location().map(|at| Place { line: at.line(), column: at.column() });
        let message = error.without_snippet().to_string();
        // Its own words end in " at line L, column C": the place is told once, in front.
        let detail = message.split(" at line ").next().unwrap_or(&message).trim().to_owned();
        NotYaml { place, detail }
    })?;
    Ok(Located::from(spanned))
}

impl From<Spanned<Value>> for Located {
    fn from(spanned: Spanned<Value>) -> Located {
        let at = spanned.referenced;
        Located { value: spanned.value, place: Place { line: at.line(), column: at.column() } }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(AnyVisitor)
    }
}

struct AnyVisitor;

impl<'de> Visitor<'de> for AnyVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(u64::try_from(value).map_or(Value::Signed(value), Value::Unsigned))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = seq.next_element::<Spanned<Value>>()? {
            list.push(Located::from(item));
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let place = Place { line: key.referenced.line(), column: key.referenced.column() };
            let value = map.next_value::<Spanned<Value>>()?;
            entries.push((Key { name: key.value, place }, Located::from(value)));
        }
        Ok(Value::Map(entries))
    }
}
