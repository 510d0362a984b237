//! Panics that are answers. raft-engine and sled panic on some damage, and when a disk refuses a sync; where they
//! are called, that is caught and becomes an error. Any other panic is a bug, and a daemon that has lost one of its
//! tasks to it must not go on: `abort_on_panic` tells the two apart.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

thread_local! {
    static HERE: Cell<usize> = const { Cell::new(0) };
}

/// Guarded calls under way whose work other threads do.
static ANYWHERE: AtomicUsize = AtomicUsize::new(0);

/// Calls `f`, whose panics are answers. `None` = it panicked. For libraries that panic on what they are given from outside.
pub fn guarded<T>(f: impl FnOnce() -> T) -> Option<T> {
    HERE.with(|depth| depth.set(depth.get() + 1));
    let result = catch_unwind(AssertUnwindSafe(f));
    HERE.with(|depth| depth.set(depth.get() - 1));
    result.ok()
}

/// The same for a call that uses threads of its own, as opening a log does.
pub(crate) fn guarded_with_threads<T>(f: impl FnOnce() -> T) -> Option<T> {
    ANYWHERE.fetch_add(1, Ordering::SeqCst);
    let result = guarded(f);
    ANYWHERE.fetch_sub(1, Ordering::SeqCst);
    result
}

/// From now on a panic ends the process, as with `panic = "abort"`, but for those that are [`guarded`] and become
/// errors: a damaged database is set aside and rebuilt, a failed disk stops its member with the reason. For the
/// daemon's `main`.
pub fn abort_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        before(info);
        if HERE.with(Cell::get) == 0 && ANYWHERE.load(Ordering::SeqCst) == 0 {
            std::process::abort();
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHILD: &str = "RAFT_STORE_CHILD_PANICS";

    /// Not a test of its own: what the child runs.
    #[test]
    fn child() {
        let Some(how) = std::env::var_os(CHILD) else { return };
        abort_on_panic();
        assert_eq!(guarded(|| 1), Some(1));
        assert_eq!(guarded(|| -> u8 { panic!("an answer") }), None);
        let elsewhere = || std::thread::spawn(|| panic!("in a thread of its own")).join().is_err();
        assert_eq!(guarded_with_threads(elsewhere), Some(true));
        println!("still here");
        if how == "bug" {
            let _ = std::thread::spawn(|| panic!("a bug")).join();
            println!("went on");
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test runs this binary again")]
    fn a_bug_ends_the_process_and_an_answer_does_not() {
        let run = |how: &str| {
            std::process::Command::new(std::env::current_exe().unwrap())
                .args(["guard::tests::child", "--exact", "--nocapture"])
                .env(CHILD, how)
                .output()
                .unwrap()
        };
        let well = run("well");
        assert!(well.status.success(), "{}", String::from_utf8_lossy(&well.stderr));
        let bug = run("bug");
        let said = String::from_utf8_lossy(&bug.stdout);
        assert!(said.contains("still here") && !said.contains("went on"), "{said}");
        assert!(!bug.status.success());
    }
}
