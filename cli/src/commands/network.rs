//! `pvc network`: the networks themselves.

use futures::stream::BoxStream;
use pvc_proto::v1::{
    BridgedNetwork, CreateNetworkRequest, DeleteNetworkRequest, DhcpRange, GetFabricRequest,
    GetNetworkRequest, GetNetworkStateRequest, ListLeasesRequest, ListLeasesResponse, ListNetworksRequest,
    ListNetworksResponse, ManagedNetwork, Meta, Network, NetworkSpec, NetworkState, Subnet,
    UpdateNetworkRequest, WatchNetworksRequest,
};

use super::{history, network_acl, network_parts};
use crate::args::network::{KindWord, NetworkAdd, NetworkCommand, NetworkList, NetworkModify, Settings};
use crate::args::network_parts::LeaseList;
use crate::args::node::NodeList;
use crate::args::vm::VmList;
use crate::call::{Session, request_id};
use crate::context::Context;
use crate::failure::Failure;
use crate::listing::{self, Listing};
use crate::output::page::Page;
use crate::show;
use crate::show::network::called;

pub async fn run(cx: &mut Context<'_>, command: NetworkCommand) -> Result<(), Failure> {
    match command {
        NetworkCommand::Add(network) => add(cx, *network).await,
        NetworkCommand::Modify(network) => modify(cx, *network).await,
        NetworkCommand::Remove { network, expected } => {
            let subject = format!("network/{network}");
            cx.confirm(&subject, &format!("{subject} is removed, with its reservations, rules and leases"))?;
            let session = cx.session()?;
            let request = session.ask(DeleteNetworkRequest {
                name: network.clone(),
                expected_revision: expected.expected_revision,
                request_id: request_id(),
            });
            let reply = session.networks().delete_network(request).await?.into_inner();
            cx.done(&reply, &network, format!("{subject} removed"))
        }
        NetworkCommand::List(list) => {
            let watch = list.watch;
            listing::run(cx, &list, watch).await
        }
        NetworkCommand::Info { network, state } => info(cx, &network, state).await,
        NetworkCommand::History { network, last } => {
            history::run(cx, format!("network/{network}"), last).await
        }
        NetworkCommand::Topology { network } => topology(cx, network.as_deref()).await,
        NetworkCommand::Dhcp(command) => network_parts::dhcp(cx, command).await,
        NetworkCommand::Lease(command) => network_parts::lease(cx, command).await,
        NetworkCommand::Acl(command) => network_acl::run(cx, *command).await,
        NetworkCommand::Peer(command) => network_parts::peer(cx, command).await,
        NetworkCommand::Fabric(command) => network_parts::fabric(cx, command).await,
    }
}

/// By its number or its description.
pub(super) async fn get(cx: &mut Context<'_>, network: &str) -> Result<Network, Failure> {
    let session = cx.session()?;
    let request = session.ask(GetNetworkRequest { name: network.to_owned(), consistency: 0 });
    Ok(session.networks().get_network(request).await?.into_inner())
}

/// Says what was done to a network.
pub(super) fn done(cx: &mut Context<'_>, network: &Network, what: &str) -> Result<(), Failure> {
    cx.done(network, &network.vni.to_string(), format!("{}: {what}", called(network)))
}

pub(super) fn revision(network: &Network, expected: u64) -> u64 {
    // What it had was read just now: nobody's change in between is lost.
    if expected == 0 { network.meta.as_ref().map_or(0, |meta| meta.revision) } else { expected }
}

async fn add(cx: &mut Context<'_>, add: NetworkAdd) -> Result<(), Failure> {
    let mut spec = match add.kind {
        KindWord::Managed => {
            NetworkSpec { managed: Some(ManagedNetwork::default()), ..NetworkSpec::default() }
        }
        KindWord::Bridged => {
            NetworkSpec { bridged: Some(BridgedNetwork::default()), ..NetworkSpec::default() }
        }
    };
    let subject = format!("network/{}", add.vni);
    apply(&subject, &add.settings, &mut spec)?;
    let session = cx.session()?;
    let request =
        session.ask(CreateNetworkRequest { vni: add.vni, spec: Some(spec), request_id: request_id() });
    let network = session.networks().create_network(request).await?.into_inner();
    done(cx, &network, "made")
}

