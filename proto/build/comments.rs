//! Reads the comments of the .proto files back from the descriptor set.

use prost_reflect::prost_types::FileDescriptorProto;

/// The comment before (or behind) the element at `path`: lines joined, blank lines kept as
/// paragraphs.
pub fn of(file: &FileDescriptorProto, path: &[i32]) -> Option<String> {
    let location = file.source_code_info.as_ref()?.location.iter().find(|l| l.path == path)?;
    let comment = location.leading_comments.as_deref().or(location.trailing_comments.as_deref())?;
    let mut text = String::new();
    for line in comment.lines().map(str::trim) {
        if line.is_empty() {
            text.push_str("\n\n");
        } else {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push(' ');
            }
            text.push_str(line);
        }
    }
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The first sentence of a comment, without its full stop.
pub fn first_sentence(comment: &str) -> &str {
    let end = comment.find(". ").or_else(|| comment.find(".\n")).unwrap_or(comment.len());
    comment[..end].trim_end_matches('.')
}
