//! For whom `pvc` on this machine shall reach a local cluster: who runs this program, and who has called it by sudo.
//!
//! What is written for a person is written with that person's rights: root follows no link that somebody has laid in a home.

use std::ffi::CStr;
use std::path::{Path, PathBuf};

use pvc_client::Connections;
use serde::{Deserialize, Serialize};

/// A person with a connections file of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    pub file: PathBuf,
    pub uid: u32,
    pub gid: u32,
}

impl Person {
    /// Whether the person may read what belongs to root.
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// Does `work` on files as this person.
    pub fn act<T>(&self, work: impl FnOnce() -> T) -> T {
        let _back = FileIdentity::take(self.uid, self.gid);
        work()
    }
}

/// Who there is. Nobody, when the environment tells no home.
pub fn present() -> Vec<Person> {
    // SAFETY: both take nothing and cannot fail
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    let own = Connections::user_file().map(|file| Person { file, uid, gid });
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    let caller =
        number("SUDO_UID").zip(number("SUDO_GID")).filter(|(caller, _)| uid == 0 && *caller != 0).and_then(
            |(uid, gid)| Some(Person { file: home(uid)?.join(".config/pvc/connections.toml"), uid, gid }),
        );
    both(own, caller)
}

/// Each file once; in a home that sudo has kept, it is the caller's.
fn both(own: Option<Person>, caller: Option<Person>) -> Vec<Person> {
    let own = own.filter(|own| caller.as_ref().is_none_or(|caller| caller.file != own.file));
    own.into_iter().chain(caller).collect()
}

/// A user's home, if it exists.
fn home(uid: u32) -> Option<PathBuf> {
    let mut buffer = vec![0; 16 * 1024];
    // SAFETY: an all-zero passwd is a valid place for the answer
    let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
    let mut found = std::ptr::null_mut();
    // SAFETY: entry, buffer and found live; the buffer's length is given
    let result = unsafe { libc::getpwuid_r(uid, &mut entry, buffer.as_mut_ptr(), buffer.len(), &mut found) };
    if result != 0 || found.is_null() || entry.pw_dir.is_null() {
        return None;
    }
    // SAFETY: a found entry's texts are NUL-terminated and lie in the buffer, which still lives
    let home = unsafe { CStr::from_ptr(entry.pw_dir) }.to_str().ok()?;
    Some(PathBuf::from(home)).filter(|home| home.is_absolute() && home != Path::new("/") && home.is_dir())
}

/// As whom this thread touches files; the former identity comes back when it is dropped.
struct FileIdentity {
    uid: libc::uid_t,
    gid: libc::gid_t,
}

impl FileIdentity {
    fn take(uid: u32, gid: u32) -> Self {
        // the group first: afterwards it is no longer allowed
        // SAFETY: both take numbers, and change this thread only; they return the former ones
        let (gid, uid) = unsafe { (libc::setfsgid(gid), libc::setfsuid(uid)) };
        // numbers of users and groups are unsigned; these two calls return them as signed
        Self { uid: uid.cast_unsigned(), gid: gid.cast_unsigned() }
    }
}

impl Drop for FileIdentity {
    fn drop(&mut self) {
        // SAFETY: as above
        unsafe {
            libc::setfsuid(self.uid);
            libc::setfsgid(self.gid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_home_that_sudo_has_kept_is_the_callers() {
        let person = |file: &str, uid| Person { file: file.into(), uid, gid: uid };
        let (root, alice) = (person("/root/c", 0), person("/home/alice/c", 1000));
        assert_eq!(both(Some(root.clone()), None), std::slice::from_ref(&root));
        assert_eq!(both(Some(root.clone()), Some(alice.clone())), [root, alice.clone()]);
        assert_eq!(both(Some(person("/home/alice/c", 0)), Some(alice.clone())), [alice]);
    }

    #[test]
    fn what_is_written_for_a_person_is_the_persons() {
        // SAFETY: takes nothing and cannot fail
        if unsafe { libc::geteuid() } != 0 {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (home, closed) = (dir.path().join("home"), dir.path().join("closed"));
        for (folder, owner) in [(&home, 4711), (&closed, 0)] {
            std::fs::create_dir(folder).unwrap();
            std::os::unix::fs::chown(folder, Some(owner), Some(owner)).unwrap();
        }
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let alice = Person { file: home.join("file"), uid: 4711, gid: 4711 };
        alice.act(|| std::fs::write(&alice.file, "")).unwrap();
        let written = std::fs::metadata(&alice.file).unwrap();
        assert_eq!((written.uid(), written.gid()), (4711, 4711));
        let refused = alice.act(|| std::fs::write(closed.join("file"), "")).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
        std::fs::write(closed.join("file"), "").expect("root again");
    }
}