async fn modify(cx: &mut Context<'_>, modify: NetworkModify) -> Result<(), Failure> {
    let old = get(cx, &modify.network).await?;
    let expected_revision = revision(&old, modify.expected.expected_revision);
    let mut spec = old.spec.unwrap_or_default();
    apply(&format!("network/{}", modify.network), &modify.settings, &mut spec)?;
    let session = cx.session()?;
    let request = session.ask(UpdateNetworkRequest {
        name: old.vni.to_string(),
        spec: Some(spec),
        expected_revision,
        request_id: request_id(),
    });
    let network = session.networks().update_network(request).await?.into_inner();
    done(cx, &network, "changed")
}

/// "none" takes away what there was.
fn or_none(text: &str) -> Option<String> {
    (text != "none").then(|| text.to_owned())
}

/// A list anew; "none" alone empties it.
pub(super) fn list_anew(given: &[String], list: &mut Vec<String>) {
    match given {
        [] => {}
        [none] if none == "none" => list.clear(),
        given => list.clone_from(&given.to_vec()),
    }
}

/// Puts what is given in the place of what is there.
fn apply(subject: &str, settings: &Settings, spec: &mut NetworkSpec) -> Result<(), Failure> {
    if let Some(description) = &settings.description {
        spec.description.clone_from(description);
    }
    spec.mtu = settings.mtu.unwrap_or(spec.mtu);
    if let Some(bridged) = &mut spec.bridged {
        if let Some(device) = &settings.device {
            bridged.device = or_none(device).unwrap_or_default();
        }
        return refuse_managed(subject, settings);
    }
    if settings.device.is_some() {
        let detail = "--device is for bridged networks";
        return Err(Failure::usage(subject, detail).help("give -p bridged to make such a network"));
    }
    let managed = spec.managed.get_or_insert_default();
    if let Some(domain) = &settings.domain {
        managed.domain.clone_from(domain);
    }
    list_anew(&settings.name_servers, &mut managed.name_servers);
    list_anew(&settings.ntp_servers, &mut managed.ntp_servers);
    let Settings { subnet, gateway, dhcp, subnet6, gateway6, dhcp6, .. } = settings;
    let seconds = settings.lease_time.map(|time| u32::try_from(time.as_secs()).unwrap_or(u32::MAX));
    for (family, subnet, gateway, dhcp) in
        [(&mut managed.ipv4, subnet, gateway, dhcp), (&mut managed.ipv6, subnet6, gateway6, dhcp6)]
    {
        apply_family(subject, family, [subnet, gateway, dhcp].map(Option::as_deref))?;
        if let (Some(seconds), Some(dhcp)) =
            (seconds, family.as_mut().and_then(|family| family.dhcp.as_mut()))
        {
            dhcp.lease_seconds = seconds;
        }
    }
    Ok(())
}

fn apply_family(
    subject: &str,
    family: &mut Option<Subnet>,
    [subnet, gateway, dhcp]: [Option<&str>; 3],
) -> Result<(), Failure> {
    match subnet {
        Some("none") => *family = None,
        Some(subnet) => family.get_or_insert_default().subnet = subnet.to_owned(),
        None => {}
    }
    if gateway.is_none() && dhcp.is_none() {
        return Ok(());
    }
    let Some(family) = family else {
        let detail = "a gateway and addresses for DHCP are of a subnet, and there is none";
        return Err(Failure::usage(subject, detail).help("give --subnet, or --subnet6 for IPv6"));
    };
    if let Some(gateway) = gateway {
        family.gateway = or_none(gateway).unwrap_or_default();
    }
    match dhcp {
        None => {}
        Some("none") => family.dhcp = None,
        Some(range) => {
            let Some((first, last)) = range.split_once('-') else {
                let detail = format!("{range:?} is no range of addresses, as in 10.1.0.100-10.1.0.199");
                return Err(Failure::usage(subject, detail));
            };
            let lease_seconds = family.dhcp.as_ref().map_or(0, |old| old.lease_seconds);
            let (first, last) = (first.trim().to_owned(), last.trim().to_owned());
            family.dhcp = Some(DhcpRange { first, last, lease_seconds });
        }
    }
    Ok(())
}

/// A bridged network has nothing that the cluster serves.
fn refuse_managed(subject: &str, settings: &Settings) -> Result<(), Failure> {
    let Settings { domain, subnet, gateway, dhcp, subnet6, gateway6, dhcp6, lease_time, .. } = settings;
    let some = [domain, subnet, gateway, dhcp, subnet6, gateway6, dhcp6].into_iter().any(Option::is_some);
    if some || lease_time.is_some() || !settings.name_servers.is_empty() || !settings.ntp_servers.is_empty() {
        let detail =
            "a bridged network has a description, an MTU and a device, and nothing that the cluster serves";
        return Err(Failure::usage(subject, detail));
    }
    Ok(())
}

