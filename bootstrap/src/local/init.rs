//! The first process of a local host: makes the host's private view of the machine, starts its services, buries its orphans.
//!
//! It is entered as the hidden `pvc-bootstrap local __init` before any thread exists, because it forks: the child that
//! comes out is process 1 of new mount, process, name and IPC namespaces inside the host's network namespace (which must
//! exist, with its links). It is the one place besides `pvc-process` that starts programs: a first process must collect
//! every child of its namespace itself, which a runner that waits for its own children does not allow.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::frr::{self, FrrUserError};
use super::plan::HostName;
use super::state::{ClusterDir, ClusterState, StateError};
use super::supervisor::Service;

/// Folders that each host has for itself, as the host sees them.
pub const PRIVATE_DIRS: [&str; 10] = [
    "/etc/libvirt",
    "/var/lib/libvirt",
    "/var/cache/libvirt",
    "/var/log/libvirt",
    "/etc/pki",
    "/etc/pvc",
    "/var/lib/pvc",
    "/var/log/pvc",
    "/etc/frr",
    "/var/log/frr",
];
/// Where FRRouting's daemons are spoken to, and speak to each other.
const FRR_RUN: &str = "/run/frr";
/// Folders that belong to FRRouting's user.
const FRR_DIRS: [&str; 3] = ["/etc/frr", "/var/log/frr", FRR_RUN];
/// Where each host sees the folder that all hosts share.
pub const SHARED_DIR: &str = "/var/lib/pvc/volumes/shared";
/// Folder in the host whose files `hold-SERVICE` keep a service from being started. It dies with the host's power.
pub const HOLD_DIR: &str = "/run/pvc-local";

/// The service that stops the host's guests when its lease has lapsed, and its process.
pub const GUARD: &str = "pvc-guard";

const TICK: Duration = Duration::from_millis(200);
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Why a host could not be started.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("could not {what}")]
    Step {
        what: String,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Frr(#[from] FrrUserError),
    #[error("host {host} did not come up: {reason}")]
    Child { host: HostName, reason: String },
}

fn step(what: impl Into<String>, result: io::Result<()>) -> Result<(), InitError> {
    result.map_err(|source| InitError::Step { what: what.into(), source })
}

/// Turns a system call's -1 into its error.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Starts the host and returns when its first process is in place (or says why not). The caller has a single thread.
pub fn start(dir: &ClusterDir, host: HostName) -> Result<(), InitError> {
    let state = dir.load()?;
    state.host(host)?;
    let console = dir.host(host).console_log();
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&console)
        .map_err(|source| InitError::Step { what: format!("open {}", console.display()), source })?;
    let netns = Path::new("/run/netns").join(dir.name().host_netns(host));
    let netns_file = File::open(&netns)
        .map_err(|source| InitError::Step { what: format!("open {}", netns.display()), source })?;
    let (mut report, answer) =
        pipe().map_err(|source| InitError::Step { what: "make a pipe".to_owned(), source })?;

    // SAFETY: setns and unshare take numbers only; netns_file is open
    unsafe {
        step(
            format!("enter {}", netns.display()),
            check(libc::setns(netns_file.as_raw_fd(), libc::CLONE_NEWNET)).map(drop),
        )?;
        step(
            "make namespaces",
            check(libc::unshare(
                libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC | libc::CLONE_NEWPID,
            ))
            .map(drop),
        )?;
    }
    // SAFETY: this process has a single thread, so the child may go on with ordinary code
    let child = check(unsafe { libc::fork() })
        .map_err(|source| InitError::Step { what: "fork".to_owned(), source })?;
    if child == 0 {
        drop(report);
        run_first_process(dir, &state, host, &log, answer);
    }
    drop(answer);
    let mut reason = String::new();
    let read = report.read_to_string(&mut reason);
    match read {
        Ok(_) if reason == "up" => Ok(()),
        _ => Err(InitError::Child {
            host,
            reason: if reason.is_empty() {
                format!("its first process died, see {}", console.display())
            } else {
                reason
            },
        }),
    }
}

fn pipe() -> io::Result<(File, File)> {
    let mut ends = [0; 2];
    // SAFETY: pipe2 fills the two numbers, each of which then belongs to exactly one File
    unsafe {
        check(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC))?;
        Ok((File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1])))
    }
}

