//! Credentials on disk survive crashes and refuse mix-ups; their validity is told in plain words.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use jiff::SignedDuration;
use pvc_identity::{Credentials, CredentialsError};

use crate::world::{ca, credentials, credentials_made, now};

#[test]
fn come_back_from_disk() {
    let dir = tempfile::tempdir().unwrap();
    let saved = credentials(&ca("c1"), "node/hv1");
    saved.save(dir.path()).unwrap();
    let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("node.key"), mode("node.pem"), mode("ca.pem")), (0o600, 0o644, 0o644));

    let loaded = Credentials::load(dir.path()).unwrap();
    assert_eq!(loaded.leaf(), saved.leaf());
    assert_eq!(loaded.key_pem(), saved.key_pem());
    assert_eq!(loaded.ca_bundle_pem(), saved.ca_bundle_pem());
    let mut names: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["ca.pem", "node.key", "node.pem"], "nothing is left lying about");
}

/// Every state that a renewal cut short can leave behind still loads, as the old or the new pair.
#[test]
fn survive_a_renewal_cut_short_at_any_step() {
    let ca = ca("c1");
    let (old, new) = (credentials(&ca, "node/hv1"), credentials(&ca, "node/hv1"));
    for steps_done in 0..=3 {
        let dir = tempfile::tempdir().unwrap();
        old.save(dir.path()).unwrap();
        let write = |name: &str, content: &str| {
            fs::write(dir.path().join(name), content).unwrap();
            if name.contains("key") {
                fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
            }
        };
        if steps_done >= 1 {
            write("node.key.next", new.key_pem().expose());
        }
        if steps_done >= 2 {
            write("node.pem", new.cert_chain_pem());
        }
        if steps_done >= 3 {
            fs::rename(dir.path().join("node.key.next"), dir.path().join("node.key")).unwrap();
        }
        let expected = if steps_done >= 2 { &new } else { &old };
        for _ in 0..2 {
            let loaded = Credentials::load(dir.path()).unwrap();
            assert_eq!(loaded.leaf(), expected.leaf(), "after {steps_done} steps");
        }
        // And a further renewal goes through.
        old.save(dir.path()).unwrap();
        assert_eq!(Credentials::load(dir.path()).unwrap().leaf(), old.leaf());
    }
}

#[test]
fn refuse_a_key_of_another_certificate() {
    let ca = ca("c1");
    let (one, two) = (credentials(&ca, "node/hv1"), credentials(&ca, "node/hv1"));
    let mixed = Credentials::new(one.cert_chain_pem(), two.key_pem().clone(), ca.cert_pem());
    assert!(matches!(mixed, Err(CredentialsError::KeyMismatch(who)) if who == "node/hv1"));
}

#[test]
fn refuse_what_is_no_certificate() {
    let good = credentials(&ca("c1"), "node/hv1");
    let new =
        |chain: &str, bundle: &str| Credentials::new(chain, good.key_pem().clone(), bundle).unwrap_err();
    assert!(matches!(new("", good.ca_bundle_pem()), CredentialsError::NoCertificate("certificate chain")));
    assert!(matches!(new(good.cert_chain_pem(), "hello"), CredentialsError::NoCertificate("CA bundle")));
    let broken = good.ca_bundle_pem().replace("MII", "!!!");
    assert!(matches!(new(good.cert_chain_pem(), &broken), CredentialsError::BadPem("CA bundle")));
    // The root itself names nobody.
    assert!(matches!(new(good.ca_bundle_pem(), good.ca_bundle_pem()), CredentialsError::BadLeaf(_)));
}

#[test]
fn refuse_an_exposed_key_and_name_a_missing_file() {
    let dir = tempfile::tempdir().unwrap();
    credentials(&ca("c1"), "node/hv1").save(dir.path()).unwrap();
    fs::set_permissions(dir.path().join("node.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let error = Credentials::load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("node.key") && error.contains("0644") && error.contains("chmod 600"), "{error}");

    fs::remove_file(dir.path().join("node.key")).unwrap();
    let error = Credentials::load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("could not read") && error.contains("node.key"), "{error}");
}

#[test]
fn validity_is_checked_with_five_minutes_grace_and_told_with_both_times() {
    let made = now();
    let credentials = credentials_made(&ca("c1"), "node/hv1", made);
    let leaf = credentials.leaf();
    let minutes = SignedDuration::from_mins;
    for fine in [made, leaf.not_after + minutes(4), leaf.not_before - minutes(4)] {
        credentials.check_valid(fine).unwrap();
    }

    let late = leaf.not_after + minutes(6);
    let error = credentials.check_valid(late).unwrap_err().to_string();
    for part in ["node/hv1", &leaf.not_after.to_string(), &late.to_string(), "pvc token join"] {
        assert!(error.contains(part), "{error:?} lacks {part:?}");
    }
    let early = leaf.not_before - minutes(6);
    let error = credentials.check_valid(early).unwrap_err().to_string();
    for part in [&leaf.not_before.to_string(), &early.to_string(), "set the clock"] {
        assert!(error.contains(part), "{error:?} lacks {part:?}");
    }
}

#[test]
fn renewal_is_due_at_seventy_percent_give_or_take_five() {
    let credentials = credentials(&ca("c1"), "node/hv1");
    let leaf = credentials.leaf();
    let lifetime = leaf.not_after.duration_since(leaf.not_before).as_secs_f64();
    for (jitter, share) in [(0.0, 0.70), (1.0, 0.75), (-1.0, 0.65), (7.0, 0.75), (f64::NEG_INFINITY, 0.65)] {
        let passed = credentials.renew_at(jitter).duration_since(leaf.not_before).as_secs_f64();
        assert!((passed / lifetime - share).abs() < 1e-6, "jitter {jitter}: {}", passed / lifetime);
    }
    assert!(!credentials.needs_renewal(now(), 0.0));
    assert!(credentials.needs_renewal(credentials.renew_at(0.0), 0.0));
}
