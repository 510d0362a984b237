//! Model → message → bytes → message → model changes nothing, for every object that the model can hold.

use proptest::prelude::*;
use pvc_model::command::{MigrationEvent, MigrationReport, VmReport, VolumeReport};
use pvc_model::{Object, Task, Token, Uid, Vm, Volume};
use pvc_proto::convert::{self, At, decode_object, encode_object};
use pvc_proto::v1;

use crate::generate::object;

fn revision(object: &Object) -> u64 {
    match object {
        Object::Node(o) => o.meta.revision,
        Object::Vm(o) => o.meta.revision,
        Object::Volume(o) => o.meta.revision,
        Object::Task(o) => o.meta.revision,
        Object::Token(o) => o.meta.revision,
        Object::Fault(o) => o.meta.revision,
        Object::Cluster(o) => o.meta.revision,
        Object::Rule(o) => o.meta.revision,
        Object::Network(o) => o.meta.revision,
        Object::Lease(o) => o.meta.revision,
    }
}

proptest! {
    #[test]
    fn by_way_of_the_disk(object in object()) {
        let key = object.key();
        let bytes = encode_object(&object);
        let back = decode_object(key.collection, &bytes, revision(&object));
        prop_assert_eq!(back.unwrap(), object);
    }

    /// On the wire the revision travels with the object.
    #[test]
    fn by_way_of_the_wire(object in object()) {
        let back = match &object {
            Object::Node(o) => Object::Node((&v1::Node::from(o)).try_into().unwrap()),
            Object::Vm(o) => Object::Vm(Vm::try_from(&v1::Vm::from(o)).unwrap()),
            Object::Volume(o) => Object::Volume(Volume::try_from(&v1::Volume::from(o)).unwrap()),
            Object::Task(o) => Object::Task(Task::try_from(&v1::Task::from(o)).unwrap()),
            Object::Token(o) => Object::Token(Token::try_from(&v1::Token::from(o)).unwrap()),
            Object::Fault(o) => Object::Fault((&v1::Fault::from(o)).try_into().unwrap()),
            Object::Cluster(o) => Object::Cluster((&v1::Cluster::from(o)).try_into().unwrap()),
            Object::Rule(o) => Object::Rule((&v1::Rule::from(o)).try_into().unwrap()),
            Object::Network(o) => Object::Network((&v1::Network::from(o)).try_into().unwrap()),
            Object::Lease(o) => Object::Lease((&v1::Lease::from(o)).try_into().unwrap()),
        };
        prop_assert_eq!(back, object);
    }

    /// The stored bytes don't tell the revision: the same object written twice is the same bytes.
    #[test]
    fn stored_bytes_hold_no_revision(object in object(), revision in any::<u64>()) {
        let bytes = encode_object(&object);
        let later = decode_object(object.key().collection, &bytes, revision).unwrap();
        prop_assert_eq!(encode_object(&later), bytes);
    }
}

#[test]
fn reports_arrive_as_they_were_sent() {
    let observed =
        v1::Observed { node: "hv1".into(), phase: v1::VmPhase::Running.into(), ..v1::Observed::default() };
    let at = At::new("node/hv1");
    let vm = VmReport {
        uid: Uid::from_random(7),
        observed: Some(convert::observed(&at, &observed).unwrap()),
        migration: Some(MigrationReport {
            task: "t-1".parse().unwrap(),
            event: MigrationEvent::Arrived,
            address: "10.0.0.2".into(),
            error: "none".into(),
            cost: "paused for 84 ms".into(),
        }),
    };
    assert_eq!(convert::vm_report(&at, &(&vm).into()), Ok(vm));
    let status = v1::VolumeStatus {
        phase: v1::VolumePhase::Ready.into(),
        size_bytes: 4096,
        ..v1::VolumeStatus::default()
    };
    let volume = VolumeReport {
        name: "web1-root".parse().unwrap(),
        uid: Uid::from_random(8),
        status: convert::volume_status(&at, &status).unwrap(),
        deleted: true,
    };
    assert_eq!(convert::volume_report(&at, &(&volume).into()), Ok(volume));
}
