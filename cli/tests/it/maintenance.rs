//! Maintenance from the command line, with a coordinator that knows one node.

use crate::coordinator::serve;
use crate::home::Home;

#[tokio::test]
async fn a_node_is_emptied_filled_and_explained() {
    let home = Home::new();
    home.connect(&serve(&home).await).await;
    let ran = home.pvc(&["node", "flush", "hv1", "--dry-run"]).await;
    assert_eq!(ran.exit, 0, "{ran:?}");
    for line in [
        "at 1 Gbit/s that takes about 20.0 s",
        "1 VMs fit nowhere else: a flush is refused without --stop-unmovable",
        "no node takes it",
    ] {
        assert!(ran.out.contains(line), "{line}: {ran:?}");
    }
    for (words, kind, asked) in [
        (&["node", "flush", "hv1", "-W", "-o", "json"][..], "node.flush", "false"),
        (&["node", "flush", "hv1", "--stop-unmovable", "-W", "-o", "json"], "node.flush", "true"),
        (&["node", "ready", "hv1", "--no-return", "-W", "-o", "json"], "node.ready", "true"),
    ] {
        let ran = home.pvc(words).await;
        assert_eq!(ran.exit, 0, "{ran:?}");
        assert!(ran.out.contains(kind) && ran.out.contains(&format!("\"message\": \"{asked}\"")), "{ran:?}");
    }
    let ran = home.pvc(&["why", "node", "hv1"]).await;
    let told = "state        the leader hears it\nmaintenance  it is in maintenance\n";
    assert_eq!((ran.exit, ran.out.as_str()), (0, told), "{ran:?}");
}
