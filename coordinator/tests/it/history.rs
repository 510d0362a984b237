//! What has happened, as people ask for it.

use pvc_coordinator::services::Events;
use pvc_model::event::KEPT;
use pvc_proto::v1;
use pvc_proto::v1::event_service_server::EventService;
use pvc_proto::v1::vm_service_server::VmService;
use tonic::Code;

use super::desk::{Desk, admin, refused};

async fn events(desk: &Desk, subject: &str, limit: u32) -> Vec<v1::Event> {
    let events = Events(desk.leading().await);
    let request = v1::ListEventsRequest { subject: subject.to_owned(), limit, consistency: 0 };
    events.list_events(admin(request)).await.expect("a list").into_inner().events
}

fn texts(events: &[v1::Event]) -> Vec<String> {
    events.iter().map(|event| format!("{}: {} ({})", event.topic, event.text, event.actor)).collect()
}

#[tokio::test(start_paused = true)]
async fn what_happened_to_a_vm_is_told_by_whom() {
    let desk = Desk::open().await;
    desk.define("web1", &[]).await;
    desk.run("web1", "hv1").await;
    let told = events(&desk, "vm/web1", 0).await;
    assert_eq!(
        texts(&told),
        [
            "state: it runs on hv1 (node/hv1)",
            "placement: it is placed on hv1 (admin/root)",
            "power: it is to run (admin/root)",
            "settings: created (admin/root)"
        ]
    );
    assert!(told.iter().all(|event| event.time.is_some()));
    assert_eq!(texts(&events(&desk, "vm/web1", 1).await), texts(&told[..1]));
    let node = texts(&events(&desk, "node/hv2", 0).await);
    assert!(node.iter().any(|text| text.starts_with("contact: it is heard for the first time")), "{node:?}");
    let cluster = texts(&events(&desk, "cluster", 0).await);
    assert_eq!(cluster, ["primary: hv1 is the primary: the first primary (pvc)"]);
}

#[tokio::test(start_paused = true)]
async fn the_oldest_go_and_all_go_with_the_vm() {
    let desk = Desk::open().await;
    desk.define("web1", &[]).await;
    let vms = pvc_coordinator::services::Vms(desk.leading().await);
    for vcpus in 0..KEPT as u32 + 5 {
        let update = v1::UpdateVmRequest {
            name: "web1".into(),
            vcpus: Some(1 + vcpus % 2),
            memory_mib: Some(128 + u64::from(vcpus)),
            ..Default::default()
        };
        vms.update_vm(admin(update)).await.expect("changed");
    }
    let stored = |desk: &Desk| {
        let view = desk.cluster.coordinators.values().next().expect("one").store().view();
        view.list("events", "").filter(|(key, _)| !key.name.is_empty()).count()
    };
    let told = events(&desk, "vm/web1", 0).await;
    assert_eq!(told.len(), KEPT);
    assert!(told.iter().all(|event| event.text == "its settings were changed"), "the first has gone");
    let before = stored(&desk);
    vms.delete_vm(admin(v1::DeleteVmRequest { name: "web1".into(), ..Default::default() }))
        .await
        .expect("gone");
    let events = Events(desk.leading().await);
    let request = v1::ListEventsRequest { subject: "vm/web1".into(), ..Default::default() };
    assert_eq!(refused(events.list_events(admin(request)).await).0, Code::NotFound);
    let world = desk.cluster.coordinators.values().next().expect("one").linearizable_world().await;
    assert!(world.expect("read").vms.is_empty());
    assert_eq!(stored(&desk), before - KEPT);
}

#[tokio::test(start_paused = true)]
async fn a_subject_that_is_none_is_refused() {
    let desk = Desk::open().await;
    let events = Events(desk.leading().await);
    for (subject, code) in
        [("web1", Code::InvalidArgument), ("disk/a", Code::InvalidArgument), ("vm/none", Code::NotFound)]
    {
        let request = v1::ListEventsRequest { subject: subject.into(), ..Default::default() };
        assert_eq!(refused(events.list_events(admin(request)).await).0, code, "{subject}");
    }
}
