//! Lists as tables: a line for each object, two spaces between columns, no borders, so that a line
//! can be cut by awk as well as read by a person. A column in which nothing stands is left out.

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell as ComfyCell, CellAlignment, Color};

use super::Tone;

/// One field of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub fn toned(text: impl Into<String>, tone: Tone) -> Cell {
        Cell { text: text.into(), tone }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell { text, tone: Tone::Plain }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        text.to_owned().into()
    }
}

impl From<&String> for Cell {
    fn from(text: &String) -> Cell {
        text.clone().into()
    }
}

/// A column: its head, and whether it holds figures (set to the right).
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub head: &'static str,
    pub figures: bool,
    /// Left out when no row has anything in it.
    pub optional: bool,
}

/// A column of text.
pub const fn text(head: &'static str) -> Column {
    Column { head, figures: false, optional: false }
}

/// A column of figures.
pub const fn figures(head: &'static str) -> Column {
    Column { head, figures: true, optional: false }
}

/// A column of text that is left out when it is empty.
pub const fn optional(head: &'static str) -> Column {
    Column { head, figures: false, optional: true }
}

/// The whole table with a final newline. Every row has as many cells as there are columns.
pub fn render(columns: &[Column], rows: Vec<Vec<Cell>>, colour: bool) -> String {
    let shown: Vec<bool> = (0..columns.len())
        .map(|i| !columns[i].optional || rows.iter().any(|row| !row[i].text.is_empty()))
        .collect();
    let mut table = comfy_table::Table::new();
    table.load_style(NOTHING);
    if colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    let kept = |i: &usize| shown[*i];
    table.set_header((0..columns.len()).filter(kept).map(|i| {
        let cell = ComfyCell::new(columns[i].head);
        if colour { cell.add_attribute(Attribute::Bold) } else { cell }
    }));
    for row in &rows {
        assert_eq!(row.len(), columns.len(), "a row has a cell for each column");
        table.add_row((0..columns.len()).filter(kept).map(|i| paint(&row[i])));
    }
    for (place, i) in (0..columns.len()).filter(kept).enumerate() {
        if let Some(column) = table.column_mut(place) {
            column.set_padding((0, 2));
            if columns[i].figures {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn paint(cell: &Cell) -> ComfyCell {
    let shown = if cell.text.is_empty() { "-" } else { &cell.text };
    let comfy = ComfyCell::new(shown);
    match cell.tone {
        Tone::Plain => comfy,
        Tone::Good => comfy.fg(Color::Green),
        Tone::Busy => comfy.fg(Color::Yellow),
        Tone::Bad => comfy.fg(Color::Red),
        Tone::Dim => comfy.fg(Color::DarkGrey),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_empty_ones_go() {
        let columns = [text("NAME"), figures("VCPUS"), optional("NOTE"), text("TAGS")];
        let rows = vec![
            vec!["web1".into(), "2".into(), "".into(), "a,b".into()],
            vec!["a-long-name".into(), "16".into(), "".into(), "".into()],
        ];
        assert_eq!(
            render(&columns, rows, false),
            "NAME         VCPUS  TAGS\nweb1             2  a,b\na-long-name     16  -\n"
        );
    }

    #[test]
    fn states_are_coloured_only_when_asked() {
        let rows = || vec![vec![Cell::toned("failed", Tone::Bad)]];
        assert_eq!(render(&[text("STATE")], rows(), false), "STATE\nfailed\n");
        let coloured = render(&[text("STATE")], rows(), true);
        assert!(
            coloured.contains("\u{1b}[38;5;9mfailed") || coloured.contains("\u{1b}[31mfailed"),
            "{coloured:?}"
        );
    }
}
