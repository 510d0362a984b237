//! Between the gateway and the coordinators: who is asked, what goes along, and what a caller is told when nobody answers.

use std::time::Duration;

use pvc_gateway::{Limits, upstream};
use pvc_identity::{ApiToken, Identity};

use crate::fake::{Cluster, DEAD};
use crate::http::{ask, ask_bare};

/// Impatient, so that a test need not wait for what does not come.
fn limits() -> Limits {
    Limits { answer_timeout: Duration::from_secs(2), ..Limits::default() }
}

#[tokio::test]
async fn the_callers_token_and_no_other_goes_along() {
    let cluster = Cluster::new();
    let gateway = cluster.gateway(&[cluster.coordinator().await], limits()).await.address;
    for _ in 0..2 {
        let token = ApiToken::generate().expose();
        let header = format!("Authorization: bearer {token}\r\n");
        let answer = ask_bare(gateway, "GET", "/api/v1/vms/whoami", &header, "").await;
        assert!(answer.body.contains(&format!("\"Bearer {token}\"")), "{}", answer.body);
    }
}

#[tokio::test]
async fn goes_on_with_the_coordinators_that_are_left() {
    let cluster = Cluster::new();
    let left = [DEAD.to_owned(), cluster.coordinator().await];
    let gateway = cluster.gateway(&left, Limits::default()).await.address;
    let answer = ask(gateway, "GET", "/api/v1/vms/web1", "", "").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.body.contains(r#""name":"web1""#), "{}", answer.body);
}

#[tokio::test]
async fn nobody_there_an_impostor_and_silence_are_not_the_callers_fault() {
    let cluster = Cluster::new();
    let impostor = Cluster::new().coordinator().await;
    for (coordinator, path) in [
        (DEAD.to_owned(), "/api/v1/vms/web1"),
        (impostor, "/api/v1/vms/web1"),
        (cluster.coordinator().await, "/api/v1/vms/slow"),
    ] {
        let gateway = cluster.gateway(std::slice::from_ref(&coordinator), limits()).await;
        let answer = ask(gateway.address, "GET", path, "", "").await;
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert!(answer.head.contains("retry-after"), "{}", answer.head);
        assert!(!answer.body.contains(&coordinator), "an address is nothing for callers: {}", answer.body);

        let figures = ask_bare(gateway.metrics, "GET", "/metrics", "", "").await.body;
        let failed = r#"pvc_api_call_failures_total{rpc="/pvc.v1.VmService/GetVm"} 1"#;
        assert!(figures.contains(failed), "{figures}");
    }
}

#[test]
fn a_gateway_with_powers_of_its_own_is_refused() {
    let cluster = Cluster::new();
    for identity in [Identity::admin("root").unwrap(), Identity::node("hv1").unwrap()] {
        let store = cluster.store(identity.clone());
        let error = upstream::coordinators(&[DEAD.to_owned()], &store, Duration::from_secs(1)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&identity.to_string()) && text.contains("service-certificate"), "{text}");
    }
}
