//! `pvc vm network`: a VM's NICs.

use pvc_proto::v1::{Nic, NicChange, UpdateVmRequest, Vm};

use super::vm::get;
use super::vm_edit::when;
use crate::args::vm_network::{LinkWord, NetworkCommand, NicAdd, NicModify, SwitchWord};
use crate::call::request_id;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::show;
use crate::spec::nic::attachment;

pub async fn run(cx: &mut Context<'_>, command: NetworkCommand) -> Result<(), Failure> {
    match command {
        NetworkCommand::Get { vm } => {
            let reply = get(cx, &vm).await?;
            let nics = reply.spec.as_ref().map_or(Vec::new(), |spec| spec.nics.clone());
            let names = nics.iter().map(|nic| nic.mac.clone()).collect();
            cx.reply(&reply, |colour| show::nic::table(&nics, colour), || names)
        }
        NetworkCommand::Add(nic) => add(cx, nic).await,
        NetworkCommand::Modify(change) => modify(cx, change).await,
        NetworkCommand::Remove { vm, nic, expected } => {
            let mac = mac_of(cx, &vm, &nic).await?;
            let request = UpdateVmRequest {
                remove_nics: vec![mac.clone()],
                expected_revision: expected.expected_revision,
                ..UpdateVmRequest::default()
            };
            let reply = update(cx, &vm, request).await?;
            cx.done(&reply, &mac, format!("vm/{vm}: NIC {mac} removed{}", when(&vm, &reply)))
        }
    }
}

async fn add(cx: &mut Context<'_>, add: NicAdd) -> Result<(), Failure> {
    let nic = Nic {
        network: add.network.unwrap_or_default(),
        bridge: add.bridge.unwrap_or_default(),
        mac: add.mac.unwrap_or_default(),
        model: add.model.unwrap_or_default(),
        link_down: add.link_down,
        rate_in: add.rate_in,
        rate_out: add.rate_out,
        trusted: add.no_spoof_check,
        addresses: add.addresses,
    };
    let network = attachment(&nic).to_owned();
    let request = UpdateVmRequest {
        add_nics: vec![nic],
        expected_revision: add.expected.expected_revision,
        ..UpdateVmRequest::default()
    };
    let reply = update(cx, &add.vm, request).await?;
    // What is added comes last.
    let mac = reply.spec.as_ref().and_then(|spec| spec.nics.last()).map_or("", |nic| nic.mac.as_str());
    let sentence = format!("vm/{}: NIC {mac} added on {network}{}", add.vm, when(&add.vm, &reply));
    cx.done(&reply, mac, sentence)
}

async fn modify(cx: &mut Context<'_>, modify: NicModify) -> Result<(), Failure> {
    let mac = mac_of(cx, &modify.vm, &modify.nic).await?;
    let change = NicChange {
        mac: mac.clone(),
        network: modify.network.unwrap_or_default(),
        bridge: modify.bridge.unwrap_or_default(),
        model: modify.model.unwrap_or_default(),
        link_down: modify.link.map(|link| link == LinkWord::Down),
        rate_in: modify.rate_in,
        rate_out: modify.rate_out,
        trusted: modify.spoof_check.map(|check| check == SwitchWord::Off),
        set_addresses: modify.no_addresses || !modify.addresses.is_empty(),
        addresses: modify.addresses,
    };
    let request = UpdateVmRequest {
        change_nics: vec![change],
        expected_revision: modify.expected.expected_revision,
        ..UpdateVmRequest::default()
    };
    let reply = update(cx, &modify.vm, request).await?;
    cx.done(&reply, &mac, format!("vm/{}: NIC {mac} changed{}", modify.vm, when(&modify.vm, &reply)))
}

async fn update(cx: &mut Context<'_>, vm: &str, request: UpdateVmRequest) -> Result<Vm, Failure> {
    let request = UpdateVmRequest { name: vm.to_owned(), request_id: request_id(), ..request };
    let session = cx.session()?;
    Ok(session.vms().update_vm(session.ask(request)).await?.into_inner())
}

/// The MAC of the NIC that is meant: given as such, or by the network of the only one there.
async fn mac_of(cx: &mut Context<'_>, vm: &str, nic: &str) -> Result<String, Failure> {
    if nic.contains(':') {
        return Ok(nic.to_owned());
    }
    let reply = get(cx, vm).await?;
    let nics = reply.spec.map_or(Vec::new(), |spec| spec.nics);
    if nics.iter().any(|one| attachment(one) == nic) {
        return only_one_on(vm, &nics, nic);
    }
    // By the network's description? Where it is none, what is said is that the VM has no such NIC.
    let found = super::network::get(cx, nic).await;
    let network = found.map_or_else(|_| nic.to_owned(), |network| network.vni.to_string());
    only_one_on(vm, &nics, &network)
}

fn only_one_on(vm: &str, nics: &[Nic], network: &str) -> Result<String, Failure> {
    let there: Vec<&str> =
        nics.iter().filter(|one| attachment(one) == network).map(|one| one.mac.as_str()).collect();
    let refuse = |exit, detail: String| {
        let help = format!("pvc vm network get {vm}");
        Err(Failure::new(exit, format!("vm/{vm}"), detail).rule("nic-must-exist").help(help))
    };
    match there[..] {
        [mac] => Ok(mac.to_owned()),
        [] => refuse(Exit::NotFound, format!("it has no NIC on {network}")),
        _ => refuse(
            Exit::Usage,
            format!("it has {} NICs on {network}; say which by its MAC: {}", there.len(), there.join(", ")),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nic_is_named_by_its_network_where_that_is_enough() {
        let on =
            |network: &str, mac: &str| Nic { network: network.into(), mac: mac.into(), ..Nic::default() };
        let bridged = Nic { bridge: "br0".into(), mac: "c".into(), ..Nic::default() };
        let nics = [on("1001", "a"), on("upstream", "b"), bridged, on("7", "d"), on("7", "e")];
        for (network, mac) in [("1001", "a"), ("upstream", "b"), ("br0", "c")] {
            assert_eq!(only_one_on("web1", &nics, network).as_deref(), Ok(mac));
        }
        let failure = only_one_on("web1", &nics, "7").expect_err("two");
        assert_eq!(failure.detail, "it has 2 NICs on 7; say which by its MAC: d, e");
        assert_eq!(only_one_on("web1", &nics, "9").expect_err("none").exit, Exit::NotFound);
    }
}
