//! One text, several scenarios: a file's text is cut into blocks, one for each title, and a block that says `each moment: … | …`
//! is a scenario for each of them. Of two such lines each goes with each.

use super::parse::ParseError;

/// What stands between a file's titles. A line that begins with "# " is a title; "##" begins a remark.
pub(super) struct Block {
    pub title: String,
    pub line: usize,
    pub lines: Vec<(usize, String)>,
    /// The line after its last one.
    pub end: usize,
    each: Vec<(usize, String)>,
}

pub(super) fn blocks(file: &str, text: &str) -> Result<Vec<Block>, ParseError> {
    let mut blocks: Vec<Block> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let (number, trimmed) = (index + 1, line.trim());
        if trimmed.is_empty() || trimmed.starts_with("##") {
            continue;
        }
        if let Some(title) = line.strip_prefix("# ") {
            let title = title.trim().to_owned();
            blocks.push(Block { title, line: number, lines: Vec::new(), end: number, each: Vec::new() });
            continue;
        }
        let Some(block) = blocks.last_mut() else {
            let what = "a scenario begins with \"# \" and its title".to_owned();
            return Err(ParseError { file: file.to_owned(), line: number, what });
        };
        block.end = number;
        match line.strip_prefix("each ") {
            Some(each) => block.each.push((number, each.to_owned())),
            None => block.lines.push((number, line.to_owned())),
        }
    }
    Ok(blocks)
}

/// What stands for each word in braces.
#[derive(Clone, Default)]
pub(super) struct Variation(Vec<(String, String)>);

impl Variation {
    pub fn tell(&self, line: &str) -> String {
        self.0.iter().fold(line.to_owned(), |line, (word, way)| line.replace(word, way))
    }

    fn with(&self, word: &str, way: &str) -> Variation {
        let mut variation = self.clone();
        let (way, end) = way.split_once("=>").unwrap_or((way, ""));
        variation.0.push((format!("{{{word}}}"), way.trim().to_owned()));
        // "/" stands for the bar that parts administrators: bars part the ways here.
        variation.0.push((format!("{{end of {word}}}"), end.trim().replace(" / ", " | ")));
        variation
    }
}

impl Block {
    /// All of them, in the order in which they are written; one where nothing varies.
    pub fn variations(&self) -> Result<Vec<Variation>, (usize, String)> {
        let mut all = vec![Variation::default()];
        for (number, each) in &self.each {
            let (word, ways) = each.split_once(':').unwrap_or((each, ""));
            let ways: Vec<&str> = ways.split('|').map(str::trim).filter(|way| !way.is_empty()).collect();
            if ways.is_empty() {
                return Err((*number, format!("\"each {word}:\" names a way or more")));
            }
            all = all.iter().flat_map(|before| ways.iter().map(|way| before.with(word, way))).collect();
        }
        Ok(all)
    }
}
