//! What of this host carries client networks: the section `[network]` of the daemon's configuration. All of it has defaults
//! that suit a Debian host with one network card; `pvc-bootstrap init` and `join` write what differs.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Longest name of a device that Linux takes.
const DEVICE_LEN_MAX: usize = 15;
/// What the devices that PVC makes begin with: none of them can carry the networks that they are made on.
const OURS: [&str; 4] = ["vmbr", "vxlan", "vlan", "nic"];
const FRR_DIR: &str = "/etc/frr";
const FRR_RUN_DIR: &str = "/run/frr";
const FRR_SNIPPETS: &str = "/etc/pvc/frr.d";

/// Section `[network]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// False: this host has no part in client networks, and nothing of its own network is changed. No guest with a NIC in one can
    /// run here, and as the primary it serves none.
    #[serde(skip_serializing_if = "is_true")]
    pub enabled: bool,
    /// The device that carries the cluster's network, on which overlays travel. Without it: the one that has the address of
    /// `listen`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_device: Option<String>,
    /// The device towards the site's routers. Without it, guests' NICs can't be attached to `upstream`; routers are still
    /// found by their addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_device: Option<String>,
    /// The device that carries the storage network. Without it, guests' NICs can't be attached to `storage`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_device: Option<String>,
    /// The device that VLANs of bridged networks are on, where they name no other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge_device: Option<String>,
    /// FRRouting's configuration; FRRouting reads it when it starts.
    #[serde(skip_serializing_if = "is_usual_frr_dir")]
    pub frr_dir: PathBuf,
    /// FRRouting's sockets, by which it is told and asked while it runs.
    #[serde(skip_serializing_if = "is_usual_frr_run_dir")]
    pub frr_run_dir: PathBuf,
    /// This host's own additions to FRRouting's configuration: each file of this folder that ends in `.conf`, in the order of
    /// their names. The folder need not be there.
    #[serde(skip_serializing_if = "is_usual_frr_snippets")]
    pub frr_snippets: PathBuf,
}

impl Default for Network {
    fn default() -> Self {
        Network {
            enabled: true,
            cluster_device: None,
            upstream_device: None,
            storage_device: None,
            bridge_device: None,
            frr_dir: PathBuf::from(FRR_DIR),
            frr_run_dir: PathBuf::from(FRR_RUN_DIR),
            frr_snippets: PathBuf::from(FRR_SNIPPETS),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_true(enabled: &bool) -> bool {
    *enabled
}

fn is_usual_frr_dir(dir: &Path) -> bool {
    dir.as_os_str() == FRR_DIR
}

fn is_usual_frr_run_dir(dir: &Path) -> bool {
    dir.as_os_str() == FRR_RUN_DIR
}

fn is_usual_frr_snippets(dir: &Path) -> bool {
    dir.as_os_str() == FRR_SNIPPETS
}

/// A setting of `[network]` that can't be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkConfigError {
    #[error(
        "{setting} = {device:?} is no name of a device: 1 to {DEVICE_LEN_MAX} characters, without blanks and `/`"
    )]
    Device { setting: &'static str, device: String },
    #[error("{setting} = {device:?} is a name that PVC gives to devices which it makes itself")]
    Ours { setting: &'static str, device: String },
    #[error("{setting} must be a path from / on, not {path:?}")]
    Path { setting: &'static str, path: PathBuf },
}

impl Network {
    pub fn validate(&self) -> Result<(), NetworkConfigError> {
        for (setting, device) in [
            ("cluster_device", &self.cluster_device),
            ("upstream_device", &self.upstream_device),
            ("storage_device", &self.storage_device),
            ("bridge_device", &self.bridge_device),
        ] {
            let Some(device) = device else { continue };
            if !is_device_name(device) {
                return Err(NetworkConfigError::Device { setting, device: device.clone() });
            }
            if is_made_by_us(device) {
                return Err(NetworkConfigError::Ours { setting, device: device.clone() });
            }
        }
        for (setting, path) in [
            ("frr_dir", &self.frr_dir),
            ("frr_run_dir", &self.frr_run_dir),
            ("frr_snippets", &self.frr_snippets),
        ] {
            if !path.is_absolute() {
                return Err(NetworkConfigError::Path { setting, path: path.clone() });
            }
        }
        Ok(())
    }

    /// All as it is by default: then the section is not written.
    pub(crate) fn is_usual(&self) -> bool {
        *self == Network::default()
    }
}

fn is_device_name(text: &str) -> bool {
    (1..=DEVICE_LEN_MAX).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_graphic() && c != '/')
        && !matches!(text, "." | "..")
}

/// `vmbr1001` is ours; an administrator's `vmbr` or `nic-left` is not.
fn is_made_by_us(device: &str) -> bool {
    OURS.iter().filter_map(|prefix| device.strip_prefix(prefix)).any(|rest| {
        rest.chars().next().is_some_and(|c| c != '0' && c.is_ascii_digit())
            && rest.chars().all(|c| c.is_ascii_digit())
            || rest.len() == 12 && rest.chars().all(|c| c.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Network {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn what_is_not_said_is_as_on_a_debian_host() {
        let network = parsed("");
        assert_eq!(network, Network::default());
        assert!(network.is_usual());
        assert_eq!((network.cluster_device, network.upstream_device), (None, None));
        assert_eq!(network.frr_dir, PathBuf::from("/etc/frr"));
        assert_eq!(network.frr_run_dir, PathBuf::from("/run/frr"));
        assert_eq!(network.frr_snippets, PathBuf::from("/etc/pvc/frr.d"));
    }

    #[test]
    fn what_is_written_is_read_back_and_no_more_than_that_is_written() {
        let network = Network { upstream_device: Some("eth2".to_owned()), ..Network::default() };
        let text = toml::to_string(&network).unwrap();
        assert_eq!(text, "upstream_device = \"eth2\"\n");
        assert_eq!(parsed(&text), network);
    }

    #[test]
    fn an_unknown_setting_is_refused() {
        let error = toml::from_str::<Network>("upstream = \"eth2\"").unwrap_err().to_string();
        assert!(error.contains("unknown field `upstream`"), "{error}");
    }

    #[test]
    fn devices_that_can_not_be_are_refused_by_the_setting_s_name() {
        let with = |device: &str| Network { bridge_device: Some(device.to_owned()), ..Network::default() };
        for good in ["eth1", "bond0.12", "enp65s0f1np1", "vmbr0", "vmbr", "nic-left", "vlans"] {
            assert_eq!(with(good).validate(), Ok(()), "{good}");
        }
        for bad in ["", "a/b", "a b", "..", "sixteen-letters-"] {
            let error = with(bad).validate().unwrap_err();
            assert_eq!(
                error,
                NetworkConfigError::Device { setting: "bridge_device", device: bad.to_owned() }
            );
        }
        for ours in ["vmbr1001", "vxlan7", "vlan12", "nic525400aabbcc"] {
            let error = with(ours).validate().unwrap_err();
            assert_eq!(error, NetworkConfigError::Ours { setting: "bridge_device", device: ours.to_owned() });
        }
    }

    #[test]
    fn folders_are_named_from_the_root_on() {
        let network = Network { frr_run_dir: PathBuf::from("run/frr"), ..Network::default() };
        let error = network.validate().unwrap_err().to_string();
        assert_eq!(error, "frr_run_dir must be a path from / on, not \"run/frr\"");
    }
}
