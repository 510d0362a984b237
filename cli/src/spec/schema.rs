//! Holds a located document against a message of the API: names, types, choices and sizes.
//!
//! The message's own descriptor is the schema, so a field that is added to the .proto is known here
//! at once. What people may write more freely than JSON allows: sizes with units where a field's name
//! ends in `_bytes` or `_mib`, choices by their short names (`live` for MIGRATION_METHOD_LIVE), and
//! the short names of [`SHORT_NAMES`], the numbers of [`NUMBERS`] without quotes.

use prost_reflect::{EnumDescriptor, EnumValueDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value as Json};

use super::located::{Located, Place, Value};
use super::size::{parse_bytes, parse_mib};

/// Message, what people write, the field.
const SHORT_NAMES: &[(&str, &str, &str)] =
    &[("VmSpec", "memory", "memory_mib"), ("Disk", "size", "create_bytes")];

/// Message and field of texts that are most often numbers, and then need no quotes.
const NUMBERS: &[(&str, &str)] = &[("Nic", "network")];

/// What is wrong with a document, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {}, column {}: {detail}", place.line, place.column)]
pub struct Mismatch {
    pub place: Place,
    pub detail: String,
    /// What may stand there; may be empty.
    pub help: String,
}

/// The document as the message's JSON.
pub fn to_json(document: &Located, message: &MessageDescriptor) -> Result<Json, Mismatch> {
    message_json(document, message, "")
}

fn mismatch(place: Place, detail: impl Into<String>, help: impl Into<String>) -> Mismatch {
    Mismatch { place, detail: detail.into(), help: help.into() }
}

fn message_json(at: &Located, message: &MessageDescriptor, path: &str) -> Result<Json, Mismatch> {
    let Value::Map(entries) = &at.value else {
        let name = if path.is_empty() { "the spec" } else { path };
        return Err(mismatch(
            at.place,
            format!("{name} is a map of fields, not {}", at.value.what()),
            format!("fields: {}", names(message).join(", ")),
        ));
    };
    let mut json = Map::new();
    for (key, value) in entries {
        let field = find(message, &key.name).ok_or_else(|| unknown(message, &key.name, key.place))?;
        if matches!(value.value, Value::Null) {
            continue;
        }
        let inner =
            if path.is_empty() { field.name().to_owned() } else { format!("{path}.{}", field.name()) };
        let field_json = field_json(value, &field, &inner)?;
        if json.insert(field.name().to_owned(), field_json).is_some() {
            return Err(mismatch(key.place, format!("{inner} is given twice"), ""));
        }
    }
    Ok(Json::Object(json))
}

fn find(message: &MessageDescriptor, given: &str) -> Option<FieldDescriptor> {
    let short = SHORT_NAMES.iter().find(|(of, short, _)| *of == message.name() && *short == given);
    let name = short.map_or(given, |(_, _, field)| field);
    message.get_field_by_name(name).or_else(|| message.get_field_by_json_name(name))
}

/// The names to be written, short ones in place of the long.
fn names(message: &MessageDescriptor) -> Vec<String> {
    let written = |field: FieldDescriptor| {
        let short = SHORT_NAMES.iter().find(|(of, _, long)| *of == message.name() && *long == field.name());
        short.map_or(field.name(), |(_, short, _)| short).to_owned()
    };
    message.fields().map(written).collect()
}

fn unknown(message: &MessageDescriptor, given: &str, place: Place) -> Mismatch {
    let names = names(message);
    let nearest = nearest(given, names.iter().map(String::as_str));
    let detail = match nearest {
        Some(name) => format!("unknown field \"{given}\"; did you mean \"{name}\"?"),
        None => format!("unknown field \"{given}\""),
    };
    mismatch(place, detail, format!("fields: {}", names.join(", ")))
}

/// The most similar of the names, if any is similar enough to be a slip.
fn nearest<'a>(given: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let score = |name: &str| strsim::jaro_winkler(&given.to_lowercase(), name);
    names
        .map(|name| (name, score(name)))
        .filter(|(_, score)| *score > 0.8)
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(name, _)| name)
}

