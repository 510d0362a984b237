//! NICs of VMs: giving, changing and taking them, and the rules about them.

use std::collections::BTreeSet;

use super::SpecPatch;
use super::draft::Draft;
use crate::mac::Mac;
use crate::network::{Attachment, Vni};
use crate::nic::{NICS_MAX, Nic};
use crate::rejection::Rejection;
use crate::vm::{Vm, VmSpec};
use crate::world::World;

/// Carries out what the patch says about single NICs.
pub(super) fn patch(vm: &Vm, spec: &mut VmSpec, patch: &SpecPatch) -> Result<(), Rejection> {
    let at = |spec: &VmSpec, mac: Mac| {
        let found = spec.nics.iter().position(|nic| nic.mac == Some(mac));
        found.ok_or_else(|| {
            let detail = format!("it has no NIC with the address {mac}");
            Rejection::precondition("nic-must-exist", vm.subject(), detail)
                .help(format!("see `pvc vm network get {}`", vm.meta.name))
        })
    };
    for mac in &patch.remove_nics {
        let index = at(spec, *mac)?;
        spec.nics.remove(index);
    }
    for change in &patch.change_nics {
        let index = at(spec, change.mac)?;
        change.apply(&mut spec.nics[index]);
    }
    for nic in &patch.add_nics {
        match spec.nics.iter().find(|there| nic.mac.is_some() && there.mac == nic.mac) {
            None => spec.nics.push(nic.clone()),
            // Asked for once more.
            Some(there) if there == nic => {}
            Some(there) => {
                let mac = there.mac.map(|mac| mac.to_string()).unwrap_or_default();
                let detail = format!("it has a NIC with the address {mac} already, and that is another one");
                return Err(Rejection::precondition("nic-once", vm.subject(), detail)
                    .help(format!("pvc vm network modify {} {mac}", vm.meta.name)));
            }
        }
    }
    Ok(())
}

/// Whether a running guest can't become so: its NICs come, go and change, but none becomes of another model.
pub(super) fn models_differ(old: &VmSpec, new: &VmSpec) -> bool {
    let before = |nic: &Nic| old.nics.iter().find(|old| old.mac.is_some() && old.mac == nic.mac);
    new.nics.iter().any(|nic| before(nic).is_some_and(|old| old.model != nic.model))
}

/// The rules about the NICs of a VM as it will be.
pub(super) fn check(world: &World, vm: &Vm) -> Result<(), Rejection> {
    let nics = &vm.spec.nics;
    if nics.len() > NICS_MAX {
        let detail = format!("a VM has at most {NICS_MAX} NICs");
        return Err(Rejection::invalid("nics-at-most", vm.subject(), detail));
    }
    let mut macs = BTreeSet::new();
    for mac in nics.iter().filter_map(|nic| nic.mac) {
        if !macs.insert(mac) {
            let detail = format!("the address {mac} stands in it twice");
            return Err(Rejection::invalid("mac-once", vm.subject(), detail));
        }
    }
    for mac in macs {
        let owner = world.mac_user(mac).and_then(|owner| world.vms.get(owner));
        if let Some(owner) = owner.filter(|owner| owner.uid() != vm.uid()) {
            let detail = format!("the address {mac} is {}'s", owner.subject());
            return Err(Rejection::precondition("mac-unique", vm.subject(), detail)
                .help("leave it out: one is chosen"));
        }
    }
    // What it is attached to already is not asked about again.
    let had = world.vm_by_uid(vm.uid()).map_or(&[][..], |old| &old.spec.nics);
    let new = nics.iter().map(|nic| &nic.attachment);
    for attachment in new.filter(|attachment| !had.iter().any(|nic| nic.attachment == **attachment)) {
        check_attachment(world, vm, attachment)?;
    }
    Ok(())
}

fn check_attachment(world: &World, vm: &Vm, attachment: &Attachment) -> Result<(), Rejection> {
    match attachment {
        Attachment::Network(vni) if !world.networks.contains_key(&vni.name()) => {
            let detail = format!("network {vni} does not exist");
            Err(Rejection::precondition("network-must-exist", vm.subject(), detail)
                .help(format!("see `pvc network list`, or make it: pvc network add {vni}")))
        }
        Attachment::Network(_) | Attachment::Host(_) => Ok(()),
        // It would go around the network's rules.
        Attachment::Bridge(bridge) => match Vni::of_bridge(bridge) {
            Some(vni) => {
                let detail = format!("{bridge} is the bridge of network {vni}, and nobody else's");
                Err(Rejection::invalid("bridge-not-ours", vm.subject(), detail)
                    .help(format!("attach it to network {vni} in place of the bridge")))
            }
            None => Ok(()),
        },
    }
}

/// Gives each NIC without an address one of 52:54:00 (QEMU's and libvirt's customary prefix) that is free.
pub(super) fn complete_macs(draft: &mut Draft<'_>, vm: &mut Vm) {
    let mut own: BTreeSet<Mac> = vm.spec.nics.iter().filter_map(|nic| nic.mac).collect();
    for nic in vm.spec.nics.iter_mut().filter(|nic| nic.mac.is_none()) {
        let mac = loop {
            let [.., a, b, c] = draft.context.draw().to_be_bytes();
            let mac = Mac([0x52, 0x54, 0x00, a, b, c]);
            if draft.world.mac_user(mac).is_none() && own.insert(mac) {
                break mac;
            }
        };
        nic.mac = Some(mac);
    }
}
