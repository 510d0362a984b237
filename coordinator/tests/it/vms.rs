//! VMs as people ask for them.

use pvc_model::vm::ObservedPhase;
use pvc_proto::v1::vm_service_server::VmService;
use pvc_proto::v1::{self, ChangeKind, VmPhase};
use tonic::Code;

use super::desk::{Desk, admin, from, next, refused, spec};

fn create(vm: &str, spec: v1::VmSpec) -> v1::CreateVmRequest {
    v1::CreateVmRequest { name: vm.to_owned(), spec: Some(spec), ..Default::default() }
}

fn get(vm: &str) -> v1::GetVmRequest {
    v1::GetVmRequest { name: vm.to_owned(), ..Default::default() }
}

fn named(vm: &v1::Vm) -> &str {
    vm.meta.as_ref().map_or("", |meta| &meta.name)
}

async fn list(desk: &Desk, request: v1::ListVmsRequest) -> Vec<String> {
    let answer = desk.vms().await.list_vms(admin(request)).await.expect("a list").into_inner();
    assert!(answer.next_page_token.is_empty());
    answer.vms.iter().map(|vm| named(vm).to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn lists_are_filtered_and_turned_around() {
    let desk = Desk::open().await;
    for (vm, tags) in [("web1", &["prod", "www"][..]), ("web2", &["www"]), ("db1", &["prod"])] {
        desk.define(vm, tags).await;
    }
    desk.run("web1", "hv2").await;
    desk.run("db1", "hv3").await;
    desk.says("db1", ObservedPhase::Failed, "it crashed").await;
    let all = v1::ListVmsRequest::default;
    let tags = |tags: &[&str]| tags.iter().map(ToString::to_string).collect::<Vec<_>>();
    let filters = [
        (all(), vec!["db1", "web1", "web2"]),
        (v1::ListVmsRequest { name_filter: "^web".into(), ..all() }, vec!["web1", "web2"]),
        (v1::ListVmsRequest { node: "hv2".into(), ..all() }, vec!["web1"]),
        (v1::ListVmsRequest { phase: VmPhase::Failed.into(), ..all() }, vec!["db1"]),
        (v1::ListVmsRequest { phase: VmPhase::Stopped.into(), ..all() }, vec!["web2"]),
        (v1::ListVmsRequest { tags: tags(&["www"]), ..all() }, vec!["web1", "web2"]),
        (v1::ListVmsRequest { tags: tags(&["www", "prod"]), ..all() }, vec!["web1"]),
        (
            v1::ListVmsRequest {
                name_filter: "1$".into(),
                tags: tags(&["prod"]),
                node: "hv3".into(),
                ..all()
            },
            vec!["db1"],
        ),
    ];
    for (filter, expected) in filters {
        let rest: Vec<&str> =
            ["db1", "web1", "web2"].into_iter().filter(|vm| !expected.contains(vm)).collect();
        assert_eq!(list(&desk, filter.clone()).await, expected, "{filter:?}");
        assert_eq!(
            list(&desk, v1::ListVmsRequest { negate: true, ..filter.clone() }).await,
            rest,
            "not {filter:?}"
        );
    }
    let vms = desk.vms().await;
    let bad = v1::ListVmsRequest { name_filter: "web[".into(), ..all() };
    assert_eq!(refused(vms.list_vms(admin(bad)).await), (Code::InvalidArgument, "name-filter".into()));
    let bad = v1::ListVmsRequest { phase: 99, ..all() };
    assert_eq!(refused(vms.list_vms(admin(bad)).await), (Code::InvalidArgument, "unknown-value".into()));
}

#[tokio::test(start_paused = true)]
async fn a_list_in_pages_is_whole_on_whichever_coordinator() {
    let desk = Desk::open().await;
    for i in 0..7 {
        desk.define(&format!("vm{i}"), &[]).await;
    }
    let (leader, follower) = (desk.vms().await, pvc_coordinator::services::Vms(desk.following().await));
    let mut seen = Vec::new();
    let mut page_token = String::new();
    for service in [&leader, &follower].into_iter().cycle() {
        let request = v1::ListVmsRequest {
            negate: true,
            name_filter: "vm3".into(),
            page_size: 2,
            page_token: page_token.clone(),
            ..Default::default()
        };
        let page = service.list_vms(admin(request)).await.expect("a page").into_inner();
        assert!(page.vms.len() <= 2);
        seen.extend(page.vms.iter().map(|vm| named(vm).to_owned()));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ["vm0", "vm1", "vm2", "vm4", "vm5", "vm6"]);
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_is_refused_and_changes_nothing() {
    let desk = Desk::open().await;
    desk.define("web1", &[]).await;
    let vms = desk.vms().await;
    let before = vms.0.core.world().revision;
    let cases = [
        (create("web1", spec()), Code::AlreadyExists, "name-taken"),
        (create("Web_1", spec()), Code::InvalidArgument, "bad-name"),
        (
            create("a", v1::VmSpec { home: "hv9".into(), ..spec() }),
            Code::FailedPrecondition,
            "node-must-exist",
        ),
        (create("a", v1::VmSpec { memory_mib: 8192, ..spec() }), Code::ResourceExhausted, "fits-a-node"),
        (create("a", v1::VmSpec { vcpus: 0, ..spec() }), Code::InvalidArgument, "out-of-range"),
        (
            v1::CreateVmRequest { name: "a".into(), ..Default::default() },
            Code::InvalidArgument,
            "must-be-set",
        ),
        (
            v1::CreateVmRequest { request_id: "a b".into(), ..create("a", spec()) },
            Code::InvalidArgument,
            "request-id",
        ),
    ];
    for (request, code, rule) in cases {
        let shown = format!("{request:?}");
        assert_eq!(refused(vms.create_vm(admin(request)).await), (code, rule.into()), "{shown}");
    }
    let start = v1::StartVmRequest { name: "web1".into(), node: "hv9".into(), ..Default::default() };
    assert_eq!(refused(vms.start_vm(admin(start)).await), (Code::NotFound, "must-exist".into()));
    let shutdown = v1::ShutdownVmRequest { name: "web1".into(), ..Default::default() };
    assert_eq!(
        refused(vms.shutdown_vm(admin(shutdown)).await),
        (Code::FailedPrecondition, "vm-must-run".into())
    );
    assert_eq!(refused(vms.get_vm(admin(get("nobody"))).await), (Code::NotFound, "must-exist".into()));
    let unnamed = tonic::Request::new(create("a", spec()));
    assert_eq!(
        vms.create_vm(unnamed).await.err().map(|s| s.code()),
        Some(Code::Internal),
        "no caller, no change"
    );
    assert_eq!(vms.0.core.world().revision, before);
}

#[tokio::test(start_paused = true)]
async fn a_check_alone_says_what_would_be_and_changes_nothing() {
    let desk = Desk::open().await;
    let web1 = desk.define("web1", &[]).await;
    let vms = desk.vms().await;
    let before = vms.0.core.world().revision;

    let wanted = v1::CreateVmRequest { validate_only: true, ..create("web2", spec()) };
    let would_be = vms.create_vm(admin(wanted.clone())).await.expect("valid").into_inner();
    assert_eq!(named(&would_be), "web2");
    assert_eq!(would_be.meta.as_ref().map(|m| m.revision), Some(0), "it is nowhere yet");
    assert_eq!(refused(vms.get_vm(admin(get("web2"))).await).0, Code::NotFound);

    let larger = v1::UpdateVmRequest {
        name: "web1".into(),
        memory_mib: Some(256),
        validate_only: true,
        ..Default::default()
    };
    let would_be = vms.update_vm(admin(larger)).await.expect("valid").into_inner();
    assert_eq!(would_be.spec.as_ref().map(|s| s.memory_mib), Some(256));
    assert_eq!(would_be.meta.as_ref().map(|m| m.revision), web1.meta.as_ref().map(|m| m.revision));
    let now = vms.get_vm(admin(get("web1"))).await.expect("a VM").into_inner();
    assert_eq!(now, web1);

    let taken = v1::CreateVmRequest { validate_only: true, ..create("web1", spec()) };
    assert_eq!(refused(vms.create_vm(admin(taken)).await), (Code::AlreadyExists, "name-taken".into()));
    assert_eq!(vms.0.core.world().revision, before);
    // What was checked is then made under the same request id: the check has not used it up.
    vms.create_vm(admin(v1::CreateVmRequest { validate_only: false, ..wanted })).await.expect("made");
}

#[tokio::test(start_paused = true)]
async fn a_stale_edit_is_refused() {
    let desk = Desk::open().await;
    let read = desk.define("web1", &[]).await.meta.expect("meta").revision;
    let vms = desk.vms().await;
    let edit = |vcpus, expected_revision| v1::UpdateVmRequest {
        name: "web1".into(),
        vcpus: Some(vcpus),
        expected_revision,
        ..Default::default()
    };
    let changed = vms.update_vm(admin(edit(2, read))).await.expect("changed").into_inner();
    assert!(changed.meta.expect("meta").revision > read);
    assert_eq!(
        refused(vms.update_vm(admin(edit(3, read))).await),
        (Code::Aborted, "expected-revision".into())
    );
    let rename = |expected_revision| v1::RenameVmRequest {
        name: "web1".into(),
        new_name: "web2".into(),
        expected_revision,
        ..Default::default()
    };
    assert_eq!(refused(vms.rename_vm(admin(rename(read))).await).0, Code::Aborted);
    let renamed = vms.rename_vm(admin(rename(0))).await.expect("renamed").into_inner();
    assert_eq!((named(&renamed), renamed.spec.as_ref().map(|s| s.vcpus)), ("web2", Some(2)));
    let delete = v1::DeleteVmRequest { name: "web2".into(), expected_revision: read, ..Default::default() };
    assert_eq!(refused(vms.delete_vm(admin(delete)).await).0, Code::Aborted);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_request_is_answered_as_the_first_time() {
    let desk = Desk::open().await;
    desk.define("web1", &[]).await;
    let vms = desk.vms().await;
    let start = v1::StartVmRequest { name: "web1".into(), request_id: "once".into(), ..Default::default() };
    let first = vms.start_vm(admin(start.clone())).await.expect("a task").into_inner();
    let again = vms.start_vm(admin(start)).await.expect("the same").into_inner();
    assert_eq!(first.meta, again.meta);
    assert_eq!((first.kind.as_str(), first.subject.as_str()), ("vm.start", "vm/web1"));
    assert_eq!(first.actor, "admin/root");
    let other = v1::CreateVmRequest { request_id: "once".into(), ..create("web2", spec()) };
    assert_eq!(refused(vms.create_vm(admin(other)).await).1, "request-id-unique");
}

#[tokio::test(start_paused = true)]
async fn a_vm_lives_through_all_its_commands() {
    let desk = Desk::open().await;
    desk.define("web1", &[]).await;
    let vms = desk.vms().await;
    let name = || "web1".to_owned();
    desk.run("web1", "hv1").await;
    let restart = v1::RestartVmRequest { name: name(), grace_seconds: 5, ..Default::default() };
    assert_eq!(vms.restart_vm(admin(restart)).await.expect("a task").into_inner().kind, "vm.restart");
    desk.says("web1", ObservedPhase::Running, "").await;
    let migrate = v1::MigrateVmRequest {
        name: name(),
        node: "hv2".into(),
        method: v1::MigrationMethod::Live.into(),
        ..Default::default()
    };
    let task = vms.migrate_vm(admin(migrate)).await.expect("a task").into_inner();
    assert_eq!((task.kind.as_str(), task.arguments["to"].as_str()), ("vm.migrate", "hv2"));
    let stop = v1::StopVmRequest { name: name(), ..Default::default() };
    assert_eq!(refused(vms.stop_vm(admin(stop.clone())).await).1, "vm-busy", "in mid-migration");
    let bad = v1::UnmigrateVmRequest { name: name(), method: 9, ..Default::default() };
    assert_eq!(refused(vms.unmigrate_vm(admin(bad)).await).1, "unknown-value");
    let home = v1::UnmigrateVmRequest { name: name(), ..Default::default() };
    assert_eq!(refused(vms.unmigrate_vm(admin(home)).await).1, "vm-must-be-away");
    let nowhere = v1::MoveVmRequest { name: name(), ..Default::default() };
    assert_eq!(refused(vms.move_vm(admin(nowhere)).await).1, "bad-name");

    desk.define("web2", &[]).await;
    desk.run("web2", "hv1").await;
    let web2 = || "web2".to_owned();
    let disable = v1::DisableVmRequest { name: web2(), force: true, ..Default::default() };
    assert_eq!(vms.disable_vm(admin(disable)).await.expect("a task").into_inner().kind, "vm.disable");
    desk.says("web2", ObservedPhase::Stopped, "").await;
    let moved = v1::MoveVmRequest { name: web2(), node: "hv3".into(), ..Default::default() };
    vms.move_vm(admin(moved)).await.expect("moved");
    let there = vms.get_vm(admin(get("web2"))).await.expect("a VM").into_inner();
    assert_eq!(there.status.and_then(|s| s.placement).map(|p| p.node).as_deref(), Some("hv3"));
    desk.says("web2", ObservedPhase::Stopped, "").await;
    let delete = v1::DeleteVmRequest { name: web2(), ..Default::default() };
    assert_eq!(vms.delete_vm(admin(delete)).await.expect("a task").into_inner().kind, "vm.remove");
}

#[tokio::test(start_paused = true)]
async fn a_watch_begins_with_a_list_and_is_resumed_elsewhere() {
    let desk = Desk::open().await;
    desk.define("web1", &["www"]).await;
    desk.define("db1", &[]).await;
    let watch = |start_revision| v1::WatchVmsRequest {
        tags: vec!["www".into()],
        start_revision,
        ..Default::default()
    };
    let told = |change: &v1::VmChange| {
        (change.kind(), change.vm.as_ref().map(|vm| named(vm).to_owned()).unwrap_or_default())
    };
    let mut stream = desk.vms().await.watch_vms(admin(watch(0))).await.expect("a watch").into_inner();
    assert_eq!(told(&next(&mut stream).await.expect("listed")), (ChangeKind::Created, "web1".into()));
    let listed = next(&mut stream).await.expect("the list's end");
    assert_eq!(told(&listed), (ChangeKind::Bookmark, String::new()));

    desk.define("web2", &["www"]).await;
    let tag = v1::UpdateVmRequest { name: "db1".into(), add_tags: vec!["www".into()], ..Default::default() };
    desk.vms().await.update_vm(admin(tag)).await.expect("changed");
    let untag =
        v1::UpdateVmRequest { name: "web1".into(), remove_tags: vec!["www".into()], ..Default::default() };
    desk.vms().await.update_vm(admin(untag)).await.expect("changed");
    let expected =
        [(ChangeKind::Created, "web2"), (ChangeKind::Created, "db1"), (ChangeKind::Deleted, "web1")];
    for expected in expected.map(|(kind, vm)| (kind, vm.to_owned())) {
        assert_eq!(told(&next(&mut stream).await.expect("a change")), expected);
    }
    let follower = pvc_coordinator::services::Vms(desk.following().await);
    let mut resumed = follower.watch_vms(admin(watch(listed.revision))).await.expect("a watch").into_inner();
    for expected in expected.map(|(kind, vm)| (kind, vm.to_owned())) {
        assert_eq!(told(&next(&mut resumed).await.expect("a change")), expected);
    }

    desk.closing.cancel();
    loop {
        match next(&mut resumed).await {
            Ok(change) => assert_eq!(change.kind(), ChangeKind::Bookmark),
            Err(status) => break assert_eq!(status.code(), Code::Unavailable, "{status}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_tells_vms_whose_node_falls_silent() {
    let desk = Desk::open().await;
    for vm in ["web1", "web2"] {
        desk.define(vm, &[]).await;
    }
    desk.run("web1", "hv3").await;
    let revision = desk.vms().await.0.core.world().revision;
    let watch = v1::WatchVmsRequest { start_revision: revision, ..Default::default() };
    let viewer = from("token/ci", Some(pvc_model::Role::Viewer), watch);
    let mut stream = desk.vms().await.watch_vms(viewer).await.expect("a watch").into_inner();
    desk.silence("hv3").await;
    let change = loop {
        let change = next(&mut stream).await.expect("a change");
        if change.kind() != ChangeKind::Bookmark {
            break change;
        }
    };
    let vm = change.vm.expect("a VM");
    assert_eq!((change.kind, named(&vm)), (ChangeKind::Updated.into(), "web1"));
    let status = vm.status.expect("a status");
    assert_eq!((status.phase(), status.reason.as_str()), (VmPhase::Unknown, "node hv3 is unreachable"));
}
