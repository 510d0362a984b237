//! Connections: how they are kept, and what is said when they do not work.

use crate::coordinator::serve;
use crate::home::{CLUSTER, Home};

#[tokio::test]
async fn a_certificate_is_what_the_cluster_knows_us_by() {
    let home = Home::new();
    let address = serve(&home).await;
    home.connect(&address).await;
    let ran = home.pvc(&["task", "list", "-o", "json"]).await;
    assert!(ran.exit == 0 && ran.out.contains("\"actor\": \"admin/ann\""), "{ran:?}");
    let ran = home.pvc(&["connection", "detail", "-o", "json"]).await;
    let shown: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(shown["addresses"][0], address.as_str());
    assert_eq!((&shown["clusterId"], &shown["by"]), (&CLUSTER.into(), &"certificate".into()));
}

#[tokio::test]
async fn a_token_is_sent_and_never_shown() {
    let home = Home::new();
    let address = serve(&home).await;
    let (ca, token) = (home.write("ca.pem", home.ca.cert_pem()), home.write("token", "s3cret\n"));
    let words = ["connection", "add", "ci", "-a", &address, "--token-file", &token, "--ca", &ca, "--default"];
    let added = home.pvc(&words).await;
    assert_eq!(added.exit, 0, "{added:?}");
    let ran = home.pvc(&["task", "list", "-o", "json"]).await;
    assert!(ran.exit == 0 && ran.out.contains("\"actor\": \"Bearer s3cret\""), "{ran:?}");
    for words in [["connection", "list"], ["connection", "detail"]] {
        for output in ["table", "json", "yaml"] {
            let ran = home.pvc(&[words[0], words[1], "-o", output]).await;
            assert!(ran.exit == 0 && ran.out.contains("ci") && !ran.out.contains("s3cret"), "{ran:?}");
        }
    }
}

#[tokio::test]
async fn the_one_in_use_is_chosen_and_forgotten() {
    let home = Home::new();
    home.connect("127.0.0.1:1").await;
    let folder = home.credentials("admin/bob");
    let words = ["connection", "add", "other", "-a", "127.0.0.1:2", "--credentials", &folder];
    assert_eq!(home.pvc(&words).await.exit, 0);
    let detail = ["connection", "detail", "-o", "name"];
    assert_eq!(home.pvc(&detail).await.out, "lab\n");
    assert_eq!(home.pvc(&["connection", "use", "other"]).await.exit, 0);
    assert_eq!(home.pvc(&detail).await.out, "other\n");
    assert_eq!(home.pvc(&["connection", "remove", "other"]).await.exit, 0);
    let gone = home.pvc(&["connection", "remove", "other"]).await;
    assert_eq!(gone.exit, 3, "{gone:?}");
    assert!(gone.err.contains("connection/other: there is no connection"), "{gone:?}");
}

#[tokio::test]
async fn credentials_are_tried_before_they_are_kept() {
    let home = Home::new();
    let nowhere = home.path("nowhere");
    let words = ["connection", "add", "lab", "-a", "h:1", "--credentials", nowhere.to_str().unwrap()];
    let ran = home.pvc(&words).await;
    assert_eq!(ran.exit, 5, "{ran:?}");
    assert!(ran.err.starts_with("error: connection/lab: the credentials can't be used"), "{ran:?}");
    assert!(!home.path(".config").exists());
}

#[tokio::test]
async fn nobody_answers_or_nobody_is_trusted() {
    let (home, stranger) = (Home::new(), Home::new());
    home.connect("127.0.0.1:1").await;
    let ran = home.pvc(&["--timeout", "1", "task", "list"]).await;
    assert_eq!(ran.exit, 6, "{ran:?}");
    assert!(ran.err.starts_with("error: no coordinator answered within 1.0 s: "), "{ran:?}");
    assert!(ran.err.ends_with("help: see the connection: pvc connection detail\n"), "{ran:?}");

    home.connect(&serve(&stranger).await).await;
    let ran = home.pvc(&["--timeout", "1", "task", "list"]).await;
    assert_eq!(ran.exit, 5, "{ran:?}");
    assert!(ran.err.starts_with("error: no coordinator can be trusted: "), "{ran:?}");
}
