//! A key's name: `(collection, name)`, cheap to clone, ordered by collection and then by name.
//! A `Key` made by `Key::new` obeys the limits; keys read back from a log or a snapshot are taken as they are.

use std::fmt;
use std::sync::Arc;

use crate::limits::LimitError;

/// Longest name of an object and of a collection, in characters (a label of RFC 1123).
pub const MAX_NAME: usize = 63;

/// The address of one object. Cloning copies two reference counts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Kind of object: `[a-z_]{1,63}`.
    pub collection: Arc<str>,
    /// Name within the collection: labels of RFC 1123 joined by dots, at most 63 characters in all.
    pub name: Arc<str>,
}

impl Key {
    /// Checks both parts against the limits.
    pub fn new(collection: &str, name: &str) -> Result<Key, LimitError> {
        check_collection(collection)?;
        check_name(name)?;
        Ok(Key { collection: collection.into(), name: name.into() })
    }

    /// The first key that a collection could have: where a range over it starts.
    pub(crate) fn first_of(collection: &str, prefix: &str) -> Key {
        Key { collection: collection.into(), name: prefix.into() }
    }

    /// Checks a key that was put together by hand.
    pub fn check(&self) -> Result<(), LimitError> {
        check_collection(&self.collection)?;
        check_name(&self.name)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.collection, self.name)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn check_collection(collection: &str) -> Result<(), LimitError> {
    let fits = (1..=MAX_NAME).contains(&collection.len());
    if fits && collection.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
        return Ok(());
    }
    Err(LimitError::Collection { collection: collection.chars().take(MAX_NAME).collect() })
}

fn check_name(name: &str) -> Result<(), LimitError> {
    let fits = (1..=MAX_NAME).contains(&name.len());
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if fits && name.split('.').all(label) {
        return Ok(());
    }
    Err(LimitError::Name { name: name.chars().take(MAX_NAME).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels_of_rfc_1123() {
        for good in ["a", "web1", "0", "db-01.prod", &"x".repeat(63)] {
            assert!(Key::new("vm", good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a..b", ".a", "a.", "ä", &"x".repeat(64)] {
            assert!(matches!(Key::new("vm", bad), Err(LimitError::Name { .. })), "{bad}");
        }
        for bad in ["", "VM", "vm1", "v-m", &"x".repeat(64)] {
            assert!(matches!(Key::new(bad, "a"), Err(LimitError::Collection { .. })), "{bad}");
        }
    }

    #[test]
    fn order_is_collection_then_name() {
        let key = |c: &str, n: &str| Key::new(c, n).unwrap();
        let mut keys = [key("vm", "a"), key("node", "z"), key("vm", "0"), key("vms", "a")];
        keys.sort();
        assert_eq!(keys.map(|k| k.to_string()), ["node/z", "vm/0", "vm/a", "vms/a"]);
    }
}
