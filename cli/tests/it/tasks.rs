//! Asking and following, over TLS.

use crate::coordinator::{SEVERAL_PAGES, serve};
use crate::home::Home;

#[tokio::test]
async fn a_task_is_followed_over_a_broken_stream() {
    let home = Home::new();
    home.connect(&serve(&home).await).await;
    let ran = home.pvc(&["task", "watch", "t1"]).await;
    assert_eq!((ran.exit, ran.out.as_str()), (0, "vm.start of vm/web1: succeeded\n"), "{ran:?}");
    assert_eq!(ran.err, "vm.start of vm/web1: start\n");
    let ran = home.pvc(&["task", "watch", "t2"]).await;
    assert_eq!(ran.exit, 7, "{ran:?}");
    assert!(ran.err.ends_with("error: vm/web1: the task failed [task-failed]\n  help: pvc task info t1\n"));
}

#[tokio::test]
async fn refusals_are_told_in_the_cluster_s_words() {
    let home = Home::new();
    home.connect(&serve(&home).await).await;
    let ran = home.pvc(&["task", "info", "t9"]).await;
    let told = "error: task/t9: there is no such task [must-exist]\n  help: pvc task list\n";
    assert_eq!((ran.exit, ran.err.as_str()), (3, told));
    let ran = home.pvc(&["task", "cancel", "t1"]).await;
    assert_eq!((ran.exit, ran.err.as_str()), (5, "error: admin/ann may not\n"));
}

#[tokio::test]
async fn a_list_of_several_pages_is_one_list() {
    let home = Home::new();
    home.connect(&serve(&home).await).await;
    let ran = home.pvc(&["task", "list", SEVERAL_PAGES, "-o", "name"]).await;
    assert_eq!((ran.exit, ran.out.as_str()), (0, "t1\nt2\nt3\n"), "{ran:?}");
}
