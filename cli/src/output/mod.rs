//! How replies are printed: one choice, `-o`, for every command.
//!
//! JSON is the reply's own JSON form (the same that HTTP gives) and YAML is the same through serde:
//! there is never a second struct, so nothing can be left out.

pub mod page;
pub mod table;

use serde::Serialize;

use crate::args::Output;
use crate::failure::{Exit, Failure};
use crate::io::Io;

/// How a state is to be seen at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    /// As it should be.
    Good,
    /// In between.
    Busy,
    /// Needs a person.
    Bad,
    /// Less important.
    Dim,
}

/// Prints a reply by `-o`; `table` makes the form for people, `names` the names in it.
pub fn reply<R: Serialize>(
    io: &mut Io,
    output: Output,
    reply: &R,
    table: impl FnOnce(bool) -> String,
    names: impl FnOnce() -> Vec<String>,
) -> Result<(), Failure> {
    match output {
        Output::Table => {
            let text = table(io.out_colour());
            io.out.write_all(text.as_bytes())?;
        }
        Output::Json => io.line(json(reply)?)?,
        Output::Yaml => io.out.write_all(yaml(reply)?.as_bytes())?,
        Output::Name => {
            for name in names() {
                io.line(name)?;
            }
        }
    }
    io.out.flush()?;
    Ok(())
}

/// Pretty JSON without a final newline.
pub fn json<R: Serialize>(reply: &R) -> Result<String, Failure> {
    serde_json::to_string_pretty(reply).map_err(|e| Failure::new(Exit::Other, "json", e.to_string()))
}

/// JSON on one line.
pub fn json_line<R: Serialize>(reply: &R) -> Result<String, Failure> {
    serde_json::to_string(reply).map_err(|e| Failure::new(Exit::Other, "json", e.to_string()))
}

/// YAML with a final newline.
pub fn yaml<R: Serialize>(reply: &R) -> Result<String, Failure> {
    let text =
        serde_saphyr::to_string(reply).map_err(|e| Failure::new(Exit::Other, "yaml", e.to_string()))?;
    Ok(if text.ends_with('\n') { text } else { text + "\n" })
}