fn field_json(at: &Located, field: &FieldDescriptor, path: &str) -> Result<Json, Mismatch> {
    if field.is_map() {
        let Value::Map(entries) = &at.value else {
            return Err(mismatch(at.place, format!("{path} is a map, not {}", at.value.what()), ""));
        };
        let mut json = Map::new();
        for (key, value) in entries {
            json.insert(key.name.clone(), text_json(value, &format!("{path}.{}", key.name))?);
        }
        return Ok(Json::Object(json));
    }
    if field.is_list() {
        let Value::List(items) = &at.value else {
            return Err(mismatch(
                at.place,
                format!("{path} is a list, not {}", at.value.what()),
                format!("{}:\n  - …", field.name()),
            ));
        };
        let item = |(i, item)| one_json(item, field, &format!("{path}[{i}]"));
        return Ok(Json::Array(items.iter().enumerate().map(item).collect::<Result<_, _>>()?));
    }
    one_json(at, field, path)
}

fn one_json(at: &Located, field: &FieldDescriptor, path: &str) -> Result<Json, Mismatch> {
    match field.kind() {
        Kind::Message(message) => message_json(at, &message, path),
        Kind::Enum(choices) => choice_json(at, &choices, path),
        Kind::String => match at.value {
            Value::Unsigned(number) if NUMBERS.contains(&(field.parent_message().name(), field.name())) => {
                Ok(Json::String(number.to_string()))
            }
            _ => text_json(at, path),
        },
        Kind::Bool => match at.value {
            Value::Bool(value) => Ok(Json::Bool(value)),
            _ => Err(mismatch(at.place, format!("{path} is true or false, not {}", at.value.what()), "")),
        },
        Kind::Uint32 | Kind::Uint64 => number_json(at, field, path),
        // VmSpec has no fields of other kinds; JSON's own conversion judges them.
        _ => Err(mismatch(at.place, format!("{path} can't be given in a file"), "")),
    }
}

fn text_json(at: &Located, path: &str) -> Result<Json, Mismatch> {
    match &at.value {
        Value::Text(text) => Ok(Json::String(text.clone())),
        Value::Bool(_) | Value::Unsigned(_) | Value::Signed(_) | Value::Float(_) => Err(mismatch(
            at.place,
            format!("{path} is a text, not {}", at.value.what()),
            format!("write it in quotes: \"{}\"", at.value.what()),
        )),
        _ => Err(mismatch(at.place, format!("{path} is a text, not {}", at.value.what()), "")),
    }
}

fn number_json(at: &Located, field: &FieldDescriptor, path: &str) -> Result<Json, Mismatch> {
    let max = if matches!(field.kind(), Kind::Uint32) { u64::from(u32::MAX) } else { u64::MAX };
    let number = match &at.value {
        Value::Unsigned(number) => *number,
        Value::Text(text) if field.name().ends_with("_bytes") => {
            parse_bytes(text).map_err(|e| mismatch(at.place, format!("{path}: {e}"), ""))?
        }
        Value::Text(text) if field.name().ends_with("_mib") => {
            parse_mib(text).map_err(|e| mismatch(at.place, format!("{path}: {e}"), ""))?
        }
        // JSON writes 64-bit numbers as texts.
        Value::Text(text) if text.parse::<u64>().is_ok() => text.parse().unwrap_or(0),
        other => {
            let detail = format!("{path} is a whole number, not {}", other.what());
            return Err(mismatch(at.place, detail, ""));
        }
    };
    if number > max {
        return Err(mismatch(at.place, format!("{path} is at most {max}, not {number}"), ""));
    }
    Ok(Json::from(number))
}

fn choice_json(at: &Located, choices: &EnumDescriptor, path: &str) -> Result<Json, Mismatch> {
    let prefix = choice_prefix(choices);
    let short = |name: &str| name.trim_start_matches(&prefix).to_lowercase().replace('_', "-");
    if let Value::Text(text) = &at.value {
        let short_said = |name: &str| short(name) == text.to_lowercase().replace('_', "-");
        // The zero value by its full name only: it stands in what `-o yaml` prints, and says nothing.
        let said = |choice: &EnumValueDescriptor| {
            choice.name() == text || (choice.number() != 0 && short_said(choice.name()))
        };
        if let Some(choice) = choices.values().find(said) {
            return Ok(Json::String(choice.name().to_owned()));
        }
    }
    let all: Vec<String> =
        choices.values().filter(|choice| choice.number() != 0).map(|choice| short(choice.name())).collect();
    Err(mismatch(at.place, format!("{path} is one of {}, not {}", all.join(", "), at.value.what()), ""))
}

/// "DISK_BUS_" for DiskBus: the zero value is always PREFIX_UNSPECIFIED.
fn choice_prefix(choices: &EnumDescriptor) -> String {
    let zero = choices.default_value();
    zero.name().trim_end_matches("UNSPECIFIED").to_owned()
}
