//! Founding and joining steps on disks in a temporary folder: cut off anywhere, run again, refused where they must be.

use super::*;
use crate::step;
use std::fs;

fn setup(dir: &Path, node: &str) -> HostSetup {
    let host = dir.join(node);
    let places = Places { etc: host.join("etc"), pki: host.join("pki"), data: host.join("data") };
    fs::create_dir_all(&places.etc).unwrap();
    HostSetup {
        cluster: "test".to_owned(),
        node: node.to_owned(),
        address: "10.1.2.3".parse().unwrap(),
        role: Role::Coordinator,
        member_id: 1,
        standby: false,
        recoveries: 0,
        virt_type: VirtType::Qemu,
        coordinators: vec![],
        storage: vec![],
        network: Network { upstream_device: Some("eth2".to_owned()), ..Network::default() },
        system_uuid: None,
        authority: places.authority(),
        cluster_id: None,
        places,
    }
}

async fn run(
    steps: &[Box<dyn Step<HostSetup>>],
    setup: &HostSetup,
) -> Result<(usize, String), step::StepError> {
    let mut setup = setup.clone();
    let acted = step::run(steps, &mut setup, &mut |_| ()).await?;
    Ok((acted, setup.cluster_id.unwrap()))
}

/// Every file below `dir` with its content.
fn files(dir: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.clone(), fs::read(path).unwrap());
            }
        }
    }
    found
}

#[tokio::test]
async fn founding_twice_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let setup = setup(dir.path(), "hv1");
    let (acted, id) = run(&founding_steps(), &setup).await.unwrap();
    assert_eq!(acted, founding_steps().len());
    let before = files(dir.path());
    assert_eq!(run(&founding_steps(), &setup).await.unwrap(), (0, id));
    assert_eq!(files(dir.path()), before);
}

#[tokio::test]
async fn founding_that_was_cut_off_anywhere_goes_on_with_the_same_identity() {
    for done in 1..founding_steps().len() {
        let dir = tempfile::tempdir().unwrap();
        let setup = setup(dir.path(), "hv1");
        let (_, id) = run(&founding_steps()[..done], &setup).await.unwrap();
        let before = files(dir.path());
        let (acted, again) = run(&founding_steps(), &setup).await.unwrap();
        assert_eq!((acted, again.as_str()), (founding_steps().len() - done, id.as_str()));
        let after = files(dir.path());
        assert!(before.iter().all(|(path, content)| after.get(path) == Some(content)));
        assert_eq!(fs::read_to_string(setup.places.found_once()).unwrap(), id, "pvcd may found");
    }
}

