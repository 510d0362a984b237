//! Lists that people read: never longer than a screen.

/// How many of a list are said.
const SAID_MAX: usize = 8;

pub(crate) fn some(items: &[String], between: &str) -> String {
    let said = items[..items.len().min(SAID_MAX)].join(between);
    match items.len().checked_sub(SAID_MAX) {
        Some(more) if more > 0 => format!("{said}{between}and {more} more"),
        _ => said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_cut() {
        let items: Vec<String> = (0..10).map(|number| number.to_string()).collect();
        assert_eq!(some(&items[..2], ", "), "0, 1");
        assert_eq!(some(&items[..8], ", "), "0, 1, 2, 3, 4, 5, 6, 7");
        assert_eq!(some(&items, ", "), "0, 1, 2, 3, 4, 5, 6, 7, and 2 more");
    }
}
