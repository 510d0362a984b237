//! Where libvirt and qemu look for a host's certificates, and how the cluster's certificate is put there.
//!
//! ```text
//! CA/cacert.pem                                   whom libvirtd trusts
//! libvirt/{server,client}cert.pem                 the host's certificate, for both ends of a connection
//! libvirt/private/{server,client}key.pem
//! qemu/ca-cert.pem                                the same again for migration streams, NBD and VNC
//! qemu/{server,client}-{cert,key}.pem
//! ```
//! below `/etc/pki`. Keys are for root alone, as which libvirtd and (with PVC's settings) qemu's TLS are run.

use std::path::{Path, PathBuf};

use pvc_identity::Credentials;

use crate::durable_file::{self, FileError};

/// Where libvirt and qemu look.
pub const PKI_DIR: &str = "/etc/pki";

const KEY_MODE: u32 = 0o600;
const CERTIFICATE_MODE: u32 = 0o644;

/// Every file of the layout with its content and mode, in the order in which they are written: `libvirt/servercert.pem`,
/// without which libvirtd does not listen, comes last.
fn files(credentials: &Credentials) -> Vec<(&'static str, &str, u32)> {
    let ca = credentials.ca_bundle_pem();
    let certificate = credentials.cert_chain_pem();
    let key = credentials.key_pem().expose();
    vec![
        ("CA/cacert.pem", ca, CERTIFICATE_MODE),
        ("qemu/ca-cert.pem", ca, CERTIFICATE_MODE),
        ("qemu/server-key.pem", key, KEY_MODE),
        ("qemu/server-cert.pem", certificate, CERTIFICATE_MODE),
        ("qemu/client-key.pem", key, KEY_MODE),
        ("qemu/client-cert.pem", certificate, CERTIFICATE_MODE),
        ("libvirt/private/clientkey.pem", key, KEY_MODE),
        ("libvirt/clientcert.pem", certificate, CERTIFICATE_MODE),
        ("libvirt/private/serverkey.pem", key, KEY_MODE),
        ("libvirt/servercert.pem", certificate, CERTIFICATE_MODE),
    ]
}

/// Puts a node's credentials where libvirt and qemu look, below `pki` (normally [`PKI_DIR`]). Files that have the right
/// content are left alone, so that it may be called at any time; returns the files that it wrote. A running libvirtd
/// goes on with what it has read: after a change it needs `virt-admin server-update-tls libvirtd` or a restart.
pub fn lay_out(pki: &Path, credentials: &Credentials) -> Result<Vec<PathBuf>, FileError> {
    for (folder, mode) in [("CA", 0o755), ("libvirt", 0o755), ("libvirt/private", 0o700), ("qemu", 0o755)] {
        durable_file::make_directory(&pki.join(folder), mode)?;
    }
    let mut written = Vec::new();
    for (name, content, mode) in files(credentials) {
        let path = pki.join(name);
        if durable_file::read_text_if_there(&path)?.as_deref() != Some(content) {
            durable_file::write(&path, content.as_bytes(), mode)?;
            written.push(path);
        }
    }
    Ok(written)
}

/// The first file below `pki` that does not hold these credentials; `None` when all do.
pub fn first_difference(pki: &Path, credentials: &Credentials) -> Result<Option<PathBuf>, FileError> {
    for (name, content, _) in files(credentials) {
        let path = pki.join(name);
        if durable_file::read_text_if_there(&path)?.as_deref() != Some(content) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}
