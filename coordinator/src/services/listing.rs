//! Lists: filters by regular expression, and pages by name.

use pvc_model::{Name, Rejection};
use regex::{Regex, RegexBuilder};
use tonic::Status;

use super::shared::refuse;

/// Objects in a page at most, and where the request doesn't say.
pub const PAGE_SIZE_MAX: usize = 1000;
/// Longest filter, in bytes.
const FILTER_BYTES_MAX: usize = 256;
/// Memory of a compiled filter.
const FILTER_COMPILED_BYTES_MAX: usize = 1 << 18;

/// A filter on names; None: all.
pub fn name_filter(pattern: &str) -> Result<Option<Regex>, Status> {
    let bad = |detail: String| {
        let help = "a regular expression, such as '^web[0-9]+$'";
        refuse(Rejection::invalid("name-filter", "request", format!("name_filter: {detail}")).help(help))
    };
    if pattern.is_empty() {
        return Ok(None);
    }
    if pattern.len() > FILTER_BYTES_MAX {
        return Err(bad(format!("at most {FILTER_BYTES_MAX} bytes, not {}", pattern.len())));
    }
    let compiled = RegexBuilder::new(pattern).size_limit(FILTER_COMPILED_BYTES_MAX).build();
    compiled.map(Some).map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => bad("it is too complex".to_owned()),
        // The last line says what is wrong; those above draw it, for terminals only.
        other => bad(other.to_string().lines().last().unwrap_or("it is none").trim().to_owned()),
    })
}

/// Where a page begins, and how long it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub size: usize,
    /// The list continues after this key.
    pub after: Option<String>,
    /// Revision of the page before; 0: this is the first.
    pub revision: u64,
}

impl Page {
    /// `token` is "REVISION.KEY", ours alone to read.
    pub fn parse(size: u32, token: &str) -> Result<Self, Status> {
        let size = size as usize;
        if size > PAGE_SIZE_MAX {
            let detail = format!("page_size: 0 to {PAGE_SIZE_MAX}, not {size}");
            return Err(refuse(Rejection::invalid("out-of-range", "request", detail)));
        }
        let size = if size == 0 { PAGE_SIZE_MAX } else { size };
        if token.is_empty() {
            return Ok(Page { size, after: None, revision: 0 });
        }
        let parsed = token.split_once('.').and_then(|(revision, key)| Some((revision.parse().ok()?, key)));
        match parsed {
            Some((revision, key)) if !key.is_empty() => {
                Ok(Page { size, after: Some(key.to_owned()), revision })
            }
            _ => {
                let detail = "page_token: this is not one that a list has given";
                Err(refuse(Rejection::invalid("page-token", "request", detail)))
            }
        }
    }

    /// The name after which the list continues, for lists in order of names.
    pub fn after_name(&self) -> Result<Option<Name>, Status> {
        let Some(after) = &self.after else { return Ok(None) };
        after.parse().map(Some).map_err(|_| {
            let detail = "page_token: this is not one that a list has given";
            refuse(Rejection::invalid("page-token", "request", detail))
        })
    }

    /// Cuts a page out of what matches, and says where the next one begins (empty: nowhere).
    pub fn cut<T>(
        &self,
        matching: impl Iterator<Item = T>,
        revision: u64,
        key: impl Fn(&T) -> String,
    ) -> (Vec<T>, String) {
        let mut page: Vec<T> = matching.take(self.size + 1).collect();
        let more = page.len() > self.size;
        page.truncate(self.size);
        let token = page.last().filter(|_| more).map(|last| format!("{revision}.{}", key(last)));
        (page, token.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_limited_and_explained() {
        assert!(name_filter("").expect("none").is_none());
        assert!(name_filter("^web[0-9]+$").expect("a filter").expect("some").is_match("web12"));
        let message = |pattern: &str| name_filter(pattern).expect_err("refused").message().to_owned();
        assert!(message("web[").contains("unclosed character class"), "{}", message("web["));
        assert!(message(&"a".repeat(300)).contains("at most 256 bytes"));
        assert!(message("(a{500}){500}").contains("too complex"));
    }

    #[test]
    fn pages_follow_each_other() {
        let names: Vec<String> = (0..5).map(|i| format!("vm{i}")).collect();
        let page = Page::parse(2, "").expect("a page");
        let (first, token) = page.cut(names.iter(), 9, |name| (*name).clone());
        assert_eq!((first.len(), token.as_str()), (2, "9.vm1"));
        let next = Page::parse(2, &token).expect("a page");
        assert_eq!((next.revision, next.after.as_deref()), (9, Some("vm1")));
        let rest = names.iter().skip(4);
        assert_eq!(next.cut(rest, 9, |name| (*name).clone()).1, "");
        for bad in ["x", "9.", "-1.a", "a.b"] {
            assert!(Page::parse(0, bad).is_err(), "{bad}");
        }
        assert!(Page::parse(1001, "").is_err());
    }
}
