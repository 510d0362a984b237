use std::os::unix::fs::MetadataExt;

use super::*;

const MIB: u64 = 1 << 20;

fn pool() -> (tempfile::TempDir, DirectoryStorage) {
    let directory = tempfile::tempdir().expect("a directory");
    let pool = DirectoryStorage::new("shared".parse().expect("a name"), directory.path().to_path_buf());
    (directory, pool)
}

fn uid(number: u128) -> Uid {
    Uid::from_random(number)
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("listed");
    let mut names: Vec<_> =
        entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn made_grown_and_deleted_and_each_twice() {
    let (directory, pool) = pool();
    for _ in 0..2 {
        assert_eq!(pool.create(uid(1), 8 * MIB).await.expect("made"), 8 * MIB);
    }
    let file = std::fs::metadata(pool.volume_path(uid(1))).expect("there");
    assert_eq!((file.len(), file.blocks()), (8 * MIB, 0), "blank and sparse");
    for _ in 0..2 {
        pool.resize(uid(1), 16 * MIB).await.expect("grown");
    }
    let refused = pool.resize(uid(1), MIB).await.expect_err("it never shrinks");
    assert!(
        matches!(refused, StorageError::Shrink { have_bytes, .. } if have_bytes == 16 * MIB),
        "{refused}"
    );
    for _ in 0..2 {
        pool.delete(uid(1)).await.expect("gone");
    }
    assert!(names(directory.path()).is_empty());
    assert!(matches!(pool.attach(uid(1)).await, Err(StorageError::NoSuchVolume { .. })));
}

#[tokio::test]
async fn copies_hold_what_was_written_and_keep_the_holes() {
    let (_directory, pool) = pool();
    pool.create(uid(1), 64 * MIB).await.expect("made");
    let file = OpenOptions::new().write(true).open(pool.volume_path(uid(1))).expect("opened");
    file.write_all_at(b"before", 40 * MIB).expect("written");
    let name: Name = "s1".parse().expect("a name");
    pool.snapshot(uid(1), &name, &Work::unattended()).await.expect("taken");
    file.write_all_at(b"after!", 40 * MIB).expect("written");
    let origin = Origin { volume: uid(1), snapshot: Some(name.clone()) };
    let size = pool.clone_volume(uid(2), &origin, 80 * MIB, &Work::unattended()).await.expect("cloned");
    assert_eq!(size, 80 * MIB);
    let mut found = [0; 6];
    let copy = File::open(pool.volume_path(uid(2))).expect("opened");
    copy.read_exact_at(&mut found, 40 * MIB).expect("read");
    assert_eq!(&found, b"before");
    let blocks = copy.metadata().expect("there").blocks();
    assert!(blocks * 512 <= 2 * MIB, "{blocks} blocks for one chunk of data");
    let listed = pool.list().await.expect("listed");
    let first = listed.iter().find(|v| v.uid == uid(1)).expect("the first");
    assert_eq!(first.snapshots, [StoredSnapshot { name, size_bytes: 64 * MIB }]);
    pool.delete(uid(1)).await.expect("gone, with its snapshot");
    assert_eq!(pool.list().await.expect("listed").len(), 1);
}

#[tokio::test]
async fn what_is_called_off_or_was_cut_short_leaves_nothing() {
    let (directory, pool) = pool();
    pool.create(uid(1), 8 * MIB).await.expect("made");
    let work = Work::unattended();
    work.cancel.cancel();
    let origin = Origin { volume: uid(1), snapshot: None };
    assert!(matches!(pool.clone_volume(uid(2), &origin, 0, &work).await, Err(StorageError::Cancelled)));
    assert_eq!(names(directory.path()), [format!("{}.raw", uid(1))]);
    // A host died in the midst of it: the leftover is no volume, and the work begins again.
    std::fs::write(pool.part_path(&pool.volume_path(uid(2))), b"half").expect("written");
    assert_eq!(pool.list().await.expect("listed").len(), 1);
    pool.clone_volume(uid(2), &origin, 0, &Work::unattended()).await.expect("cloned");
    assert_eq!(names(directory.path()).len(), 2);
}

/// A host that was given up and works on: another one has made the volume meanwhile, or deleted it.
#[tokio::test]
async fn a_late_host_replaces_nothing_and_brings_nothing_back() {
    let (directory, pool) = pool();
    pool.create(uid(1), 8 * MIB).await.expect("made");
    let origin = pool.volume_path(uid(1));
    let late = |number, meanwhile: &dyn Fn(&Path)| {
        let target = pool.volume_path(uid(number));
        let made = pool.make(&target, MIB, |file| {
            file.set_len(MIB)?;
            meanwhile(&target);
            Ok(())
        });
        (target, made)
    };
    let faster = |target: &Path| assert!(std::fs::copy(&origin, target).is_ok(), "made by another host");
    let (target, made) = late(2, &faster);
    assert_eq!(made.expect("it is there"), 8 * MIB);
    assert_eq!(std::fs::metadata(target).expect("there").len(), 8 * MIB);
    let gone = |_: &Path| pool.remove_parts(&format!(".{}", uid(3)));
    let (target, made) = late(3, &gone);
    assert!(made.is_err() && !target.exists(), "a deleted volume stays deleted");
    assert_eq!(names(directory.path()).len(), 2);
}

#[tokio::test]
async fn what_is_not_ours_is_left_alone() {
    let (directory, pool) = pool();
    for name in ["vmlinuz", "notes.raw", "x@y.raw"] {
        std::fs::write(directory.path().join(name), b"mine").expect("written");
    }
    pool.create(uid(1), MIB).await.expect("made");
    pool.delete(uid(1)).await.expect("gone");
    assert!(pool.list().await.expect("listed").is_empty());
    assert_eq!(names(directory.path()), ["notes.raw", "vmlinuz", "x@y.raw"]);
}

#[tokio::test]
async fn a_missing_directory_and_a_missing_origin_are_named() {
    let pool = DirectoryStorage::new("shared".parse().expect("a name"), "/nonexistent/pool".into());
    let error = pool.create(uid(1), MIB).await.expect_err("unusable").to_string();
    assert!(error.starts_with("pool shared can't be used: /nonexistent/pool"), "{error}");
    let (_directory, pool) = self::pool();
    let origin = Origin { volume: uid(7), snapshot: None };
    let error = pool.clone_volume(uid(1), &origin, 0, &Work::unattended()).await.expect_err("no origin");
    assert!(matches!(error, StorageError::NoSuchVolume { .. }), "{error}");
    assert!(pool.space().await.expect("measured").total_bytes > 0);
}
