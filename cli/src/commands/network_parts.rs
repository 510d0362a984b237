//! `pvc network dhcp|lease|peer|fabric`.

use std::net::IpAddr;

use futures::stream::BoxStream;
use pvc_proto::v1::{
    AddPeerRequest, AddReservationRequest, Addresses, DeleteLeaseRequest, FabricInfo, GetFabricRequest,
    Lease, ListLeasesResponse, Meta, Peer, RemovePeerRequest, RemoveReservationRequest, Reservation,
    UpdateFabricRequest, WatchLeasesRequest,
};

use super::network::{done, get, leases, list_anew};
use crate::args::network_parts::{
    DhcpCommand, FabricCommand, FabricSet, LeaseCommand, LeaseList, PeerCommand,
};
use crate::call::{Session, request_id};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::listing::{self, Listing};
use crate::show;
use crate::show::words::name;

pub async fn dhcp(cx: &mut Context<'_>, command: DhcpCommand) -> Result<(), Failure> {
    match command {
        DhcpCommand::Add { network, hostname, mac, addresses, expected } => {
            let mut reservation = Reservation { mac, hostname: hostname.clone(), ..Reservation::default() };
            for address in &addresses {
                let field = if address.is_ipv4() { &mut reservation.ipv4 } else { &mut reservation.ipv6 };
                if !field.is_empty() {
                    let detail = "a reservation has one address of each family at most";
                    return Err(Failure::usage(format!("network/{network}"), detail));
                }
                *field = address.to_string();
            }
            let session = cx.session()?;
            let request = session.ask(AddReservationRequest {
                network,
                reservation: Some(reservation),
                expected_revision: expected.expected_revision,
                request_id: request_id(),
            });
            let reply = session.networks().add_reservation(request).await?.into_inner();
            let shown: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
            done(cx, &reply, &format!("{} reserved for {hostname}", shown.join(" and ")))
        }
        DhcpCommand::Remove { network, reservation, expected } => {
            let hostname = hostname_of(cx, &network, &reservation).await?;
            let session = cx.session()?;
            let request = session.ask(RemoveReservationRequest {
                network,
                hostname: hostname.clone(),
                expected_revision: expected.expected_revision,
                request_id: request_id(),
            });
            let reply = session.networks().remove_reservation(request).await?.into_inner();
            done(cx, &reply, &format!("reservation {hostname} removed"))
        }
        DhcpCommand::List { network } => {
            let network = get(cx, &network).await?;
            let names = || network.reservations.iter().map(|one| one.hostname.clone()).collect();
            cx.reply(&network, |colour| show::network_parts::reservations(&network, colour), names)
        }
    }
}

/// A reservation is meant by its hostname, its MAC or one of its addresses, in any spelling.
async fn hostname_of(cx: &mut Context<'_>, network: &str, which: &str) -> Result<String, Failure> {
    let found = get(cx, network).await?;
    let address: Option<IpAddr> = which.parse().ok();
    let is_meant = |one: &&Reservation| {
        let has = |text: &str| address.is_some() && text.parse().ok() == address;
        one.hostname == which || one.mac.eq_ignore_ascii_case(which) || has(&one.ipv4) || has(&one.ipv6)
    };
    match found.reservations.iter().find(is_meant) {
        Some(one) => Ok(one.hostname.clone()),
        None => {
            let detail = format!("it has no reservation {which}");
            Err(Failure::new(Exit::NotFound, format!("network/{network}"), detail)
                .rule("must-exist")
                .help(format!("pvc network dhcp list {network}")))
        }
    }
}

