//! FRRouting's daemons, as hosts and the upstream router of a local cluster run them: in the foreground, each told where its
//! files are, and given up by root.

use std::io;
use std::path::Path;

/// Routes in the kernel; the other daemons speak to it, so it is first.
pub const ZEBRA: &str = "zebra";
/// Routes between routers.
pub const BGPD: &str = "bgpd";
/// Whether the links between them live.
pub const BFDD: &str = "bfdd";
/// Its socket for the others. One that is started before that is there tries again ten seconds later, and BFD never watches the
/// neighbours that come up meanwhile (seen of 8.4.4; FRRouting's own start script waits too).
pub const ZEBRA_SOCKET: &str = "zserv.api";
/// All that are run, in the order in which they are started.
pub const DAEMONS: [&str; 3] = [ZEBRA, BGPD, BFDD];
/// FRRouting's user and group.
const USER: &str = "frr";
/// Where Debian keeps users.
const PASSWD: &str = "/etc/passwd";
/// A configuration that says nothing.
pub const NO_CONFIG: &str = "/dev/null";
/// Where the daemons keep what they may say in their last moment: a folder for each process. They never remove them.
const LAST_WORDS_DIR: &str = "/var/tmp/frr";
/// What the kernel may keep for zebra while it is busy: thousands of links and routes change at once.
const NETLINK_BYTES: &str = "90000000";

/// Why FRRouting's user is not known.
#[derive(Debug, thiserror::Error)]
pub enum FrrUserError {
    #[error(
        "there is no user {USER:?}: package frr makes it, and `scripts/install-deps.sh run` installs that"
    )]
    NoUser,
    #[error("could not read {PASSWD}")]
    Read(#[source] io::Error),
}

/// Numbers of FRRouting's user and group.
pub fn user() -> Result<(u32, u32), FrrUserError> {
    let text = std::fs::read_to_string(PASSWD).map_err(FrrUserError::Read)?;
    numbers_in(&text).ok_or(FrrUserError::NoUser)
}

fn numbers_in(passwd: &str) -> Option<(u32, u32)> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(USER) {
            return None;
        }
        let mut number = || fields.next()?.parse().ok();
        // the password's place comes first
        let _: Option<u32> = number();
        Some((number()?, number()?))
    })
}

/// The words that start one of the daemons with this configuration. It listens on no port for people: only on its socket.
pub fn argv(daemon: &str, config: &str) -> Vec<String> {
    let program = format!("/usr/lib/frr/{daemon}");
    let mut argv = vec![program, "-u".to_owned(), USER.to_owned(), "-g".to_owned(), USER.to_owned()];
    argv.extend(
        ["-f", config, "-P", "0", "--log", "stdout", "--log-level", "informational"].map(str::to_owned),
    );
    if daemon == ZEBRA {
        argv.extend(["-s", NETLINK_BYTES].map(str::to_owned));
    }
    argv
}

/// Removes what a daemon that has ended would have said its last words into; fine when there is nothing.
pub fn remove_last_words(daemon: &str, pid: &str) {
    let dir = Path::new(LAST_WORDS_DIR);
    if !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()) {
        let _ = std::fs::remove_dir_all(dir.join(format!("{daemon}.{pid}")));
    }
    // only when it is empty, so that nobody's is lost
    let _ = std::fs::remove_dir(dir);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_found_by_its_whole_name() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nfrrx:x:1:1::/:/x\nfrr:x:105:112:Frr:/nonexistent:/usr/sbin/nologin\n";
        assert_eq!(numbers_in(passwd), Some((105, 112)));
        assert_eq!(numbers_in("frr"), None);
        assert_eq!(numbers_in(""), None);
    }

    #[test]
    fn each_daemon_runs_in_the_foreground_as_its_own_user() {
        for daemon in DAEMONS {
            let argv = argv(daemon, NO_CONFIG);
            assert_eq!(argv[..5], [&format!("/usr/lib/frr/{daemon}"), "-u", "frr", "-g", "frr"]);
            assert!(!argv.contains(&"-d".to_owned()));
            assert_eq!(argv.contains(&"-s".to_owned()), daemon == ZEBRA);
        }
    }
}
