//! What earlier versions wrote must be read for ever: one file in `testdata/` for each form that is kept
//! on a disk or travels between members of different versions. A new version may add files here; it
//! may not change one. `GOLDEN_WRITE=1` writes files that are missing.

use std::path::Path;

use bytes::Bytes;
use prost::Message;

use crate::form::{
    BatchForm, IdentityForm, LogEntryForm, LogHeadForm, LogIdForm, MembershipForm, NodeForm, ObjectForm,
    Payload, Record, RecordForm, RequestForm, StateHeadForm, VoteForm, VotersForm, decode,
};
use crate::key::Key;
use crate::rpc::{AppendRequestForm, EnvelopeForm, SnapshotHeaderForm, VoteRequestForm};
use crate::state::State;
use crate::transaction::{Precondition, Transaction};

fn check(name: &str, bytes: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
    if !path.exists() && std::env::var_os("GOLDEN_WRITE").is_some() {
        std::fs::write(&path, bytes).unwrap();
    }
    let kept = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert_eq!(bytes, kept, "{name} is no longer written as it was: old data would be misread");
}

fn golden<M: Message + Default + PartialEq + std::fmt::Debug>(name: &'static str, message: &M) {
    let bytes = message.encode_to_vec();
    check(name, &bytes);
    assert_eq!(decode::<M>(name, &bytes[..]).as_ref(), Ok(message));
}

fn id(term: u64, index: u64) -> Option<LogIdForm> {
    Some(LogIdForm { term, index })
}

fn batch() -> BatchForm {
    let key = |name: &str| Key::new("vm", name).unwrap();
    let transaction = Transaction {
        preconditions: vec![
            Precondition::RevisionIs { key: key("a"), revision: 7 },
            Precondition::Exists(key("b")),
            Precondition::Absent(key("c")),
        ],
        puts: vec![(key("a"), Bytes::from_static(b"value"))],
        deletes: vec![key("b")],
        request_id: Some("0198-request".into()),
        reply: Bytes::from_static(b"reply"),
        actor: "admin".into(),
        summary: "define vm a".into(),
    };
    let form = BatchForm::new(3, 1_700_000_000_000, 0, std::slice::from_ref(&transaction));
    assert_eq!(form.clone().transactions().unwrap(), [transaction]);
    form
}

fn membership() -> MembershipForm {
    let node = |id| NodeForm { id, address: format!("10.0.0.{id}:9800"), incarnation: 1000 + id };
    MembershipForm {
        configs: vec![VotersForm { ids: vec![1, 2] }, VotersForm { ids: vec![1, 2, 3] }],
        nodes: vec![node(1), node(2), node(3)],
        log_id: None,
    }
}

#[test]
fn the_log_is_written_as_ever() {
    golden("batch.bin", &batch());
    let entries = [
        ("entry-blank.bin", None),
        ("entry-batch.bin", Some(Payload::Batch(batch().encode_to_vec().into()))),
        ("entry-membership.bin", Some(Payload::Membership(membership()))),
    ];
    for (name, payload) in entries {
        let form = LogEntryForm { id: id(3, 42), payload };
        golden(name, &form);
        let entry = form.clone().entry().unwrap();
        assert_eq!(LogEntryForm::from(&entry), form, "{name}");
    }
    let vote = Some(VoteForm { term: 3, voted_for: 1, committed: true });
    golden("log-head.bin", &LogHeadForm { vote, purged: id(2, 10), last: id(3, 42), committed: id(3, 41) });
    let cluster_id = "0198-cluster".to_owned();
    golden("identity.bin", &IdentityForm { version: 1, cluster_id, member: 2, incarnation: 1002 });
}

fn state_head() -> StateHeadForm {
    StateHeadForm {
        version: 1,
        cluster_id: "0198-cluster".into(),
        applied: id(3, 41),
        membership: Some(MembershipForm { log_id: id(2, 9), ..membership() }),
        known_members: vec![1, 2, 3, 7],
        clock: None,
    }
}

#[tokio::test]
async fn the_state_is_written_as_ever() {
    golden("state-head.bin", &state_head());
    let object = Record::Object(ObjectForm {
        key: Some((&Key::new("vm", "a").unwrap()).into()),
        value: Bytes::from_static(b"value"),
        create_revision: 7,
        revision: 41,
    });
    let request = Record::Request(RequestForm {
        id: "0198-request".into(),
        revision: 41,
        at_ms: 1_700_000_000_000,
        reply: Bytes::from_static(b"reply"),
    });
    golden("record-object.bin", &RecordForm { record: Some(object.clone()) });
    golden("record-request.bin", &RecordForm { record: Some(request.clone()) });
    let mut state = State::from_head(state_head()).unwrap();
    state.insert(object).unwrap();
    state.insert(request).unwrap();
    let bytes = crate::snapshot::to_bytes(&state);
    check("snapshot.pvcsnap", &bytes);
    let back = crate::snapshot::read(&bytes[..]).await.unwrap();
    assert_eq!((back.head(), back.entries), (state_head(), state.entries));
}

#[test]
fn calls_are_written_as_ever() {
    let vote = Some(VoteForm { term: 4, voted_for: 2, committed: false });
    golden("call-vote.bin", &VoteRequestForm { vote, last: id(3, 42), transfer: true });
    let entries = vec![LogEntryForm { id: id(3, 42), payload: None }];
    let append = AppendRequestForm { vote, previous: id(3, 41), entries, committed: id(3, 40) };
    golden("call-append.bin", &append);
    golden("call-snapshot.bin", &SnapshotHeaderForm { vote, last: id(3, 41) });
    let envelope = EnvelopeForm {
        cluster_id: "0198-cluster".into(),
        from: 1,
        to: 2,
        to_incarnation: 1002,
        body: Bytes::from_static(b"body"),
    };
    golden("call-envelope.bin", &envelope);
}