/// What the hosts see of a network, or why nobody can say.
pub(super) async fn state(
    cx: &mut Context<'_>,
    network: &Network,
) -> Result<Result<NetworkState, tonic::Status>, Failure> {
    let session = cx.session()?;
    let request = session.ask(GetNetworkStateRequest { name: network.vni.to_string() });
    Ok(session.networks().get_network_state(request).await.map(tonic::Response::into_inner))
}

async fn info(cx: &mut Context<'_>, network: &str, only_state: bool) -> Result<(), Failure> {
    let network = get(cx, network).await?;
    // What the store has is shown though the hosts can't be asked.
    let state = state(cx, &network).await?;
    if only_state {
        let (state, managed) = (state?, network.spec.as_ref().is_some_and(|spec| spec.managed.is_some()));
        let names = || state.hosts.iter().map(|host| host.node.clone()).collect();
        let page = |colour| show::network_state::sections(Page::new(colour), &state, managed).finish();
        return cx.reply(&state, page, names);
    }
    let session = cx.session()?;
    let list = LeaseList { network: Some(network.vni.to_string()), ..LeaseList::default() };
    let leases = listing::fetch(&list, &session).await?.leases;
    let nodes = listing::fetch(&NodeList::default(), &session).await?.nodes;
    let primary = nodes.iter().find(|node| node.primary);
    let state = state.as_ref().map_err(tonic::Status::message);
    let around = show::network::Around { leases: &leases, primary, state };
    cx.reply(
        &network,
        |colour| show::network::page(&network, &around, colour),
        || vec![network.vni.to_string()],
    )
}

async fn topology(cx: &mut Context<'_>, network: Option<&str>) -> Result<(), Failure> {
    let only = match network {
        Some(network) => Some(get(cx, network).await?.vni),
        None => None,
    };
    let session = cx.session()?;
    let fabric = session.networks().get_fabric(session.ask(GetFabricRequest { consistency: 0 })).await?;
    let leases = LeaseList { network: only.map(|vni| vni.to_string()), ..LeaseList::default() };
    let mut networks =
        listing::fetch(&NetworkList { details: true, ..NetworkList::default() }, &session).await?;
    networks.networks.retain(|network| only.is_none_or(|only| network.vni == only));
    let drawn = show::topology::Drawn {
        fabric: fabric.into_inner().fabric.unwrap_or_default(),
        nodes: listing::fetch(&NodeList::default(), &session).await?.nodes,
        networks: networks.networks.clone(),
        vms: listing::fetch(&VmList::default(), &session).await?.vms,
        leases: listing::fetch(&leases, &session).await?.leases,
        host_networks: only.is_none(),
    };
    let names = || networks.networks.iter().map(|network| network.vni.to_string()).collect();
    cx.reply(&networks, |colour| show::topology::picture(&drawn, colour), names)
}

impl Listing for NetworkList {
    type Reply = ListNetworksResponse;

    async fn page(&self, session: &Session, token: String) -> Result<ListNetworksResponse, Failure> {
        let request = ListNetworksRequest {
            name_filter: self.limit.clone().unwrap_or_default(),
            vm: self.vm.clone().unwrap_or_default(),
            details: self.details,
            page_token: token,
            ..ListNetworksRequest::default()
        };
        Ok(session.networks().list_networks(session.ask(request)).await?.into_inner())
    }

    async fn wakes(
        &self,
        session: &Session,
        revision: u64,
    ) -> Result<Option<BoxStream<'static, ()>>, Failure> {
        let name_filter = self.limit.clone().unwrap_or_default();
        let request = WatchNetworksRequest { name_filter, start_revision: revision };
        let changes = session.networks().watch_networks(request).await?.into_inner();
        Ok(Some(listing::wakes_of(changes)))
    }

    fn meta(network: &Network) -> Option<&Meta> {
        network.meta.as_ref()
    }

    fn table(networks: &[&Network], colour: bool) -> String {
        show::network::table(networks, colour)
    }
}

/// One page of leases.
pub(super) async fn leases(
    session: &Session,
    network: Option<&str>,
    page_token: String,
) -> Result<ListLeasesResponse, Failure> {
    let network = network.unwrap_or_default().to_owned();
    let request = ListLeasesRequest { network, page_token, ..ListLeasesRequest::default() };
    Ok(session.networks().list_leases(session.ask(request)).await?.into_inner())
}
