//! The ways in, against real daemons: `pvc`, `pvc-api` and the Python client do what they say on a cluster
//! of three, and go on when the leader is killed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pvc_client::{Connection, Connections};
use pvc_identity::{Identity, LeafSpec};
use pvc_process::{Cmd, Daemon, DaemonLogs, Output};
use pvc_proto::v1;
use tokio::time::{Instant, sleep};

use crate::daemons::{Cluster, PATIENCE, create, issue};
use crate::program;

const SIGTERM: i32 = 15;
const DEADLINE: Duration = Duration::from_secs(60);

/// A person's home with a connection to the cluster.
struct Home {
    folder: PathBuf,
}

impl Home {
    fn of(cluster: &Cluster) -> Home {
        let folder = cluster.folder.path().join("home");
        let credentials = folder.join("admin");
        std::fs::create_dir_all(&credentials).expect("made");
        let admin = Identity::admin("root").expect("an admin");
        issue(&cluster.ca, LeafSpec::new(admin)).save(&credentials).expect("saved");
        let connection = Connection {
            coordinators: cluster.hosts.iter().map(|host| host.address()).collect(),
            cluster_id: cluster.cluster_id.clone(),
            credentials: Some(credentials),
            ..Connection::default()
        };
        let mut all = Connections::default();
        all.connections.insert("test".to_owned(), connection);
        all.default = Some("test".to_owned());
        all.save(&folder.join("pvc/connections.toml")).expect("saved");
        Home { folder }
    }

    fn cmd(&self, program: impl Into<std::ffi::OsString>) -> Cmd {
        Cmd::new(program).env("XDG_CONFIG_HOME", &self.folder).env("HOME", &self.folder)
    }

    /// What `pvc` answers, whatever its exit code.
    async fn pvc(&self, args: &[&str]) -> Output {
        let codes = 0..=9;
        self.cmd(program("pvc")).args(args).accept_codes(codes).run(DEADLINE).await.expect("it ran")
    }

