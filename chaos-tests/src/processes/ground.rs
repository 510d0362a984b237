//! Links of the members' hosts that are cut, thin and lossy. They are cut where they end: what comes from there is
//! dropped.

use std::time::Duration;

use anyhow::Result;
use pvc_bare::hosts::{self, DESK, address, at};

const DEADLINE: Duration = Duration::from_secs(30);

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
        hosts::make(machines).await?;
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
