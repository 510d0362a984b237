//! `NetworkService`.

use pvc_model::command::NetworkCommand;
use pvc_model::network::Network;
use pvc_model::network::acl::{Acl, AclRule, Matches};
use pvc_model::network::check_acl::check_acl;
use pvc_model::network::lease::Lease;
use pvc_model::{Command, Name, Rejection, World};
use pvc_proto::convert::{
    At, acl, acl_rule, fabric_view, lease_view, network_spec, network_view, optional_addresses, peer,
    reservation, vni,
};
use pvc_proto::v1;
use pvc_proto::v1::network_service_server::NetworkService;
use tonic::{Request, Response, Status};

use super::answers::Answers;
use super::caller::Caller;
use super::listing::{Page, name_filter};
use super::network_state::state;
use super::network_views::{brief, lease_message, matches, network_message, touched};
use super::shared::{Shared, name, optional_name, refuse, reply_name};
use super::watching::Watch;
use crate::core::Committed;

/// Serves client networks, what is lent in them, and what carries them.
pub struct Networks(pub Shared);

impl Networks {
    async fn submit(&self, caller: &Caller, command: NetworkCommand, id: &str) -> Result<Committed, Status> {
        self.0.submit(caller, Command::Network(Box::new(command)), id).await
    }

    /// Answers with the network as it is now.
    async fn change(
        &self,
        caller: &Caller,
        command: NetworkCommand,
        id: &str,
    ) -> Result<Response<v1::Network>, Status> {
        let committed = self.submit(caller, command, id).await?;
        let name = reply_name(&committed, pvc_model::change::Collection::Networks)?;
        let network = committed.world.network(name).map_err(refuse)?;
        Ok(Response::new(network_view(&committed.world, network)))
    }

    /// Refuses people's own statements that the packet filter does not take. Typed rules are ones that it takes.
    async fn try_rules(&self, network: &Name, rules: &[AclRule]) -> Result<(), Status> {
        let raw = |rule: &&AclRule| matches!(rule.matches, Matches::Raw(_));
        let acl = Acl { rules: rules.iter().filter(raw).cloned().collect() };
        if acl.rules.is_empty() {
            return Ok(());
        }
        let world = self.0.core.world();
        let network = world.network(network).map_err(refuse)?;
        let subject = network.subject();
        // What could lead out of a chain is asked of nobody.
        check_acl(&subject, &acl).map_err(refuse)?;
        match self.0.core.rule_check().refused(network.vni, &acl).await {
            None => Ok(()),
            Some((rule, said)) => {
                let detail = format!("rule {rule}: nft does not take it: {said}");
                let help = "`nft -c -f FILE` tries rules on any host; nft(8) has the language";
                Err(refuse(Rejection::invalid("acl-refused", subject, detail).help(help)))
            }
        }
    }

    async fn change_fabric(
        &self,
        caller: &Caller,
        command: NetworkCommand,
        id: &str,
    ) -> Result<Response<v1::FabricInfo>, Status> {
        let committed = self.submit(caller, command, id).await?;
        Ok(Response::new(fabric_view(&committed.world)))
    }
}

