//! What the kernel tells of this host, and the signals that it brings.

use std::time::Duration;

use pvc_coordinator::core::Coordinator;
use pvc_model::health::StoreHealth;
use pvc_process::Cmd;
use tokio::signal::unix::{SignalKind, signal};

use crate::agent::heartbeat::LoadSource;

/// Load by /proc, reading which does not block, and the store's health where there is a store.
pub struct HostState {
    pub core: Option<Coordinator>,
}

impl LoadSource for HostState {
    fn load(&self) -> (f64, u64) {
        let load = std::fs::read_to_string("/proc/loadavg").ok();
        let load = load.as_deref().and_then(|text| text.split(' ').next()?.parse().ok());
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        (load.unwrap_or(0.0), memory_used_mib(&memory))
    }

    fn store(&self) -> Option<StoreHealth> {
        self.core.as_ref().map(Coordinator::store_health)
    }
}

/// MemTotal less MemAvailable, of proc(5)'s /proc/meminfo.
fn memory_used_mib(meminfo: &str) -> u64 {
    let kib = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    kib("MemTotal").saturating_sub(kib("MemAvailable")) / 1024
}

/// The kernel's release.
pub fn kernel() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// The UUID that the board tells (SMBIOS); empty where there is none, or it is kept from us.
pub fn board_uuid() -> String {
    let told = std::fs::read_to_string("/sys/class/dmi/id/product_uuid").unwrap_or_default();
    told.trim().to_ascii_lowercase()
}

/// Resident memory of this process, bytes; 0: not known.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Resolves when somebody asks the daemon to stop.
pub async fn asked_to_stop() -> &'static str {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals can't be received; only SIGKILL stops this daemon");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    }
}

/// Whether the whole host is being shut down, as its systemd says. Where there is none, it is taken for a stop of
/// the daemon alone: the role moves then when its lease has lapsed.
pub async fn goes_down() -> bool {
    let asked = Cmd::new("systemctl").args(["show", "--property=SystemState", "--value"]);
    match asked.run(Duration::from_secs(2)).await {
        Ok(said) => said.stdout_text().trim() == "stopping",
        Err(error) => {
            tracing::debug!(%error, "systemd does not say whether the host goes down");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_used() {
        let text = "MemTotal:       24689764 kB\nMemFree:         1000000 kB\nMemAvailable:   20495460 kB\n";
        assert_eq!(memory_used_mib(text), 4096);
        assert_eq!(memory_used_mib("nonsense"), 0);
    }

    #[test]
    fn this_process_has_memory_and_a_kernel() {
        assert!(resident_bytes() > 1 << 20);
        assert!(!kernel().is_empty());
    }
}