    /// What `pvc` prints when it succeeds.
    async fn told(&self, args: &[&str]) -> String {
        let output = self.cmd(program("pvc")).args(args).run(DEADLINE).await;
        let output = output.unwrap_or_else(|error| panic!("pvc {args:?}: {error}"));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// A running gateway; ends with the test.
struct Gateway {
    daemon: Daemon,
    address: String,
    ca: PathBuf,
    log: PathBuf,
}

impl Gateway {
    async fn of(cluster: &Cluster) -> Gateway {
        let folder = cluster.folder.path().join("api");
        std::fs::create_dir_all(&folder).expect("made");
        let service = Identity::service("api").expect("a service");
        issue(&cluster.ca, LeafSpec::new(service)).save(&folder).expect("saved");
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
        let coordinators: Vec<String> = cluster.hosts.iter().map(|host| host.address()).collect();
        let log = folder.join("pvc-api.log");
        let daemon = Cmd::new(program("pvc-api"))
            .args(["--coordinators", &coordinators.join(","), "--listen", &port.to_string()])
            .arg("--credentials")
            .arg(&folder)
            .arg("--insecure-http")
            .spawn_daemon(&DaemonLogs::joined(&log))
            .expect("started");
        let gateway = Gateway { daemon, address: port.to_string(), ca: folder.join("ca.pem"), log };
        let until = Instant::now() + PATIENCE;
        while gateway.curl("/healthz", None, &[]).await.0 != 200 {
            assert!(Instant::now() < until, "{}", std::fs::read_to_string(&gateway.log).unwrap_or_default());
            sleep(Duration::from_millis(100)).await;
        }
        gateway
    }

    /// Status and body.
    async fn curl(&self, path: &str, token: Option<&str>, more: &[&str]) -> (u16, String) {
        let mut cmd = Cmd::new("curl")
            .args(["--silent", "--show-error", "--max-time", "40", "--write-out", "\n%{http_code}"])
            .args(more)
            .arg("--cacert")
            .arg(&self.ca);
        if let Some(token) = token {
            cmd = cmd.arg("--header").secret_arg(format!("Authorization: Bearer {token}"));
        }
        let output =
            cmd.arg(format!("http://{}{path}", self.address)).accept_codes(0..=92).run(DEADLINE).await;
        let text = String::from_utf8_lossy(&output.expect("curl ran").stdout).into_owned();
        let (body, code) = text.rsplit_once('\n').unwrap_or(("", &text));
        (code.parse().unwrap_or(0), body.to_owned())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.daemon.id().signal(SIGTERM);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_on_a_real_cluster() {
    let cluster = Cluster::of_three().await;
    let home = Home::of(&cluster);
    let nodes = home.told(&["node", "list", "-o", "name"]).await;
    assert_eq!(nodes.lines().collect::<Vec<_>>(), ["hv1", "hv2", "hv3"]);
    for number in 0..100 {
        let tag = if number % 2 == 0 { "even" } else { "odd" };
        let name = format!("vm{number:02}");
        home.told(&["vm", "define", &name, "--vcpus", "1", "--memory", "32M", "--tag", tag]).await;
    }
    assert_eq!(home.told(&["vm", "list", "-o", "name"]).await.lines().count(), 100);
    assert_eq!(home.told(&["vm", "list", "-o", "name", "--tag", "even"]).await.lines().count(), 50);
    assert_eq!(home.told(&["vm", "list", "-o", "name", "^vm1"]).await.lines().count(), 10);
    home.told(&["vm", "start", "vm00", "-t", "hv2"]).await;
    let info = home.told(&["vm", "info", "vm00"]).await;
    assert!(info.contains("running") && info.contains("hv2"), "{info}");

    // Refusals: exit code, rule, object, help.
    for (args, code, says) in [
        (&["vm", "info", "nobody"][..], 3, "nobody"),
        (&["vm", "define", "vm00", "--vcpus", "1", "--memory", "32M"], 9, "name-taken"),
        (&["vm", "define", "big", "--vcpus", "1", "--memory", "900G"], 4, "fits-a-node"),
        (&["vm", "start", "vm01", "-t", "hv9"], 3, "hv9"),
        (&["vm", "undefine", "vm00", "-y"], 4, "pvc vm stop"),
    ] {
        let output = home.pvc(args).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.code, code, "pvc {args:?}: {said}");
        assert!(said.contains(says), "pvc {args:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_on_a_real_cluster() {
    let mut cluster = Cluster::of_three().await;
    let admin = cluster.admin();
    let request = v1::CreateApiTokenRequest {
        name: "web".to_owned(),
        role: v1::Role::Operator.into(),
        ..Default::default()
    };
    let token = admin.tokens().create_api_token(request).await.expect("a token").into_inner().secret;
    let gateway = Gateway::of(&cluster).await;
    assert_eq!(gateway.curl("/api/v1/vms", None, &[]).await.0, 401, "without a token");
    let (code, body) = gateway.curl("/api/v1/openapi.json", None, &[]).await;
    assert_eq!(code, 200);
    assert!(body.contains("\"3.1."), "{}", &body[..200.min(body.len())]);
    let vm = r#"{"name": "web1", "spec": {"vcpus": 1, "memoryMib": "32"}}"#;
    let (code, body) = gateway.curl("/api/v1/vms", Some(&token), &["--data", vm]).await;
    assert_eq!(code, 200, "{body}");
    let (code, body) = gateway.curl("/api/v1/vms", Some(&token), &["--data", vm]).await;
    assert_eq!(code, 409, "{body}");
    assert!(body.contains("name-taken"), "{body}");
    let bad = r#"{"name": "web2", "spec": {"vcpu": 1}}"#;
    let (code, body) = gateway.curl("/api/v1/vms", Some(&token), &["--data", bad]).await;
    assert!(code == 400 && body.contains("vcpu"), "{code} {body}");
    let (code, body) = gateway.curl("/api/v1/cluster/voters", Some(&token), &["--data", "{}"]).await;
    assert!(code == 403 && body.contains("role-needed"), "{code} {body}");
    let (_, events) = gateway
        .curl(
            "/api/v1/vms:watch",
            Some(&token),
            &["--header", "Accept: text/event-stream", "--max-time", "3"],
        )
        .await;
    assert!(events.contains("web1") && events.contains("id:"), "{events}");

    let leader = cluster.leader().await;
    cluster.by_name(&leader).kill();
    let vm = r#"{"name": "web3", "spec": {"vcpus": 1, "memoryMib": "32"}}"#;
    let (code, body) = gateway.curl("/api/v1/vms", Some(&token), &["--data", vm]).await;
    assert_eq!(code, 200, "through the death of the leader: {body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_on_a_real_cluster() {
    let cluster = Cluster::of_three().await;
    cluster.admin().vms().create_vm(create("web1")).await.expect("created");
    let home = Home::of(&cluster);
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../python");
    assert!(python.join("pvc/v1").exists(), "the stubs are not there: run `make python` first");
    let output = home
        .cmd("/usr/bin/python3")
        .args(["-m", "unittest", "-v", "tests.live_cluster"])
        .env("PVC_TEST_START", "1")
        .current_dir(python)
        .run(Duration::from_secs(240))
        .await;
    if let Err(error) = output {
        panic!("{error}\n{}", cluster.logs());
    }
}
