//! A consistent look at the applied state at one revision. Taking one is O(1), and it never changes
//! afterwards; holding one keeps the memory of what has since been replaced.

use std::sync::Arc;

use bytes::Bytes;
use imbl::ordmap::DiffItem;

use crate::key::Key;
use crate::member::{Member, MemberId};
use crate::state::State;
use crate::transaction::{Entry, Revision};

#[derive(Debug, Clone)]
pub struct View {
    pub(crate) state: Arc<State>,
    /// Index of the last entry that is in here. A watch from here misses nothing and repeats nothing.
    pub revision: Revision,
}

/// One difference between two views: the key, what it was, what it is.
pub type Difference = (Key, Option<Entry>, Option<Entry>);

impl View {
    pub(crate) fn new(state: Arc<State>) -> View {
        View { revision: state.revision(), state }
    }

    pub fn get(&self, key: &Key) -> Option<&Entry> {
        self.state.entries.get(key)
    }

    /// The collection's objects whose names start with `prefix`, by name. An empty prefix lists them all.
    pub fn list<'a>(
        &'a self,
        collection: &'a str,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a Key, &'a Entry)> + 'a {
        self.range(collection, prefix).take_while(move |(key, _)| key.name.starts_with(prefix))
    }

    /// The collection's objects from the name `start` on (included), by name: for paging.
    pub fn range<'a>(
        &'a self,
        collection: &'a str,
        start: &str,
    ) -> impl Iterator<Item = (&'a Key, &'a Entry)> + 'a {
        let first = Key::first_of(collection, start);
        self.state.entries.range(first..).take_while(move |(key, _)| &*key.collection == collection)
    }

    /// All objects, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Entry)> {
        self.state.entries.iter()
    }

    /// Number of objects.
    pub fn len(&self) -> usize {
        self.state.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.state.entries.is_empty()
    }

    /// What was answered to this request id, if that is less than ten minutes ago.
    pub fn outcome(&self, request_id: &str) -> Option<(Revision, Bytes)> {
        self.state.requests.get(request_id).map(|r| (r.revision, r.reply.clone()))
    }

    /// What changed since `older`, by key. The cost is that of the changes, not of the state.
    pub fn diff<'a>(&'a self, older: &'a View) -> impl Iterator<Item = Difference> + 'a {
        older.state.entries.diff(&self.state.entries).map(|item| match item {
            DiffItem::Add(key, new) => (key.clone(), None, Some(new.clone())),
            DiffItem::Update { old: (key, old), new: (_, new) } => {
                (key.clone(), Some(old.clone()), Some(new.clone()))
            }
            DiffItem::Remove(key, old) => (key.clone(), Some(old.clone()), None),
        })
    }

    /// The members as applied here.
    pub fn members(&self) -> Vec<Member> {
        self.state.membership.nodes().map(|(id, node)| node.member(*id)).collect()
    }

    /// Whether the id was ever a member's; such an id is never given again.
    pub fn is_known_member(&self, id: MemberId) -> bool {
        self.state.known_members.contains(&id)
    }

    pub fn cluster_id(&self) -> &str {
        &self.state.cluster_id
    }
}
