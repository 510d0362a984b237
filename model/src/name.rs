//! Names and identities as types: parsed once at the edge, never checked again.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest name, in characters (RFC 1123, section 2.1: a host label has at most 63).
pub const NAME_LENGTH_MAX: usize = 63;

/// The name of an object: an RFC 1123 label or several joined by dots; 1 to 63 characters of
/// `a-z 0-9 -` (and `.`), each label beginning and ending with a letter or digit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a name must not be empty")]
    Empty,
    #[error("a name has at most {NAME_LENGTH_MAX} characters, this one has {length}")]
    TooLong { length: usize },
    #[error("a name holds only a-z, 0-9, '-' and '.', not {found:?}")]
    BadCharacter { found: char },
    #[error("a name, and each part of it between dots, begins and ends with a letter or a digit")]
    BadEdge,
}

impl Name {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.chars().count() > NAME_LENGTH_MAX {
            return Err(NameError::TooLong { length: text.chars().count() });
        }
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        if let Some(found) = text.chars().find(|c| !allowed(*c)) {
            return Err(NameError::BadCharacter { found });
        }
        let good_edges = |part: &str| {
            let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
            edge(part.chars().next()) && edge(part.chars().last())
        };
        if !text.split('.').all(good_edges) {
            return Err(NameError::BadEdge);
        }
        Ok(Name(text.into()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        &*self.0 == *other
    }
}

/// A random UUID (version 4), for life: it survives a rename and is never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(u128);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a UUID (8-4-4-4-12 hexadecimal digits)")]
pub struct UidError(String);

impl Uid {
    /// From 128 random bits; the version and variant bits are set as RFC 9562 section 5.4 says.
    pub fn from_random(bits: u128) -> Self {
        let version = (bits & !(0xf << 76)) | (0x4 << 76);
        Uid((version & !(0x3 << 62)) | (0x2 << 62))
    }

    pub fn as_u128(self) -> u128 {
        self.0
    }
}

impl FromStr for Uid {
    type Err = UidError;

    fn from_str(text: &str) -> Result<Self, UidError> {
        let bad = || UidError(text.chars().take(64).collect());
        let groups: Vec<&str> = text.split('-').collect();
        let lengths: Vec<usize> = groups.iter().map(|g| g.len()).collect();
        if lengths != [8, 4, 4, 4, 12] || !groups.iter().all(|g| g.bytes().all(|b| b.is_ascii_hexdigit())) {
            return Err(bad());
        }
        u128::from_str_radix(&groups.concat(), 16).map(Uid).map_err(|_| bad())
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", self.0);
        write!(f, "{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_refused() {
        let check = |text: &str, error: NameError| assert_eq!(text.parse::<Name>(), Err(error), "{text:?}");
        check("", NameError::Empty);
        check(&"a".repeat(64), NameError::TooLong { length: 64 });
        check("Web1", NameError::BadCharacter { found: 'W' });
        check("a/b", NameError::BadCharacter { found: '/' });
        check("-a", NameError::BadEdge);
        check("a-", NameError::BadEdge);
        check("a..b", NameError::BadEdge);
        check(".", NameError::BadEdge);
    }

    #[test]
    fn names_that_are_taken() {
        for text in ["a", "web1", "1a", "a-b", "node-unreachable.hv2", &"a".repeat(63)] {
            assert_eq!(text.parse::<Name>().map(|n| n.to_string()), Ok(text.to_string()));
        }
    }

    #[test]
    fn uids_print_and_parse() {
        let uid = Uid::from_random(u128::MAX);
        assert_eq!(uid.to_string(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(uid.to_string().parse(), Ok(uid));
        assert!("ffffffff-ffff-4fff-bfff-fffffffffff".parse::<Uid>().is_err());
        assert!("+fffffff-ffff-4fff-bfff-ffffffffffff".parse::<Uid>().is_err());
    }
}