pub async fn lease(cx: &mut Context<'_>, command: LeaseCommand) -> Result<(), Failure> {
    match command {
        LeaseCommand::List(list) => {
            let watch = list.watch;
            listing::run(cx, &list, watch).await
        }
        LeaseCommand::Remove { network, address } => {
            let session = cx.session()?;
            let list = LeaseList { network: Some(network.clone()), ..LeaseList::default() };
            let leases = listing::fetch(&list, &session).await?.leases;
            let Some(lease) = leases.iter().find(|lease| lease.address.parse() == Ok(address)) else {
                let detail = format!("{address} is not lent");
                return Err(Failure::new(Exit::NotFound, format!("network/{network}"), detail)
                    .rule("must-exist")
                    .help(format!("pvc network lease list {network}")));
            };
            let lease = name(lease.meta.as_ref()).to_owned();
            let request = session.ask(DeleteLeaseRequest { name: lease.clone(), request_id: request_id() });
            let reply = session.networks().delete_lease(request).await?.into_inner();
            cx.done(&reply, &lease, format!("network/{network}: {address} released"))
        }
    }
}

impl Listing for LeaseList {
    type Reply = ListLeasesResponse;

    async fn page(&self, session: &Session, token: String) -> Result<ListLeasesResponse, Failure> {
        leases(session, self.network.as_deref(), token).await
    }

    async fn wakes(
        &self,
        session: &Session,
        revision: u64,
    ) -> Result<Option<BoxStream<'static, ()>>, Failure> {
        let network = self.network.clone().unwrap_or_default();
        let request = WatchLeasesRequest { network, start_revision: revision };
        let changes = session.networks().watch_leases(request).await?.into_inner();
        Ok(Some(listing::wakes_of(changes)))
    }

    fn meta(lease: &Lease) -> Option<&Meta> {
        lease.meta.as_ref()
    }

    fn table(leases: &[&Lease], colour: bool) -> String {
        show::network_parts::leases(leases, colour)
    }
}

pub async fn peer(cx: &mut Context<'_>, command: PeerCommand) -> Result<(), Failure> {
    let session = cx.session()?;
    match command {
        PeerCommand::Add { name, address, asn, no_bfd } => {
            let peer = Peer { name: name.clone(), address: address.to_string(), asn, bfd: !no_bfd };
            let request = session.ask(AddPeerRequest { peer: Some(peer), request_id: request_id() });
            let reply = session.networks().add_peer(request).await?.into_inner();
            cx.done(&reply, &name, format!("peer {name} added: {address} in AS {asn}"))
        }
        PeerCommand::Remove { name } => {
            let request = session.ask(RemovePeerRequest { name: name.clone(), request_id: request_id() });
            let reply = session.networks().remove_peer(request).await?.into_inner();
            cx.done(&reply, &name, format!("peer {name} removed"))
        }
        PeerCommand::List => {
            let reply = get_fabric(&session).await?;
            let peers = reply.fabric.as_ref().map_or(&[][..], |fabric| &fabric.peers);
            let names = || peers.iter().map(|peer| peer.name.clone()).collect();
            cx.reply(&reply, |colour| show::network_parts::peers(peers, colour), names)
        }
    }
}

async fn get_fabric(session: &Session) -> Result<FabricInfo, Failure> {
    let request = session.ask(GetFabricRequest { consistency: 0 });
    Ok(session.networks().get_fabric(request).await?.into_inner())
}

pub async fn fabric(cx: &mut Context<'_>, command: FabricCommand) -> Result<(), Failure> {
    let session = cx.session()?;
    match command {
        FabricCommand::Info => {
            let reply = get_fabric(&session).await?;
            let page = |colour| show::network_parts::fabric(&reply, colour);
            cx.reply(&reply, page, || vec!["fabric".to_owned()])
        }
        FabricCommand::Set(FabricSet { asn, zone_secondaries, forwarders, expected_revision }) => {
            let anew = |given: &[String]| {
                let mut addresses = Vec::new();
                list_anew(given, &mut addresses);
                (!given.is_empty()).then_some(Addresses { addresses })
            };
            let request = session.ask(UpdateFabricRequest {
                asn,
                zone_secondaries: anew(&zone_secondaries),
                forwarders: anew(&forwarders),
                expected_revision,
                request_id: request_id(),
            });
            let reply = session.networks().update_fabric(request).await?.into_inner();
            cx.done(&reply, "fabric", "the fabric is changed".to_owned())
        }
    }
}
