//! Random histories against a model that is as plain as can be.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use raft_store::{Outcome, Precondition, Transaction};

use crate::network::{Cluster, key};

#[derive(Debug, Clone)]
enum Operation {
    Put(u8, u8),
    Delete(u8),
    PutIfAbsent(u8, u8),
    PutIfPresent(u8, u8),
    /// Puts if the key is at the revision that the model knows, or at a wrong one.
    PutIfRevision(u8, u8, bool),
    Repeat(u8),
}

fn operation() -> impl Strategy<Value = Operation> {
    let key = 0..6_u8;
    prop_oneof![
        (key.clone(), any::<u8>()).prop_map(|(k, v)| Operation::Put(k, v)),
        key.clone().prop_map(Operation::Delete),
        (key.clone(), any::<u8>()).prop_map(|(k, v)| Operation::PutIfAbsent(k, v)),
        (key.clone(), any::<u8>()).prop_map(|(k, v)| Operation::PutIfPresent(k, v)),
        (key.clone(), any::<u8>(), any::<bool>()).prop_map(|(k, v, w)| Operation::PutIfRevision(k, v, w)),
        (0..8_u8).prop_map(Operation::Repeat),
    ]
}

type Model = BTreeMap<String, (u8, u64)>;

fn transaction(operation: &Operation, model: &Model, id: usize) -> Transaction {
    let name = |k: &u8| format!("k{k}");
    let revision = |k: &u8| model.get(&name(k)).map_or(0, |(_, revision)| *revision);
    let mut transaction = Transaction { request_id: Some(format!("op-{id}")), ..Transaction::default() };
    match operation {
        Operation::Put(k, v) => transaction.puts = vec![(key(&name(k)), Bytes::from(vec![*v]))],
        Operation::Delete(k) => transaction.deletes = vec![key(&name(k))],
        Operation::PutIfAbsent(k, v) => {
            transaction.preconditions = vec![Precondition::Absent(key(&name(k)))];
            transaction.puts = vec![(key(&name(k)), Bytes::from(vec![*v]))];
        }
        Operation::PutIfPresent(k, v) => {
            transaction.preconditions = vec![Precondition::Exists(key(&name(k)))];
            transaction.puts = vec![(key(&name(k)), Bytes::from(vec![*v]))];
        }
        Operation::PutIfRevision(k, v, wrong) => {
            let revision = revision(k) + u64::from(*wrong);
            transaction.preconditions = vec![Precondition::RevisionIs { key: key(&name(k)), revision }];
            transaction.puts = vec![(key(&name(k)), Bytes::from(vec![*v]))];
        }
        Operation::Repeat(back) => {
            transaction.request_id = Some(format!("op-{}", id.saturating_sub(1 + usize::from(*back))));
            transaction.puts = vec![(key("never"), Bytes::from_static(b"!"))];
            // Repeating what was never applied must not apply this instead.
            transaction.preconditions = vec![Precondition::Exists(key("never"))];
        }
    }
    transaction
}

fn holds(precondition: &Precondition, model: &Model) -> bool {
    let actual = model.get(&*precondition.key().name).map_or(0, |(_, revision)| *revision);
    match precondition {
        Precondition::RevisionIs { revision, .. } => actual == *revision,
        Precondition::Exists(_) => actual != 0,
        Precondition::Absent(_) => actual == 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_is_the_models_and_the_replicas_agree(
        operations in prop::collection::vec(operation(), 1..60),
        crash_at in 0..60_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut cluster = Cluster::of(3).await;
            let mut model = Model::new();
            let mut done: BTreeMap<String, u64> = BTreeMap::new();
            for (id, operation) in operations.iter().enumerate() {
                if id == crash_at {
                    let leader = cluster.leader().await.0.options().me.id;
                    cluster.crash(leader).await;
                    cluster.start(leader).await;
                }
                let transaction = transaction(operation, &model, id);
                let request = transaction.request_id.clone().unwrap();
                let outcome = cluster.write(transaction.clone()).await;
                if let Some(first) = done.get(&request) {
                    assert!(
                        matches!(outcome, Outcome::Applied { revision, duplicate: true, .. } if revision == *first),
                        "{outcome:?}"
                    );
                    continue;
                }
                if !transaction.preconditions.iter().all(|p| holds(p, &model)) {
                    assert!(matches!(outcome, Outcome::Conflict { .. }), "{outcome:?}");
                    continue;
                }
                let Outcome::Applied { revision, .. } = outcome else { panic!("{outcome:?}") };
                done.insert(request, revision);
                for (key, value) in &transaction.puts {
                    model.insert(key.name.to_string(), (value[0], revision));
                }
                for key in &transaction.deletes {
                    model.remove(&*key.name);
                }
            }
            cluster.settle().await;
            let mut snapshots = Vec::new();
            for store in cluster.stores() {
                let view = store.view();
                let found: Model = view
                    .iter()
                    .map(|(key, entry)| (key.name.to_string(), (entry.value[0], entry.revision)))
                    .collect();
                assert_eq!(found, model);
                let mut bytes = Vec::new();
                view.export(&mut bytes).await.unwrap();
                snapshots.push((view.revision, bytes));
            }
            for (revision, bytes) in &snapshots {
                assert_eq!(*revision, snapshots[0].0);
                assert_eq!(bytes, &snapshots[0].1, "replicas at one revision are equal byte for byte");
            }
        });
    }
}
