//! `pvcd guard` in a process, over processes that stand for guests: what it ends, what it leaves alone, and when.

#![expect(clippy::disallowed_methods, reason = "the test ends processes of its own, at moments of its own")]

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pvc_node::guard::socket::SocketPort;
use pvc_node::guard::{Answer, Ask, GuardPort, Kind, STRIKE_AFTER, since_boot};
use tokio::time::{Instant, sleep};

const LEASE: Duration = Duration::from_millis(2500);
const PVC: &str = "<metadata><pvc:vm xmlns:pvc=\"urn:parallelvirtualcluster:vm:1\" epoch=\"1\"/></metadata>";

/// A process with a guest's uuid on its command line, as qemu has it. It waits for a line that never comes.
struct Guest(Child);

impl Guest {
    fn start(uuid: &str) -> Guest {
        let mut command = Command::new("sh");
        let command = command.args(["-c", "read line", "qemu", "-uuid", uuid, "-smp", "1"]);
        Guest(command.stdin(Stdio::piped()).spawn().expect("a process"))
    }

    fn is_gone(&mut self) -> bool {
        self.0.try_wait().expect("a child of this process").is_some()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A host's folders, and its guard.
struct Host {
    folder: tempfile::TempDir,
    guard: Option<Child>,
    port: SocketPort,
}

impl Host {
    async fn new() -> Host {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("qemu")).expect("made");
        let port = SocketPort::of(&folder.path().join("run"));
        let mut host = Host { folder, guard: None, port };
        host.start_guard().await;
        host
    }

    fn command(&self) -> Command {
        let mut command = Command::new(super::program("pvcd"));
        command.arg("guard").arg("--no-watchdog");
        command.arg("--run-dir").arg(self.folder.path().join("run"));
        command.arg("--libvirt-state").arg(self.folder.path().join("qemu"));
        command
    }

    async fn start_guard(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.folder.path().join("log"));
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.expect("a log"));
        self.guard = Some(command.spawn().expect("a guard"));
        let until = Instant::now() + Duration::from_secs(20);
        while self.port.ask(Ask::Look).await.is_err() {
            assert!(Instant::now() < until, "it does not answer: {}", self.log());
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(self.guard.as_ref().expect("it runs"));
        rustix::process::kill_process(pid, signal).expect("signalled");
    }

    fn kill_guard(&mut self) {
        let mut guard = self.guard.take().expect("it runs");
        guard.kill().expect("killed");
        guard.wait().expect("it was a child");
    }

    /// As libvirt writes it.
    fn write_state(&self, name: &str, pid: u32, uuid: &str, metadata: &str) {
        let text = format!(
            "<domstatus state='running' reason='booted' pid='{pid}'>\n<domain type='qemu' id='1'>\n\
             <name>{name}</name>\n<uuid>{uuid}</uuid>\n{metadata}</domain>\n</domstatus>\n"
        );
        fs::write(self.folder.path().join("qemu").join(format!("{name}.xml")), text).expect("written");
    }

    /// A guest that libvirt knows.
    fn guest(&self, name: &str, uuid: &str, metadata: &str) -> Guest {
        let guest = Guest::start(uuid);
        self.write_state(name, guest.0.id(), uuid, metadata);
        guest
    }

    async fn ask(&self, ask: Ask) -> Answer {
        self.port.ask(ask).await.unwrap_or_else(|error| panic!("{error}: {}", self.log()))
    }

    async fn arm(&self) -> Answer {
        self.ask(Ask::Arm { until: since_boot() + LEASE }).await
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            drop(guard.kill());
            drop(guard.wait());
        }
    }
}

async fn wait_gone(guest: &mut Guest, until: Instant) -> Instant {
    while !guest.is_gone() {
        assert!(Instant::now() < until, "it was not ended in time");
        sleep(Duration::from_millis(20)).await;
    }
    Instant::now()
}

