//! A node's BMC by the command line: where a password comes from, and where it is not seen.

use crate::coordinator::serve;
use crate::home::Home;
use crate::nodes::PASSWORD;

#[tokio::test]
async fn a_password_comes_from_a_file_or_stdin_and_is_never_printed() {
    let home = Home::new();
    home.connect(&serve(&home).await).await;
    let file = home.write("password", &format!("{PASSWORD}\nand what is below\n"));
    let set = ["node", "bmc", "set", "hv1", "--address", "b1", "--user", "ADMIN"];
    let by_file = [&set[..], &["--password-file", &file]].concat();
    let ran = home.pvc(&by_file).await;
    let told = "node/hv1: its BMC at b1:623 answers; it is the node's own by its system GUID\n";
    assert_eq!((ran.exit, ran.out.as_str()), (0, told), "{ran:?}");
    let by_stdin = [&set[..], &["--password-stdin", "--trust-wiring", "-o", "json"]].concat();
    let ran = home.pvc_fed(&by_stdin, &format!("{PASSWORD}\n")).await;
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(!ran.out.contains(PASSWORD) && ran.out.contains("\"hasPassword\": true"), "{ran:?}");

    let ran = home.pvc_fed(&by_stdin, "lab-secre\n").await;
    assert_eq!(ran.exit, 4, "{ran:?}");
    assert!(ran.err.contains("does not take this user and password"), "{ran:?}");
    let ran = home.pvc(&set).await;
    assert_eq!(ran.exit, 2, "{ran:?}");
    assert!(ran.err.contains("[password-needed]\n  help: give --password-file FILE"), "{ran:?}");
    let ran = home.pvc_fed(&by_stdin, "\n").await;
    assert_eq!((ran.exit, ran.err.contains("the password is empty")), (2, true), "{ran:?}");
    let as_argument = [&set[..], &["--password", PASSWORD]].concat();
    assert_eq!(home.pvc(&as_argument).await.exit, 2, "there is no such argument");
}

#[tokio::test]
async fn a_check_and_a_node_tell_the_wiring_plainly() {
    let home = Home::new();
    home.connect(&serve(&home).await).await;
    let told = "Power:               on\nIdentity:            it can't tell\n\
        Wiring:              not verified: nothing tells that it is this node's\nAnswered in:         12 ms\n";
    for words in [["node", "bmc", "check", "hv1"], ["node", "power", "hv1", "status"]] {
        let ran = home.pvc(&words).await;
        assert_eq!((ran.exit, ran.out.as_str()), (0, told), "{ran:?}");
    }
    let ran = home.pvc(&["node", "info", "hv1"]).await;
    assert!(ran.out.contains("BMC:                 ADMIN at b1:623, with a password"), "{ran:?}");
    assert!(ran.out.contains("BMC wiring:          verified"), "{ran:?}");
}

#[tokio::test]
async fn power_is_taken_after_a_yes_and_read_back() {
    let home = Home::new();
    home.connect(&serve(&home).await).await;
    let ran = home.pvc(&["node", "power", "hv1", "off"]).await;
    assert_eq!((ran.exit, ran.err.contains("[destruction-needs-yes]")), (2, true), "{ran:?}");
    let ran = home.pvc(&["-y", "node", "power", "hv1", "off"]).await;
    assert_eq!((ran.exit, ran.err.contains("VMs are placed on it")), (4, true), "{ran:?}");
    let ran = home.pvc(&["-y", "node", "power", "hv1", "off", "--force"]).await;
    assert_eq!(ran.out, "node/hv1 is off; its BMC has read that back after 1.2 s\n", "{ran:?}");
    let ran = home.pvc(&["node", "power", "hv1", "on"]).await;
    assert_eq!(ran.out, "node/hv1 is on; its BMC has read that back after 1.2 s\n", "{ran:?}");
    let ran = home.pvc(&["-y", "node", "bmc", "clear", "hv1"]).await;
    assert_eq!((ran.exit, ran.out.as_str()), (0, "node/hv1 has no BMC\n"), "{ran:?}");
}
