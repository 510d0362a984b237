//! Hosts and guests: each is a thread in a network namespace of its own, which goes with it. Programs that a thread starts run
//! in its namespace.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use pvc_model::network::host::{HostPlan, port_device};
use pvc_model::vm::Mac;
use pvc_network::firewall::Firewall;
use pvc_network::{Blocked, Outcome, Part as _, Site};
use pvc_process::{Cmd, CmdError};

use crate::frames::Frame;

/// What is to happen happens within it, on a machine that has much else to do.
pub const SOON: Duration = Duration::from_secs(20);
/// What is not to happen is not waited for longer: on an idle path answers take less than a millisecond.
pub const NEVER: Duration = Duration::from_millis(400);

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace, and the thread that is in it.
pub struct Ns {
    jobs: Sender<Job>,
    thread: i32,
}

impl Ns {
    /// None where that is not permitted.
    pub fn new() -> Option<Ns> {
        let (jobs, todo) = channel::<Job>();
        let (ready, started) = channel();
        std::thread::spawn(move || {
            // SAFETY: a network namespace is nothing that memory safety depends on.
            let made = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) };
            let thread = rustix::thread::gettid().as_raw_nonzero().get();
            if ready.send(made.map(|()| thread)).is_ok() && made.is_ok() {
                todo.into_iter().for_each(|job| job());
            }
        });
        match started.recv().expect("the thread says how it is") {
            Ok(thread) => {
                let ns = Ns { jobs, thread };
                ns.run(|| {
                    set("net/ipv6/conf/all/accept_dad", "0");
                    set("net/ipv6/conf/default/accept_dad", "0");
                    for kind in ["iptables", "ip6tables", "arptables"] {
                        set(&format!("net/bridge/bridge-nf-call-{kind}"), "0");
                    }
                });
                ns.ip(&["link set lo up"]);
                Some(ns)
            }
            Err(error) => {
                eprintln!("skipped: no network namespace can be made here ({error})");
                None
            }
        }
    }

    /// Does it in there, and waits for it.
    pub fn run<T: Send + 'static>(&self, what: impl FnOnce() -> T + Send + 'static) -> T {
        self.begin(what).recv().expect("it comes to its end")
    }

    /// Does it in there, after whatever is being done.
    pub fn begin<T: Send + 'static>(
        &self,
        what: impl FnOnce() -> T + Send + 'static,
    ) -> std::sync::mpsc::Receiver<T> {
        let (done, result) = channel();
        let job = Box::new(move || drop(done.send(what())));
        self.jobs.send(job).expect("the thread lives as long as its namespace");
        result
    }

    pub fn program(&self, program: &str, args: &str) -> Result<String, CmdError> {
        let cmd = Cmd::new(program).args(args.split_whitespace());
        self.run(move || cmd.run_blocking(SOON).map(|output| output.stdout_text().into_owned()))
    }

    pub fn ip(&self, commands: &[&str]) {
        for command in commands {
            self.program("ip", command).unwrap_or_else(|error| panic!("{error}"));
        }
    }

    pub fn nft(&self, script: &str) -> String {
        let cmd = Cmd::new("nft").args(["-f", "-"]).stdin(script);
        self.run(move || cmd.run_blocking(SOON))
            .unwrap_or_else(|error| panic!("{error}"))
            .stdout_text()
            .into_owned()
    }

    /// A cable from here, by one name, to there by another.
    pub fn cable(&self, here: &str, there: &Ns, name: &str) {
        self.ip(&[&format!("link add {here} type veth peer name {name} netns {}", there.thread)]);
        self.ip(&[&format!("link set {here} up")]);
        there.ip(&[&format!("link set {name} up")]);
    }

    /// A bridge that forwards from the first frame on.
    pub fn bridge(&self, name: &str) {
        self.ip(&[&format!("link add {name} type bridge stp_state 0 forward_delay 0 mcast_snooping 0")]);
        self.ip(&[&format!("link set {name} up")]);
    }

    /// A guest with that NIC on a bridge here.
    pub fn guest(&self, bridge: &str, mac: Mac) -> Ns {
        let guest = Ns::new().expect("what could be made once");
        self.cable(&port_device(mac), &guest, "eth0");
        guest.ip(&[&format!("link set eth0 address {mac}")]);
        self.ip(&[&format!("link set {} master {bridge}", port_device(mac))]);
        guest
    }

    /// A NIC on a bridge here whose frames are in the test's hands.
    pub fn tap(&self, bridge: &str, mac: Mac) -> Tap {
        let device = port_device(mac);
        let name = device.clone();
        let file = self.run(move || open_tap(&name).expect("/dev/net/tun"));
        self.ip(&[&format!("link set {device} master {bridge}"), &format!("link set {device} up")]);
        Tap { file, mac }
    }

    pub fn firewall(&self, site: Site) -> Host<'_> {
        Host { ns: self, firewall: Some(Firewall::new(site)) }
    }

    /// Answers datagrams at that address with themselves.
    pub fn echo(&self, address: &str) {
        let address: SocketAddr = address.parse().expect("an address");
        let socket = self.run(move || UdpSocket::bind(address)).expect("a socket");
        std::thread::spawn(move || {
            let mut datagram = [0; 64];
            // It ends with the test's process.
            while let Ok((bytes, from)) = socket.recv_from(&mut datagram) {
                let _ = socket.send_to(&datagram[..bytes], from);
            }
        });
    }

    /// Takes connections at that address.
    pub fn listen(&self, address: &str) {
        let address: SocketAddr = address.parse().expect("an address");
        let listener = self.run(move || TcpListener::bind(address)).expect("a listener");
        std::thread::spawn(move || listener.incoming().for_each(drop));
    }

    pub fn asks(&self, address: &str, patience: Duration) -> bool {
        let to: SocketAddr = address.parse().expect("an address");
        self.run(move || {
            let here = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(here).expect("a socket");
            socket.set_read_timeout(Some(patience)).expect("a time");
            socket.connect(to).is_ok() && socket.send(b"?").is_ok() && socket.recv(&mut [0; 8]).is_ok()
        })
    }

    /// Whether a datagram arrives there; no answer is needed.
    pub fn tells(&self, there: &Ns, address: &str, patience: Duration) -> bool {
        let to: SocketAddr = address.parse().expect("an address");
        let ear = there.run(move || UdpSocket::bind(to)).expect("a socket");
        ear.set_read_timeout(Some(patience)).expect("a time");
        self.run(move || UdpSocket::bind("0.0.0.0:0").and_then(|mouth| mouth.send_to(b"!", to)))
            .expect("it is sent");
        ear.recv(&mut [0; 8]).is_ok()
    }

    /// How an attempt to connect ends: None is silence.
    pub fn connects(&self, address: &str, patience: Duration) -> Option<Result<(), ErrorKind>> {
        let to: SocketAddr = address.parse().expect("an address");
        match self.run(move || TcpStream::connect_timeout(&to, patience)) {
            Ok(_) => Some(Ok(())),
            Err(error) if error.kind() == ErrorKind::TimedOut => None,
            Err(error) => Some(Err(error.kind())),
        }
    }

    pub fn pings(&self, address: &str, patience: Duration) -> bool {
        let seconds = patience.as_secs().max(1);
        self.program("ping", &format!("-n -c 1 -W {seconds} {address}")).is_ok()
    }
}