#[tokio::test]
async fn founding_that_was_cut_off_within_a_step_goes_on_too() {
    // what each step has written when it is cut off after its first file
    let halves: [(&str, &[&str]); 4] = [
        (
            "etc/ca/root.pem",
            &[
                "etc/node.pem",
                "etc/node.key",
                "etc/ca.pem",
                "etc/admin",
                "etc/connections.toml",
                "etc/pvcd.toml",
                "pki",
            ],
        ),
        ("etc/node.pem", &["etc/admin", "etc/connections.toml", "etc/pvcd.toml", "pki"]),
        ("etc/admin/node.pem", &["etc/connections.toml", "etc/pvcd.toml", "pki"]),
        ("pki/libvirt/servercert.pem", &[]),
    ];
    for (missing, not_begun) in halves {
        let dir = tempfile::tempdir().unwrap();
        let setup = setup(dir.path(), "hv1");
        let (_, id) = run(&founding_steps(), &setup).await.unwrap();
        for path in [missing].iter().chain(not_begun) {
            let path = dir.path().join("hv1").join(path);
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
        assert_eq!(run(&founding_steps(), &setup).await.unwrap().1, id, "{missing}");
        let credentials = pvc_identity::Credentials::load(&setup.places.etc).unwrap();
        assert_eq!(credentials.ca_bundle_pem(), load_authority(&setup.authority).unwrap().cert_pem());
        assert_eq!(run(&founding_steps(), &setup).await.unwrap(), (0, id));
    }
}

/// What `pvcd` does once it has founded: its store is there, the mark is not.
fn found(setup: &HostSetup) {
    fs::create_dir_all(setup.places.data.join("store/log")).unwrap();
    fs::write(setup.places.data.join("store/IDENTITY"), "member 1").unwrap();
    fs::remove_file(setup.places.found_once()).unwrap();
}

async fn refusal(steps: &[Box<dyn Step<HostSetup>>], setup: &HostSetup) -> String {
    let error = run(steps, setup).await.unwrap_err();
    std::error::Error::source(&error).unwrap().to_string()
}

#[tokio::test]
async fn the_mark_is_made_before_the_ca_and_never_again_once_it_was_taken() {
    let dir = tempfile::tempdir().unwrap();
    let setup = setup(dir.path(), "hv1");
    run(&founding_steps()[..2], &setup).await.unwrap();
    assert!(setup.places.found_once().exists() && !setup.authority.exists(), "the mark comes first");
    run(&founding_steps(), &setup).await.unwrap();
    found(&setup);
    assert_eq!(run(&founding_steps(), &setup).await.unwrap().0, 0, "founded: all is in place");
    assert!(!setup.places.found_once().exists());
}

#[tokio::test]
async fn a_founder_that_has_lost_its_data_is_not_founded_again() {
    // an emptied folder, a lost one, and a lost CA key beside it
    for lost in [&["data/store/log", "data/store/IDENTITY"][..], &["data"], &["data", "etc/ca/root.key"]] {
        let dir = tempfile::tempdir().unwrap();
        let setup = setup(dir.path(), "hv1");
        run(&founding_steps(), &setup).await.unwrap();
        found(&setup);
        for path in lost {
            let path = dir.path().join("hv1").join(path);
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
        let before = files(dir.path());
        let why = refusal(&founding_steps(), &setup).await;
        for part in [
            "never founded a second time",
            "pvc node remove hv1",
            "pvc token join",
            "pvc-bootstrap join",
            "backup",
        ] {
            assert!(why.contains(part), "{part:?} is not in {why:?}");
        }
        assert_eq!(files(dir.path()), before, "nothing was touched");
    }
}

#[tokio::test]
async fn data_that_an_administrator_has_moved_is_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let setup = setup(dir.path(), "hv1");
    run(&founding_steps(), &setup).await.unwrap();
    found(&setup);
    let moved = dir.path().join("big-disk");
    fs::rename(&setup.places.data, &moved).unwrap();
    let text = fs::read_to_string(setup.places.configuration()).unwrap();
    let text = text.replace("\"/var/lib/pvc\"", &format!("{moved:?}"));
    fs::write(setup.places.configuration(), text).unwrap();
    assert_eq!(run(&founding_steps(), &setup).await.unwrap().0, 0);
}

#[tokio::test]
async fn leftovers_of_another_cluster_are_not_built_upon() {
    let dir = tempfile::tempdir().unwrap();
    let first = setup(dir.path(), "hv1");
    fs::create_dir_all(first.places.data.join("store/log")).unwrap();
    let why = refusal(&founding_steps(), &first).await;
    assert!(why.contains("earlier cluster"), "{why}");

    let second = setup(dir.path(), "hv2");
    fs::write(second.places.found_once(), "another cluster").unwrap();
    let why = refusal(&founding_steps(), &second).await;
    assert!(why.contains("lets cluster another cluster be founded"), "{why}");
}

#[tokio::test]
async fn a_lost_file_is_made_again_and_the_rest_stays() {
    let dir = tempfile::tempdir().unwrap();
    let setup = setup(dir.path(), "hv1");
    run(&founding_steps(), &setup).await.unwrap();
    let before = files(dir.path());
    for lost in ["etc/pvcd.toml", "pki/libvirt/servercert.pem", "pki/qemu/client-key.pem"] {
        fs::remove_file(dir.path().join("hv1").join(lost)).unwrap();
        assert_eq!(run(&founding_steps(), &setup).await.unwrap().0, 1, "{lost}");
    }
    assert_eq!(files(dir.path()), before);
}

#[tokio::test]
async fn hosts_with_libvirt_only_get_certificates_of_one_ca_and_no_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let first = setup(dir.path(), "hv1");
    let (_, id) = run(&libvirt_only_steps(true), &first).await.unwrap();
    let mut second = setup(dir.path(), "hv2");
    second.authority = first.authority.clone();
    second.cluster_id = Some(id.clone());
    assert_eq!(run(&libvirt_only_steps(false), &second).await.unwrap().1, id);
    let credentials = pvc_identity::Credentials::load(&second.places.etc).unwrap();
    assert_eq!(credentials.leaf().identity.to_string(), "node/hv2");
    assert_eq!(credentials.ca_bundle_pem(), load_authority(&first.authority).unwrap().cert_pem());
    for setup in [first, second] {
        assert!(setup.places.pki.join("libvirt/servercert.pem").exists());
        assert!(!setup.places.configuration().exists() && !setup.places.found_once().exists());
    }
}

#[tokio::test]
async fn another_name_or_cluster_on_a_founded_host_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let setup = setup(dir.path(), "hv1");
    run(&founding_steps(), &setup).await.unwrap();
    let before = files(dir.path());
    let renamed = HostSetup { node: "hv9".to_owned(), ..setup.clone() };
    let other = HostSetup { cluster_id: Some(uuid::Uuid::new_v4().to_string()), ..setup.clone() };
    for wrong in [renamed, other] {
        let why = refusal(&founding_steps(), &wrong).await;
        assert!(why.contains("already"), "{why}");
    }
    assert_eq!(files(dir.path()), before);
}

#[tokio::test]
async fn a_lost_ca_is_not_replaced_by_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let setup = setup(dir.path(), "hv1");
    run(&founding_steps(), &setup).await.unwrap();
    found(&setup);
    fs::remove_file(setup.authority.join("root.pem")).unwrap();
    let why = refusal(&founding_steps(), &setup).await;
    assert!(why.contains("the CA is gone") && why.contains("restore"), "{why}");
}
