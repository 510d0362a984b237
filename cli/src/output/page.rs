//! One object with everything that is known of it: a name and a value per line, in sections.

use owo_colors::OwoColorize;

use super::Tone;

/// Width of the names' column.
const NAME_WIDTH: usize = 20;

/// A page that is being written.
pub struct Page {
    text: String,
    colour: bool,
}

impl Page {
    pub fn new(colour: bool) -> Page {
        Page { text: String::new(), colour }
    }

    /// A line; left out when the value is empty.
    #[must_use]
    pub fn row(self, name: &str, value: impl AsRef<str>) -> Page {
        self.toned(name, value, Tone::Plain)
    }

    #[must_use]
    pub fn toned(mut self, name: &str, value: impl AsRef<str>, tone: Tone) -> Page {
        let value = value.as_ref();
        if value.is_empty() {
            return self;
        }
        let name = format!("{name}:");
        let value = paint(value, tone, self.colour);
        if self.colour {
            self.text.push_str(&format!("{:<NAME_WIDTH$} {value}\n", name).replacen(&name, &bold(&name), 1));
        } else {
            self.text.push_str(&format!("{name:<NAME_WIDTH$} {value}\n"));
        }
        self
    }

    /// A heading with lines of its own below it; left out when there are none.
    #[must_use]
    pub fn section(mut self, name: &str, lines: &[String]) -> Page {
        if lines.is_empty() {
            return self;
        }
        let name = format!("{name}:");
        self.text.push_str(&if self.colour { bold(&name) } else { name });
        self.text.push('\n');
        for line in lines {
            self.text.push_str("  ");
            self.text.push_str(line);
            self.text.push('\n');
        }
        self
    }

    pub fn finish(self) -> String {
        self.text
    }
}

fn bold(text: &str) -> String {
    text.bold().to_string()
}

/// The text in the tone's colour.
pub fn paint(text: &str, tone: Tone, colour: bool) -> String {
    if !colour {
        return text.to_owned();
    }
    match tone {
        Tone::Plain => text.to_owned(),
        Tone::Good => text.green().to_string(),
        Tone::Busy => text.yellow().to_string(),
        Tone::Bad => text.red().to_string(),
        Tone::Dim => text.dimmed().to_string(),
    }
}