fn run_first_process(
    dir: &ClusterDir,
    state: &ClusterState,
    host: HostName,
    log: &File,
    mut answer: File,
) -> ! {
    let outcome = detach(log, &answer).and_then(|()| make_view(dir, state, host));
    let code = match outcome {
        Ok(()) => {
            let _ = answer.write_all(b"up");
            drop(answer);
            eprintln!("host {host} is up");
            supervise(services(state));
            eprintln!("host {host} is down");
            0
        }
        Err(error) => {
            let mut text = error.to_string();
            if let Some(source) = std::error::Error::source(&error) {
                text.push_str(&format!(": {source}"));
            }
            eprintln!("host {host}: {text}");
            let _ = answer.write_all(text.as_bytes());
            1
        }
    };
    std::process::exit(code)
}

/// Lets go of all that the caller's terminal and pipes have given: output goes to the host's console log.
fn detach(log: &File, answer: &File) -> Result<(), InitError> {
    let null = File::open("/dev/null")
        .map_err(|source| InitError::Step { what: "open /dev/null".to_owned(), source })?;
    // SAFETY: the three files are open; only numbers are passed
    unsafe {
        // a session of its own: who started us may end its whole process group
        step("make a session", check(libc::setsid()).map(drop))?;
        for (from, to) in [(null.as_raw_fd(), 0), (log.as_raw_fd(), 1), (log.as_raw_fd(), 2)] {
            step("redirect output", check(libc::dup2(from, to)).map(drop))?;
        }
        drop(null);
        // everything else that was inherited without close-on-exec, such as a caller's lock or pipe
        let keep = answer.as_raw_fd();
        for fd in 3..1024 {
            if fd != keep {
                libc::close(fd);
            }
        }
    }
    Ok(())
}

fn path_c(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("paths come from arguments, which have no NUL")
}

fn mount(source: &Path, target: &Path, kind: Option<&str>, flags: libc::c_ulong) -> Result<(), InitError> {
    let (from, to) = (path_c(source), path_c(target));
    let kind = kind.map(|kind| CString::new(kind).expect("a constant without NUL"));
    // SAFETY: all pointers are to NUL-terminated strings that outlive the call, or null where the kernel allows it
    let result = check(unsafe {
        libc::mount(
            from.as_ptr(),
            to.as_ptr(),
            kind.as_ref().map_or(std::ptr::null(), |kind| kind.as_ptr()),
            flags,
            std::ptr::null(),
        )
    });
    step(format!("mount {} on {}", source.display(), target.display()), result.map(drop))
}

/// Covers a device by an empty file that nobody can write, root included. What libvirt may open for reading and writing
/// it takes for KVM; when that then does nothing, it asks qemu for all its facts again at each use (10 s for a start).
fn hide(device: &Path, empty: &Path) -> Result<(), InitError> {
    step(format!("make {}", empty.display()), fs::write(empty, ""))?;
    mount(empty, device, None, libc::MS_BIND)?;
    mount(empty, device, None, libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY)
}

fn make_view(dir: &ClusterDir, state: &ClusterState, host: HostName) -> Result<(), InitError> {
    let none = Path::new("none");
    mount(none, Path::new("/"), None, libc::MS_REC | libc::MS_PRIVATE)?;
    mount(Path::new("proc"), Path::new("/proc"), Some("proc"), 0)?;
    // /sys/class/net shows the network namespace of whoever mounted it
    // SAFETY: a constant string
    let unmounted = check(unsafe { libc::umount2(c"/sys".as_ptr(), libc::MNT_DETACH) });
    step("unmount the machine's /sys", unmounted.map(drop))?;
    mount(Path::new("sysfs"), Path::new("/sys"), Some("sysfs"), 0)?;
    let disk = dir.host(host);
    for at in PRIVATE_DIRS {
        mount(&disk.of(at), Path::new(at), None, libc::MS_BIND)?;
    }
    mount(&dir.shared(), Path::new(SHARED_DIR), None, libc::MS_BIND)?;
    mount(&disk.of("/etc/hosts"), Path::new("/etc/hosts"), None, libc::MS_BIND)?;
    let kvm = Path::new("/dev/kvm");
    if !state.kvm && kvm.exists() {
        hide(kvm, &disk.no_kvm())?;
    }
    // FRRouting's daemons would meet there those of other hosts with the same process numbers
    mount(Path::new("tmpfs"), Path::new("/var/tmp"), Some("tmpfs"), libc::MS_NOSUID | libc::MS_NODEV)?;
    // last: the state's folder might be under /run
    mount(Path::new("tmpfs"), Path::new("/run"), Some("tmpfs"), libc::MS_NOSUID | libc::MS_NODEV)?;
    for at in ["/run/lock", "/run/libvirt", "/run/pvc", FRR_RUN, HOLD_DIR] {
        step(format!("make {at}"), fs::create_dir_all(at))?;
    }
    let (user, group) = frr::user()?;
    for at in FRR_DIRS {
        step(format!("give {at} to FRRouting"), chown(at, Some(user), Some(group)))?;
    }
    let name = host.to_string();
    // SAFETY: pointer and length are of one living string
    let named = check(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) });
    step("set the host's name", named.map(drop))?;
    step("leave the caller's folder", std::env::set_current_dir("/"))
}

