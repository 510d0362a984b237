//! A spec by flags: `--vcpus 2 --disk root:10G,bus=scsi --nic network=1001`.

use pvc_proto::v1::{DirectBoot, Disk, DiskBus, MigrationMethod, RestartPolicy, VmSpec};

use super::nic::nic;
use super::size::parse_bytes;
use crate::args::vm::{MethodWord, SpecFlags};
use crate::failure::Failure;

/// Puts what is given by flags over the spec. Lists that are given replace the spec's.
pub fn apply(flags: &SpecFlags, spec: &mut VmSpec) -> Result<(), Failure> {
    fn set<T: Clone>(given: &Option<T>, field: &mut T) {
        if let Some(value) = given {
            *field = value.clone();
        }
    }
    set(&flags.vcpus, &mut spec.vcpus);
    set(&flags.memory, &mut spec.memory_mib);
    set(&flags.home, &mut spec.home);
    set(&flags.cpu_model, &mut spec.cpu_model);
    set(&flags.machine, &mut spec.machine);
    set(&flags.max_downtime, &mut spec.migration_max_downtime_ms);
    if let Some(method) = flags.migration_method {
        spec.migration_method = method_of(Some(method)) as i32;
    }
    if let Some(grace) = flags.shutdown_grace {
        spec.shutdown_grace_seconds = u32::try_from(grace.as_secs()).unwrap_or(u32::MAX);
    }
    spec.priority = flags.priority.or(spec.priority);
    if flags.no_recover {
        spec.recover = Some(false);
    }
    if flags.max_restarts.is_some() {
        spec.restart = Some(RestartPolicy { max_restarts: flags.max_restarts });
    }
    if let Some(kernel) = &flags.kernel {
        spec.boot = Some(DirectBoot {
            kernel: kernel.clone(),
            initrd: flags.initrd.clone().unwrap_or_default(),
            cmdline: flags.cmdline.clone().unwrap_or_default(),
        });
    }
    if !flags.disks.is_empty() {
        spec.disks = flags.disks.iter().map(|text| disk(text)).collect::<Result<_, _>>()?;
    }
    if !flags.nics.is_empty() {
        spec.nics = flags.nics.iter().map(|text| nic(text)).collect::<Result<_, _>>()?;
    }
    if !flags.tags.is_empty() {
        spec.tags = flags.tags.clone();
    }
    if !flags.node_limit.is_empty() {
        spec.node_limit = flags.node_limit.clone();
    }
    for text in &flags.meta {
        let (key, value) = pair(text, "--meta")?;
        spec.meta.insert(key.to_owned(), value.to_owned());
    }
    Ok(())
}

/// The API's word for a method; `None` is the VM's own.
pub fn method_of(word: Option<MethodWord>) -> MigrationMethod {
    match word {
        None => MigrationMethod::Unspecified,
        Some(MethodWord::Live) => MigrationMethod::Live,
        Some(MethodWord::Shutdown) => MigrationMethod::Shutdown,
    }
}

/// KEY=VALUE; `flag` is named in the error.
pub fn pair<'a>(text: &'a str, flag: &str) -> Result<(&'a str, &'a str), Failure> {
    text.split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .ok_or_else(|| Failure::usage(format!("{flag} {text}"), "it has the form KEY=VALUE"))
}

/// VOLUME[:SIZE][,bus=BUS][,pool=POOL][,ro]
fn disk(text: &str) -> Result<Disk, Failure> {
    let refuse = |detail: String| Failure::usage(format!("--disk {text}"), detail).help(DISK_FORM);
    let mut parts = text.split(',');
    let first = parts.next().unwrap_or_default();
    let (volume, size) = first.split_once(':').map_or((first, None), |(v, s)| (v, Some(s)));
    if volume.is_empty() {
        return Err(refuse("the volume's name is missing".to_owned()));
    }
    let mut disk = Disk { volume: volume.to_owned(), ..Disk::default() };
    if let Some(size) = size {
        disk.create_bytes = parse_bytes(size).map_err(|e| refuse(e.to_string()))?;
    }
    for part in parts {
        match part.split_once('=') {
            Some(("bus", bus)) => {
                disk.bus = match bus {
                    "virtio" => DiskBus::Virtio,
                    "scsi" => DiskBus::Scsi,
                    "sata" => DiskBus::Sata,
                    _ => return Err(refuse(format!("bus is one of virtio, scsi, sata, not \"{bus}\""))),
                } as i32;
            }
            Some(("pool", pool)) => disk.pool = pool.to_owned(),
            None if part == "ro" => disk.read_only = true,
            _ => return Err(refuse(format!("unknown part \"{part}\""))),
        }
    }
    Ok(disk)
}

const DISK_FORM: &str = "--disk VOLUME[:SIZE][,bus=virtio|scsi|sata][,pool=POOL][,ro]";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks() {
        let made = disk("web1-root:10G,bus=scsi,pool=fast,ro").expect("it is right");
        assert_eq!(made.volume, "web1-root");
        assert_eq!(made.create_bytes, 10 << 30);
        assert_eq!(made.bus, DiskBus::Scsi as i32);
        assert_eq!((made.pool.as_str(), made.read_only), ("fast", true));
        assert_eq!(disk("data").expect("it is right").create_bytes, 0);
        for (bad, detail) in [
            (":10G", "the volume's name is missing"),
            ("a:ten", "bad size \"ten\": a number with K, M, G or T, as in 10G (10 GiB)"),
            ("a,bus=ide", "bus is one of virtio, scsi, sata, not \"ide\""),
            ("a,rw", "unknown part \"rw\""),
        ] {
            let failure = disk(bad).expect_err("it is refused");
            assert_eq!((failure.detail.as_str(), failure.help.as_str()), (detail, DISK_FORM));
        }
    }

    #[test]
    fn flags_win_over_the_file() {
        let mut spec = VmSpec { vcpus: 1, memory_mib: 64, tags: vec!["a".into()], ..VmSpec::default() };
        let flags = SpecFlags { vcpus: Some(4), tags: vec!["b".into()], ..SpecFlags::default() };
        apply(&flags, &mut spec).expect("they are right");
        assert_eq!((spec.vcpus, spec.memory_mib, &spec.tags), (4, 64, &vec!["b".to_owned()]));
        assert_eq!((spec.priority, spec.recover), (None, None));
        let flags = SpecFlags { priority: Some(0), no_recover: true, ..SpecFlags::default() };
        apply(&flags, &mut spec).expect("they are right");
        assert_eq!((spec.priority, spec.recover), (Some(0), Some(false)));
    }
}
