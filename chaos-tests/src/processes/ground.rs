//! Where the members stand: network namespaces on a bridge, in namespaces of this thread's own, so that nobody else
//! sees them and all of them go with it. Links are cut where they end: what comes from there is dropped.

use std::ffi::CStr;
use std::net::Ipv4Addr;
use std::ptr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use pvc_process::Cmd;

const DEADLINE: Duration = Duration::from_secs(30);

/// Where the clients are; the machines have the numbers from 1 on.
pub const DESK: u8 = 254;

pub fn address(place: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 212, 0, place)
}

/// Moves this thread, and all that it starts from now on, into namespaces of its own: of networks, and of mounts, so
/// that the names of its networks are its own too.
pub fn step_aside() -> Result<()> {
    const NETWORKS: &CStr = c"/run/netns";
    std::fs::create_dir_all("/run/netns").context("/run/netns")?;
    // SAFETY: a system call without pointers.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) })?;
    let none = ptr::null();
    // SAFETY: the strings are constants that end with a zero; the other pointers may be null.
    check(unsafe { libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, ptr::null()) })?;
    let (tmpfs, data) = (c"tmpfs".as_ptr(), ptr::null());
    // SAFETY: as above.
    check(unsafe { libc::mount(tmpfs, NETWORKS.as_ptr(), tmpfs, 0, data) })
}

fn check(result: i32) -> Result<()> {
    if result != 0 {
        let error = std::io::Error::last_os_error();
        bail!("namespaces of its own are needed for the members ({error}): run this as root");
    }
    Ok(())
}

/// How messages fare that a machine sends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    pub delay_ms: u64,
    pub lost_percent: u64,
}

pub struct Ground {
    pub machines: u8,
    /// Whether the kernel can delay single packets; if not, slow links are thin ones.
    has_netem: bool,
}

fn name(place: u8) -> String {
    format!("machine{place}")
}

async fn ip(args: &str) -> Result<()> {
    Cmd::new("ip").args(args.split(' ')).run(DEADLINE).await?;
    Ok(())
}

/// A command where the place's packets arrive.
pub fn at(place: u8, program: &str) -> Cmd {
    let cmd = Cmd::new(program);
    if place == DESK { cmd } else { cmd.in_netns(name(place)) }
}

const RULES: &str = "
table inet trouble {
    set from { type ipv4_addr; }
    chain loss { }
    chain arrives {
        type filter hook input priority 0;
        ip saddr @from drop
        iifname != \"lo\" jump loss
    }
}
";

impl Ground {
    pub async fn make(machines: u8) -> Result<Ground> {
        ip("link set lo up").await?;
        ip("link add hub type bridge").await?;
        ip(&format!("addr add {}/24 dev hub", address(DESK))).await?;
        ip("link set hub up").await?;
        for place in 1..=machines {
            let name = name(place);
            ip(&format!("netns add {name}")).await?;
            ip(&format!("link add m{place} type veth peer name eth0 netns {name}")).await?;
            ip(&format!("link set m{place} master hub up")).await?;
            ip(&format!("-n {name} addr add {}/24 dev eth0", address(place))).await?;
            ip(&format!("-n {name} link set eth0 up")).await?;
            ip(&format!("-n {name} link set lo up")).await?;
        }
        for place in (1..=machines).chain([DESK]) {
            at(place, "nft").args(["-f", "-"]).stdin(RULES).run(DEADLINE).await?;
        }
        let tried =
            at(1, "tc").args("qdisc replace dev eth0 root netem delay 1ms".split(' ')).run(DEADLINE).await;
        let ground = Ground { machines, has_netem: tried.is_ok() };
        ground.set_weather(1, Weather::default()).await?;
        Ok(ground)
    }

    pub fn has_netem(&self) -> bool {
        self.has_netem
    }

    /// Nothing passes from one to the other; the way back is another matter.
    pub async fn cut(&self, from: u8, to: u8) -> Result<()> {
        let element = format!("{{ {} }}", address(from));
        at(to, "nft").args(["add", "element", "inet", "trouble", "from", &element]).run(DEADLINE).await?;
        Ok(())
    }

    /// Nothing passes between those and all others, either way.
    pub async fn part(&self, those: &[u8], others: &[u8]) -> Result<()> {
        for a in those {
            for b in others.iter().filter(|b| !those.contains(b)) {
                self.cut(*a, *b).await?;
                self.cut(*b, *a).await?;
            }
        }
        Ok(())
    }

    /// Joins everything.
    pub async fn heal(&self) -> Result<()> {
        for place in (1..=self.machines).chain([DESK]) {
            at(place, "nft").args("flush set inet trouble from".split(' ')).run(DEADLINE).await?;
        }
        for place in 1..=self.machines {
            self.set_weather(place, Weather::default()).await?;
        }
        Ok(())
    }

    pub async fn set_weather(&self, place: u8, weather: Weather) -> Result<()> {
        let Weather { delay_ms, lost_percent } = weather;
        // Both fail where there is nothing to be taken away.
        let _ = at(place, "tc").args("qdisc del dev eth0 root".split(' ')).run(DEADLINE).await;
        at(place, "nft").args("flush chain inet trouble loss".split(' ')).run(DEADLINE).await?;
        if lost_percent > 0 {
            let rule = format!("add rule inet trouble loss numgen random mod 100 < {lost_percent} drop");
            at(place, "nft").args(rule.split(' ')).run(DEADLINE).await?;
        }
        if delay_ms > 0 {
            let how = if self.has_netem {
                format!("netem delay {delay_ms}ms {}ms", delay_ms / 3)
            } else {
                // So thin that what a busy member says waits about as long.
                format!("tbf rate {}kbit burst 3k latency 2s", (20_000 / delay_ms).max(64))
            };
            let args = format!("qdisc replace dev eth0 root {how}");
            at(place, "tc").args(args.split(' ')).run(DEADLINE).await?;
        }
        Ok(())
    }
}