fn services(state: &ClusterState) -> Vec<Service> {
    let hold = |name: &str| PathBuf::from(HOLD_DIR).join(format!("hold-{name}"));
    let argv = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    // libvirtd refuses to start when it shall listen by TLS and has no certificate
    let certificate = PathBuf::from("/etc/pki/libvirt/servercert.pem");
    // The daemons come up with nothing configured: pvcd tells them all by their sockets, also one that has died.
    let mut all: Vec<Service> = frr::DAEMONS
        .into_iter()
        .map(|daemon| {
            let needs =
                if daemon == frr::ZEBRA { vec![] } else { vec![Path::new(FRR_RUN).join(frr::ZEBRA_SOCKET)] };
            Service::new(daemon, frr::argv(daemon, frr::NO_CONFIG), needs, hold(daemon))
        })
        .collect();
    all.extend([
        Service::new("virtlogd", argv(&["/usr/sbin/virtlogd"]), vec![], hold("virtlogd")),
        Service::new(
            "libvirtd",
            argv(&["/usr/sbin/libvirtd", "--listen"]),
            vec![certificate.clone()],
            hold("libvirtd"),
        ),
    ]);
    if let Some(pvcd) = &state.pvcd {
        // Without a watchdog: the machine's would reset the machine.
        all.push(Service::new(
            GUARD,
            argv(&[&pvcd.to_string_lossy(), "guard", "--no-watchdog"]),
            vec![certificate.clone()],
            hold(GUARD),
        ));
        all.push(Service::new(
            "pvcd",
            argv(&[&pvcd.to_string_lossy(), "--config", crate::daemon_config::PATH]),
            vec![certificate, PathBuf::from(crate::daemon_config::PATH)],
            hold("pvcd"),
        ));
    }
    all
}

fn signals() -> libc::sigset_t {
    // SAFETY: an all-zero sigset_t is a valid place for sigemptyset, which initializes it
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            libc::sigaddset(&mut set, signal);
        }
        set
    }
}

/// Waits for one of [`signals`], at most one tick.
fn next_signal(set: &libc::sigset_t) -> Option<libc::c_int> {
    let tick = libc::timespec { tv_sec: 0, tv_nsec: TICK.as_nanos() as libc::c_long };
    // SAFETY: set and tick live; no information about the signal is asked for
    let signal = unsafe { libc::sigtimedwait(set, std::ptr::null_mut(), &tick) };
    (signal > 0).then_some(signal)
}