/// A field of a request that must be there, converted. `subject` is what it is about.
fn part<W, T>(
    subject: String,
    field: &str,
    wire: Option<&W>,
    convert: impl FnOnce(&At<'_>, &W) -> Result<T, Rejection>,
) -> Result<T, Status> {
    let root = At::new(&subject);
    let at = root.field(field);
    at.present(wire).and_then(|wire| convert(&at, wire)).map_err(refuse)
}

fn named(text: &str) -> Result<Name, Status> {
    name("network", "name", text)
}

#[tonic::async_trait]
impl NetworkService for Networks {
    async fn list_networks(
        &self,
        request: Request<v1::ListNetworksRequest>,
    ) -> Result<Response<v1::ListNetworksResponse>, Status> {
        let request = request.into_inner();
        let page = Page::parse(request.page_size, &request.page_token)?;
        let filter = name_filter(&request.name_filter)?;
        let vm = optional_name("vm", "vm", &request.vm)?;
        let after = page.after_name()?;
        let world = self.0.page_world(request.consistency, page.revision).await?;
        let vm = vm.map(|vm| world.vm(&vm).cloned()).transpose().map_err(refuse)?;
        let matching = world.networks.values().filter(|network| {
            after.as_ref().is_none_or(|after| network.meta.name > *after)
                && matches(filter.as_ref(), network)
                && vm.as_ref().is_none_or(|vm| {
                    vm.spec.nics.iter().any(|nic| nic.attachment.network() == Some(network.vni))
                })
        });
        let (found, next_page_token) = page.cut(matching, world.revision, |n| n.meta.name.to_string());
        let view = if request.details { network_view } else { brief };
        let networks = found.into_iter().map(|network| view(&world, network)).collect();
        Ok(Response::new(v1::ListNetworksResponse { networks, next_page_token, revision: world.revision }))
    }

    async fn get_network(
        &self,
        request: Request<v1::GetNetworkRequest>,
    ) -> Result<Response<v1::Network>, Status> {
        let request = request.into_inner();
        let network = named(&request.name)?;
        let world = self.0.world(request.consistency).await?;
        let network = world.network(&network).map_err(refuse)?;
        Ok(Response::new(network_view(&world, network)))
    }

    async fn get_network_state(
        &self,
        request: Request<v1::GetNetworkStateRequest>,
    ) -> Result<Response<v1::NetworkState>, Status> {
        let network = named(&request.into_inner().name)?;
        Ok(Response::new(state(&self.0, &network).await?))
    }

    async fn create_network(
        &self,
        request: Request<v1::CreateNetworkRequest>,
    ) -> Result<Response<v1::Network>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let subject = format!("network/{}", request.vni);
        let number = vni(&At::new(&subject).field("vni"), request.vni).map_err(refuse)?;
        let spec = part(subject, "spec", request.spec.as_ref(), network_spec)?;
        let command = NetworkCommand::CreateNetwork { vni: number, spec: Box::new(spec) };
        self.change(&caller, command, &request.request_id).await
    }

    async fn update_network(
        &self,
        request: Request<v1::UpdateNetworkRequest>,
    ) -> Result<Response<v1::Network>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let subject = format!("network/{}", request.name);
        let command = NetworkCommand::UpdateNetwork {
            name: named(&request.name)?,
            spec: Box::new(part(subject, "spec", request.spec.as_ref(), network_spec)?),
            expected_revision: request.expected_revision,
        };
        self.change(&caller, command, &request.request_id).await
    }

    async fn delete_network(
        &self,
        request: Request<v1::DeleteNetworkRequest>,
    ) -> Result<Response<v1::DeleteNetworkResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let command = NetworkCommand::DeleteNetwork {
            name: named(&request.name)?,
            expected_revision: request.expected_revision,
        };
        self.submit(&caller, command, &request.request_id).await?;
        Ok(Response::new(v1::DeleteNetworkResponse {}))
    }

    type WatchNetworksStream = Answers<v1::NetworkChange>;

    async fn watch_networks(
        &self,
        request: Request<v1::WatchNetworksRequest>,
    ) -> Result<Response<Self::WatchNetworksStream>, Status> {
        let request = request.into_inner();
        let filter = name_filter(&request.name_filter)?;
        let watch = Watch {
            matches: Box::new(move |network: &Network| matches(filter.as_ref(), network)),
            message: network_message,
            touched,
        };
        Ok(Response::new(watch.run(&self.0, request.start_revision)))
    }

    async fn add_reservation(
        &self,
        request: Request<v1::AddReservationRequest>,
    ) -> Result<Response<v1::Network>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let subject = format!("network/{}", request.network);
        let command = NetworkCommand::AddReservation {
            network: named(&request.network)?,
            reservation: part(subject, "reservation", request.reservation.as_ref(), reservation)?,
            expected_revision: request.expected_revision,
        };
        self.change(&caller, command, &request.request_id).await
    }

    async fn remove_reservation(
        &self,
        request: Request<v1::RemoveReservationRequest>,
    ) -> Result<Response<v1::Network>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let command = NetworkCommand::RemoveReservation {
            network: named(&request.network)?,
            hostname: name("network", "hostname", &request.hostname)?,
            expected_revision: request.expected_revision,
        };
        self.change(&caller, command, &request.request_id).await
    }

    async fn add_acl_rule(
        &self,
        request: Request<v1::AddAclRuleRequest>,
    ) -> Result<Response<v1::Network>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let subject = format!("network/{}", request.network);
        let network = named(&request.network)?;
        let rule = Box::new(part(subject, "rule", request.rule.as_ref(), acl_rule)?);
        self.try_rules(&network, std::slice::from_ref(&rule)).await?;
        let command =
            NetworkCommand::AddAclRule { network, rule, expected_revision: request.expected_revision };
        self.change(&caller, command, &request.request_id).await
    }

    async fn update_acl_rule(
        &self,
        request: Request<v1::UpdateAclRuleRequest>,
    ) -> Result<Response<v1::Network>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let subject = format!("network/{}", request.network);
        let network = named(&request.network)?;
        let rule = Box::new(part(subject, "rule", request.rule.as_ref(), acl_rule)?);
        self.try_rules(&network, std::slice::from_ref(&rule)).await?;
        let command =
            NetworkCommand::UpdateAclRule { network, rule, expected_revision: request.expected_revision };
        self.change(&caller, command, &request.request_id).await
    }

    async fn remove_acl_rule(
        &self,
        request: Request<v1::RemoveAclRuleRequest>,
    ) -> Result<Response<v1::Network>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let command = NetworkCommand::RemoveAclRule {
            network: named(&request.network)?,
            rule: name("network", "rule", &request.rule)?,
            expected_revision: request.expected_revision,
        };
        self.change(&caller, command, &request.request_id).await
    }

    async fn replace_acl(
        &self,
        request: Request<v1::ReplaceAclRequest>,
    ) -> Result<Response<v1::Network>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let subject = format!("network/{}", request.network);
        let network = named(&request.network)?;
        let acl = acl(&At::new(&subject), "rules", &request.rules).map_err(refuse)?;
        self.try_rules(&network, &acl.rules).await?;
        let command =
            NetworkCommand::ReplaceAcl { network, acl, expected_revision: request.expected_revision };
        self.change(&caller, command, &request.request_id).await
    }

    async fn list_leases(
        &self,
        request: Request<v1::ListLeasesRequest>,
    ) -> Result<Response<v1::ListLeasesResponse>, Status> {
        let request = request.into_inner();
        let page = Page::parse(request.page_size, &request.page_token)?;
        let network = optional_name("network", "network", &request.network)?;
        let after = page.after_name()?;
        let world = self.0.page_world(request.consistency, page.revision).await?;
        let network = network.map(|name| world.network(&name).map(|network| network.vni));
        let leases: Box<dyn Iterator<Item = _> + Send> = match network.transpose().map_err(refuse)? {
            Some(vni) => Box::new(world.leases_of(vni)),
            None => Box::new(world.leases.values()),
        };
        let matching = leases.filter(|lease| after.as_ref().is_none_or(|after| lease.meta.name > *after));
        let (found, next_page_token) = page.cut(matching, world.revision, |l| l.meta.name.to_string());
        let leases = found.into_iter().map(|lease| lease_view(&world, lease)).collect();
        Ok(Response::new(v1::ListLeasesResponse { leases, next_page_token, revision: world.revision }))
    }

    async fn delete_lease(
        &self,
        request: Request<v1::DeleteLeaseRequest>,
    ) -> Result<Response<v1::DeleteLeaseResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let command = NetworkCommand::DeleteLease { name: name("lease", "name", &request.name)? };
        self.submit(&caller, command, &request.request_id).await?;
        Ok(Response::new(v1::DeleteLeaseResponse {}))
    }

    type WatchLeasesStream = Answers<v1::LeaseChange>;

    async fn watch_leases(
        &self,
        request: Request<v1::WatchLeasesRequest>,
    ) -> Result<Response<Self::WatchLeasesStream>, Status> {
        let request = request.into_inner();
        let network = optional_name("network", "network", &request.network)?;
        let world: World = self.0.world(0).await?;
        let network = network.map(|name| world.network(&name).map(|network| network.vni));
        let network = network.transpose().map_err(refuse)?;
        let watch = Watch {
            matches: Box::new(move |lease: &Lease| network.is_none_or(|network| lease.network == network)),
            message: lease_message,
            touched: |_, _| Vec::new(),
        };
        Ok(Response::new(watch.run(&self.0, request.start_revision)))
    }

    async fn get_fabric(
        &self,
        request: Request<v1::GetFabricRequest>,
    ) -> Result<Response<v1::FabricInfo>, Status> {
        let world = self.0.world(request.into_inner().consistency).await?;
        Ok(Response::new(fabric_view(&world)))
    }

    async fn update_fabric(
        &self,
        request: Request<v1::UpdateFabricRequest>,
    ) -> Result<Response<v1::FabricInfo>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let at = At::new("cluster");
        let list = |field, wire: &Option<_>| optional_addresses(&at, field, wire.as_ref()).map_err(refuse);
        let command = NetworkCommand::UpdateFabric {
            asn: request.asn,
            zone_secondaries: list("zone_secondaries", &request.zone_secondaries)?,
            forwarders: list("forwarders", &request.forwarders)?,
            expected_revision: request.expected_revision,
        };
        self.change_fabric(&caller, command, &request.request_id).await
    }

    async fn add_peer(
        &self,
        request: Request<v1::AddPeerRequest>,
    ) -> Result<Response<v1::FabricInfo>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let peer = part("cluster".to_owned(), "peer", request.peer.as_ref(), peer)?;
        self.change_fabric(&caller, NetworkCommand::AddPeer { peer }, &request.request_id).await
    }

    async fn remove_peer(
        &self,
        request: Request<v1::RemovePeerRequest>,
    ) -> Result<Response<v1::FabricInfo>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let command = NetworkCommand::RemovePeer { name: name("peer", "name", &request.name)? };
        self.change_fabric(&caller, command, &request.request_id).await
    }
}