/// A host with the firewall on it.
pub struct Host<'a> {
    ns: &'a Ns,
    firewall: Option<Firewall>,
}

impl Host<'_> {
    pub fn try_pass(&mut self, plan: &HostPlan) -> Result<Outcome, Blocked> {
        let (mut firewall, plan) = (self.firewall.take().expect("it came back"), plan.clone());
        let (firewall, outcome) = self.ns.run(move || {
            let outcome = runtime().block_on(firewall.pass(&plan));
            (firewall, outcome)
        });
        self.firewall = Some(firewall);
        outcome
    }

    /// What one pass has done.
    pub fn pass(&mut self, plan: &HostPlan) -> Vec<String> {
        match self.try_pass(plan).unwrap_or_else(|error| panic!("{error}")) {
            Outcome::Settled => Vec::new(),
            Outcome::Progressed(done) => done,
        }
    }

    pub fn complaint(&self) -> String {
        self.firewall.as_ref().expect("it came back").complaint()
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// A NIC's other end.
pub struct Tap {
    file: File,
    pub mac: Mac,
}

impl Tap {
    pub fn send(&self, frame: &Frame) {
        (&self.file).write_all(&frame.0).expect("a frame goes out");
    }

    /// Whether a frame sent here comes out there. Another one that is always let through is sent after it: frames of one
    /// port keep their order.
    pub fn reaches(&self, there: &Tap, frame: &Frame) -> bool {
        let end = Frame::announcement(self.mac);
        self.send(frame);
        self.send(&end);
        let mut arrived = false;
        loop {
            let next = there.receive().expect("the frame that ends it");
            if next == end {
                return arrived;
            }
            arrived |= next == *frame;
        }
    }

    fn receive(&self) -> Option<Frame> {
        let mut bytes = [0; 2048];
        let poll = rustix::event::PollFd::new(&self.file, rustix::event::PollFlags::IN);
        let patience = rustix::event::Timespec { tv_sec: SOON.as_secs().cast_signed(), tv_nsec: 0 };
        rustix::event::poll(&mut [poll], Some(&patience)).ok()?;
        let length = (&self.file).read(&mut bytes).ok()?;
        Some(Frame(bytes[..length].to_vec()))
    }
}

fn open_tap(name: &str) -> std::io::Result<File> {
    #[repr(C)]
    struct Request {
        name: [u8; 16],
        flags: u16,
        unused: [u8; 22],
    }
    const TUNSETIFF: rustix::ioctl::Opcode = rustix::ioctl::opcode::write::<i32>(b'T', 202);
    const IFF_TAP_NO_PI: u16 = 0x1002;
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).write(true).custom_flags(nonblocking).open("/dev/net/tun")?;
    let mut request = Request { name: [0; 16], flags: IFF_TAP_NO_PI, unused: [0; 22] };
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: TUNSETIFF reads a struct ifreq, which this is, and keeps nothing of it.
    unsafe { rustix::ioctl::ioctl(&file, rustix::ioctl::Setter::<TUNSETIFF, Request>::new(request)) }?;
    Ok(file)
}

/// A setting of the namespace that this thread is in; not there where the kernel lacks what it is about.
pub fn set(key: &str, value: &str) {
    let _ = fs::write(format!("/proc/sys/{key}"), value);
}