/// Starts what is due and restarts what dies, until the host is asked to shut down.
fn supervise(mut services: Vec<Service>) {
    let set = signals();
    // SAFETY: blocks the set in the only thread; children get an empty mask again when they are spawned
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) };
    loop {
        bury(&mut services);
        for service in &mut services {
            let now = Instant::now();
            if service.is_due(now) {
                match spawn(service) {
                    Ok(pid) => {
                        eprintln!("{} started, pid {pid}", service.name);
                        service.started(pid, now);
                    }
                    Err(error) => {
                        let wait = service.died(now);
                        eprintln!("{} did not start: {error}; again in {wait:?}", service.name);
                    }
                }
            }
        }
        if let Some(libc::SIGTERM | libc::SIGINT) = next_signal(&set) {
            break;
        }
    }
    // the reverse of the order in which they were started
    for index in (0..services.len()).rev() {
        let Some(pid) = services[index].pid() else {
            continue;
        };
        eprintln!("{} is stopped", services[index].name);
        let deadline = Instant::now() + STOP_LIMIT;
        // SAFETY: kill takes two numbers; the pid is of a child not yet waited for
        unsafe { libc::kill(pid, libc::SIGTERM) };
        while services[index].pid().is_some() {
            if Instant::now() >= deadline {
                eprintln!("{} did not stop within {STOP_LIMIT:?}", services[index].name);
                // SAFETY: as above
                unsafe { libc::kill(pid, libc::SIGKILL) };
                break;
            }
            next_signal(&set);
            bury(&mut services);
        }
    }
}

/// Collects every dead child, services and orphans alike.
fn bury(services: &mut [Service]) {
    loop {
        let mut status = 0;
        // SAFETY: status is a living number
        let pid = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
        if pid <= 0 {
            return;
        }
        if let Some(service) = services.iter_mut().find(|service| service.pid() == Some(pid)) {
            let wait = service.died(Instant::now());
            let how = if libc::WIFSIGNALED(status) {
                format!("killed by signal {}", libc::WTERMSIG(status))
            } else {
                format!("exit code {}", libc::WEXITSTATUS(status))
            };
            eprintln!("{} died ({how}); not started again for {wait:?}", service.name);
        }
    }
}

/// Starts a service in a session of its own, its output appended to `/var/log/pvc/NAME.log`.
fn spawn(service: &Service) -> io::Result<i32> {
    let text = |word: &str| CString::new(word).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    let argv = service.argv.iter().map(|word| text(word)).collect::<io::Result<Vec<_>>>()?;
    let env = std::env::vars_os()
        .filter(|(name, _)| name == "RUST_LOG" || name == "RUST_BACKTRACE")
        .map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat())
        .chain([b"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_vec()])
        .map(|word| CString::new(word).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput)))
        .collect::<io::Result<Vec<_>>>()?;
    let pointers = |words: &[CString]| -> Vec<*mut libc::c_char> {
        words.iter().map(|word| word.as_ptr().cast_mut()).chain([std::ptr::null_mut()]).collect()
    };
    let (argv_pointers, env_pointers) = (pointers(&argv), pointers(&env));
    let log = text(&format!("/var/log/pvc/{}.log", service.name))?;
    // posix_spawn's functions return the error's number instead of setting errno
    let ok = |code: libc::c_int| match code {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    };
    // SAFETY: attributes and actions are initialized before use and destroyed after it; all strings live to the end
    unsafe {
        let mut actions: libc::posix_spawn_file_actions_t = std::mem::zeroed();
        let mut attributes: libc::posix_spawnattr_t = std::mem::zeroed();
        let mut empty: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut empty);
        ok(libc::posix_spawn_file_actions_init(&mut actions))?;
        ok(libc::posix_spawnattr_init(&mut attributes))?;
        let mut pid = 0;
        let done = ok(libc::posix_spawn_file_actions_addopen(
            &mut actions,
            1,
            log.as_ptr(),
            libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND,
            0o640,
        ))
        .and_then(|()| ok(libc::posix_spawn_file_actions_adddup2(&mut actions, 1, 2)))
        .and_then(|()| ok(libc::posix_spawnattr_setsigmask(&mut attributes, &empty)))
        .and_then(|()| {
            let flags = libc::POSIX_SPAWN_SETSIGMASK as libc::c_short | libc::POSIX_SPAWN_SETSID;
            ok(libc::posix_spawnattr_setflags(&mut attributes, flags))
        })
        .and_then(|()| {
            ok(libc::posix_spawn(
                &mut pid,
                argv[0].as_ptr(),
                &actions,
                &attributes,
                argv_pointers.as_ptr(),
                env_pointers.as_ptr(),
            ))
        });
        libc::posix_spawnattr_destroy(&mut attributes);
        libc::posix_spawn_file_actions_destroy(&mut actions);
        done.map(|()| pid)
    }
}
