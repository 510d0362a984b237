//! A certificate for a program that is no node, such as the HTTP gateway: signed by the CA that is at hand, and then carried
//! to where the program runs, which renews it by itself. It opens the door and nothing more: what such a program may do
//! is for the API tokens to say that its callers send along.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use pvc_identity::{Ca, Credentials, CredentialsError, Identity, LeafSpec};

use super::load_authority;
use super::node_certificate::issue;
use crate::durable_file;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct ServiceCertificate {
    /// `api` for the identity `service/api`.
    pub name: String,
    /// The folder for `ca.pem`, `node.pem` and `node.key`.
    pub out: PathBuf,
    /// What the program is reached by, for browsers and the like.
    pub dns_names: Vec<String>,
    pub ip_addresses: Vec<IpAddr>,
    /// The folder of the CA.
    pub authority: PathBuf,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Issued {
    /// False: the folder held a good one with the same names.
    pub made: bool,
    pub until: Timestamp,
}

impl ServiceCertificate {
    /// Makes the certificate unless it is there. Another identity's is never replaced.
    pub fn issue(&self) -> anyhow::Result<Issued> {
        let ca = load_authority(&self.authority).with_context(|| {
            format!("there is no usable CA in {}: run this on a coordinator", self.authority.display())
        })?;
        let leaf = LeafSpec {
            dns_names: self.dns_names.clone(),
            ip_addresses: self.ip_addresses.clone(),
            ..LeafSpec::new(Identity::service(&self.name)?)
        };
        if let Some(until) = self.in_place(&ca, &leaf)? {
            return Ok(Issued { made: false, until });
        }
        durable_file::make_directory(&self.out, 0o700)?;
        let credentials = issue(&ca, &leaf)?;
        credentials.save(&self.out)?;
        Ok(Issued { made: true, until: credentials.not_after() })
    }

    /// Until when a certificate is good that says the same and is there already.
    fn in_place(&self, ca: &Ca, wanted: &LeafSpec) -> anyhow::Result<Option<Timestamp>> {
        if !self.out.join("node.pem").exists() {
            return Ok(None);
        }
        let credentials = Credentials::load(&self.out)?;
        let held = credentials.leaf();
        if held.identity != wanted.identity || held.cluster_id != ca.cluster_id() {
            bail!(
                "{} holds the certificate of {} of cluster {} already; choose another folder",
                self.out.display(),
                held.identity,
                held.cluster_id
            );
        }
        let now = Timestamp::now();
        match credentials.check_valid(now) {
            Ok(()) => {}
            Err(CredentialsError::Expired { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        // One of an older root is no use any more, and one with other names is not what was asked for.
        let same = ca.leaf_of(credentials.cert_chain_pem(), now).is_ok_and(|told| {
            (told.dns_names, told.ip_addresses) == (wanted.dns_names.clone(), wanted.ip_addresses.clone())
        });
        Ok(same.then(|| credentials.not_after()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn with_authority(dir: &Path) -> ServiceCertificate {
        let authority = dir.join("ca");
        fs::create_dir_all(&authority).unwrap();
        let ca = Ca::create("c-1", Timestamp::now()).unwrap();
        ca.save(&authority.join("root.pem"), &authority.join("root.key")).unwrap();
        ServiceCertificate {
            name: "api".to_owned(),
            out: dir.join("api"),
            dns_names: vec!["api.example.org".to_owned()],
            ip_addresses: vec!["10.1.2.3".parse().unwrap()],
            authority,
        }
    }

    #[test]
    fn made_once_and_again_only_for_other_names() {
        let dir = tempfile::tempdir().unwrap();
        let mut asked = with_authority(dir.path());
        assert!(asked.issue().unwrap().made);
        let credentials = Credentials::load(&asked.out).unwrap();
        assert_eq!(credentials.leaf().identity, Identity::service("api").unwrap());
        assert!(!asked.issue().unwrap().made);
        assert_eq!(Credentials::load(&asked.out).unwrap().leaf(), credentials.leaf());

        asked.dns_names.push("api2.example.org".to_owned());
        assert!(asked.issue().unwrap().made);
        let ca = load_authority(&asked.authority).unwrap();
        let renamed = Credentials::load(&asked.out).unwrap();
        assert_eq!(
            ca.leaf_of(renamed.cert_chain_pem(), Timestamp::now()).unwrap().dns_names,
            asked.dns_names
        );
    }

    #[test]
    fn anothers_certificate_and_a_missing_ca_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let api = with_authority(dir.path());
        api.issue().unwrap();
        let other = ServiceCertificate { name: "web".to_owned(), ..api.clone() };
        let why = other.issue().unwrap_err().to_string();
        assert!(why.contains("service/api of cluster c-1 already"), "{why}");
        let nowhere = ServiceCertificate { authority: dir.path().join("none"), ..api };
        let why = nowhere.issue().unwrap_err().to_string();
        assert!(why.contains("on a coordinator"), "{why}");
    }
}