#[tokio::test]
async fn a_daemon_that_dies_has_its_guests_ended_in_time_and_nobody_elses() {
    let host = Host::new().await;
    let mut ours = host.guest("web1", "7e0d7a6c-0000-4000-8000-000000000001", PVC);
    let mut also_ours = host.guest("web2", "7e0d7a6c-0000-4000-8000-000000000002", PVC);
    let mut somebody = host.guest("other", "7e0d7a6c-0000-4000-8000-000000000003", "");
    // libvirt's word of a guest that has ended, and whose number has passed to another process.
    let mut bystander = Guest::start("7e0d7a6c-0000-4000-8000-000000000004");
    host.write_state("old", bystander.0.id(), "7e0d7a6c-0000-4000-8000-000000000005", PVC);
    let answer = host.arm().await;
    let armed = Instant::now();
    assert_eq!((answer.armed, answer.kind, answer.strike_after), (true, Kind::Process, STRIKE_AFTER));
    sleep(STRIKE_AFTER).await;
    assert!(!ours.is_gone() && !also_ours.is_gone(), "a daemon that is back by now loses nothing");
    let until = armed + LEASE + STRIKE_AFTER + Duration::from_secs(2);
    let ended = wait_gone(&mut ours, until).await;
    wait_gone(&mut also_ours, until).await;
    assert!(ended >= armed + LEASE + STRIKE_AFTER - Duration::from_millis(100), "{:?}", ended - armed);
    // What comes later is ended too: a guest that was on its way hither.
    let mut late = host.guest("late", "7e0d7a6c-0000-4000-8000-000000000006", PVC);
    wait_gone(&mut late, Instant::now() + Duration::from_secs(3)).await;
    assert!(!somebody.is_gone() && !bystander.is_gone());
    assert!(host.ask(Ask::Look).await.striking);
    // With a lease it rests.
    host.arm().await;
    let mut next = host.guest("next", "7e0d7a6c-0000-4000-8000-000000000007", PVC);
    sleep(Duration::from_secs(1)).await;
    assert!(!next.is_gone());
}

#[tokio::test]
async fn a_daemon_that_is_back_in_time_loses_nothing_and_a_guard_that_dies_strikes_on() {
    let mut host = Host::new().await;
    let mut guest = host.guest("web1", "7e0d7a6c-0000-4000-8000-000000000011", PVC);
    host.arm().await;
    sleep(Duration::from_secs(7)).await;
    // Another daemon of this host.
    let armed = Instant::now();
    assert!(host.arm().await.armed);
    sleep(Duration::from_secs(4)).await;
    host.kill_guard();
    sleep(Duration::from_secs(2)).await;
    assert!(!guest.is_gone(), "it has its whole time since it was last petted");
    host.start_guard().await;
    assert!(host.ask(Ask::Look).await.armed, "it knows what the one before it has promised");
    wait_gone(&mut guest, armed + LEASE + STRIKE_AFTER + Duration::from_secs(2)).await;
}

#[tokio::test]
async fn told_to_end_it_waits_until_nobody_relies_on_it() {
    let mut host = Host::new().await;
    let mut guest = host.guest("web1", "7e0d7a6c-0000-4000-8000-000000000021", PVC);
    host.arm().await;
    host.signal(rustix::process::Signal::TERM);
    sleep(Duration::from_millis(600)).await;
    let answer = host.arm().await;
    assert!(answer.armed && answer.stopping);
    assert!(!host.ask(Ask::Disarm).await.armed);
    let ended = {
        let until = Instant::now() + Duration::from_secs(10);
        let guard = host.guard.as_mut().expect("it runs");
        loop {
            match guard.try_wait().expect("a child") {
                Some(status) => break status,
                None => assert!(Instant::now() < until, "it does not end"),
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(ended.success());
    host.guard = None;
    host.start_guard().await;
    assert!(!host.ask(Ask::Look).await.armed);
    sleep(Duration::from_secs(1)).await;
    assert!(!guest.is_gone());
}

#[tokio::test]
async fn a_host_has_one_guard_and_only_its_owner_may_ask_it() {
    use std::os::unix::fs::PermissionsExt;
    let host = Host::new().await;
    let second = host.command().output().expect("it ends");
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("another guard"), "{second:?}");
    assert!(!host.ask(Ask::Look).await.armed, "the first one answers as before");
    let socket = pvc_node::guard::socket::path(&host.folder.path().join("run"));
    assert_eq!(mode(&socket).expect("it is there").mode() & 0o777, 0o600);

    fn mode(path: &Path) -> io::Result<fs::Permissions> {
        Ok(fs::metadata(path)?.permissions())
    }
}
