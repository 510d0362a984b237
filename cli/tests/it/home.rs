//! A home folder of its own for `pvc`, with credentials for a cluster.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use pvc_identity::{Ca, Credentials, KeyPair, LeafSpec};
use pvc_process::Cmd;
use tempfile::TempDir;

pub const CLUSTER: &str = "c1";
/// For one run of `pvc`, on a machine that is busy.
const DEADLINE: Duration = Duration::from_secs(60);

pub fn credentials(ca: &Ca, who: &str) -> Credentials {
    let key = KeyPair::generate().unwrap();
    let leaf = LeafSpec::new(who.parse().unwrap());
    let chain = ca.sign(&key.csr_pem().unwrap(), &leaf, Timestamp::now()).unwrap();
    Credentials::new(chain, key.pem(), ca.cert_pem()).unwrap()
}

pub struct Home {
    pub ca: Ca,
    folder: TempDir,
}

/// What a run of `pvc` came to.
#[derive(Debug)]
pub struct Ran {
    pub exit: i32,
    pub out: String,
    pub err: String,
}

impl Home {
    pub fn new() -> Home {
        Home { ca: Ca::create(CLUSTER, Timestamp::now()).unwrap(), folder: tempfile::tempdir().unwrap() }
    }

    /// A folder with credentials for `who`; under the home.
    pub fn credentials(&self, who: &str) -> String {
        let folder = self.path(&who.replace('/', "-"));
        std::fs::create_dir_all(&folder).unwrap();
        credentials(&self.ca, who).save(&folder).unwrap();
        folder.to_str().unwrap().to_owned()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file under the home.
    pub fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    pub async fn pvc(&self, words: &[&str]) -> Ran {
        self.pvc_fed(words, "").await
    }

    /// With something on stdin.
    pub async fn pvc_fed(&self, words: &[&str], stdin: &str) -> Ran {
        let command = Cmd::new(env!("CARGO_BIN_EXE_pvc")).args(words).env("HOME", self.folder.path());
        let command = if stdin.is_empty() { command } else { command.stdin(stdin) };
        let output = command.accept_codes(0..=9).run(DEADLINE).await.unwrap();
        Ran {
            exit: output.code,
            out: output.stdout_text().into_owned(),
            err: output.stderr_text().into_owned(),
        }
    }

    /// Adds a connection named `lab` by an administrator's certificate.
    pub async fn connect(&self, address: &str) {
        let folder = self.credentials("admin/ann");
        let ran = self
            .pvc(&["connection", "add", "lab", "-a", address, "--credentials", &folder, "--default"])
            .await;
        assert_eq!((ran.exit, ran.out.as_str()), (0, "connection/lab added\n"), "{ran:?}");
    }
}
