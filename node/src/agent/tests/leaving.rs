//! Hosts that are shut down in order, as the daemon sees it.

use pvc_model::command::Command::*;
use pvc_model::leaving::OnShutdown;
use pvc_model::phase::VmPhase;

use super::{Lab, name};
use crate::leave::Left;

fn policy(lab: &Lab, on_shutdown: OnShutdown) {
    lab.ok(UpdateNode {
        name: name("hv1"),
        schedulable: None,
        on_return: None,
        on_shutdown: Some(on_shutdown),
        isolation: None,
        expected_revision: 0,
    });
}

#[tokio::test(start_paused = true)]
async fn it_waits_until_its_guests_have_moved() {
    let mut lab = Lab::of(&["hv1", "hv2"]).await;
    lab.running("a", "hv1").await;
    lab.running("b", "hv1").await;
    let leaving = lab.leave(0);
    lab.pass(2.0).await;
    assert!(!leaving.is_finished(), "they are on their way");
    lab.pass(30.0).await;
    assert!(leaving.is_finished());
    assert_eq!(leaving.await.expect("no panic"), Left::Empty);
    assert_eq!((lab.writer("a").as_str(), lab.boots("a")), ("hv2", 1));
    assert_eq!((lab.writer("b").as_str(), lab.boots("b")), ("hv2", 1));

    lab.kill_agent(0);
    lab.pass(60.0).await;
    lab.boot_agent(0);
    lab.pass(60.0).await;
    assert_eq!((lab.writer("a").as_str(), lab.boots("a")), ("hv1", 1), "they return with their host");
    assert_eq!(lab.writer("b"), "hv1");
}

#[tokio::test(start_paused = true)]
async fn guests_are_shut_down_and_started_again() {
    let mut lab = Lab::of(&["hv1", "hv2"]).await;
    lab.running("a", "hv1").await;
    policy(&lab, OnShutdown::Stop);
    let leaving = lab.leave(0);
    lab.pass(10.0).await;
    assert_eq!(leaving.await.expect("no panic"), Left::Empty);
    assert_eq!((lab.writer("a").as_str(), lab.phase("a")), ("", VmPhase::Stopped));
    lab.kill_agent(0);
    lab.pass(60.0).await;
    assert_eq!(lab.writer("a"), "");
    lab.boot_agent(0);
    lab.pass(10.0).await;
    assert_eq!((lab.writer("a").as_str(), lab.boots("a")), ("hv1", 2));
}

#[tokio::test(start_paused = true)]
async fn it_does_not_wait_for_guests_that_it_keeps() {
    let mut lab = Lab::of(&["hv1", "hv2"]).await;
    lab.running("a", "hv1").await;
    policy(&lab, OnShutdown::Keep);
    let leaving = lab.leave(0);
    lab.pass(2.0).await;
    assert_eq!(leaving.await.expect("no panic"), Left::Kept);
    assert_eq!(lab.writer("a"), "hv1", "its end is not pvcd's");
}

#[tokio::test(start_paused = true)]
async fn without_a_leader_it_waits_for_a_minute() {
    let mut lab = Lab::of(&["hv1", "hv2"]).await;
    lab.running("a", "hv1").await;
    lab.leader.cut("hv1");
    let leaving = lab.leave(0);
    lab.pass(55.0).await;
    assert!(!leaving.is_finished());
    lab.pass(10.0).await;
    assert!(matches!(leaving.await.expect("no panic"), Left::Unheard(_)));
    assert_eq!(lab.writer("a"), "hv1");
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_does_not_go_holds_it_up_for_a_while_only() {
    let mut lab = Lab::of(&["hv1", "hv2"]).await;
    lab.running("a", "hv1").await;
    lab.hosts.set_link(&name("hv1"), &name("hv2"), false);
    lab.hosts.faults(&name("hv1"), |faults| faults.hang = true);
    let leaving = lab.leave(0);
    lab.pass(890.0).await;
    assert!(!leaving.is_finished());
    lab.pass(20.0).await;
    assert_eq!(leaving.await.expect("no panic"), Left::NotInTime);
}
