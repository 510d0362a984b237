//! Which command makes which call: every public method has one. The parity test holds this table against
//! the API's descriptors and against the tree of commands, so a new method without a command fails the build.

/// Path of the method, words of the command.
pub const COVERAGE: &[(&str, &str)] = &[
    ("/pvc.v1.ClusterService/GetClusterStatus", "cluster status"),
    ("/pvc.v1.ClusterService/WhoAmI", "cluster whoami"),
    ("/pvc.v1.ClusterService/SetVoter", "cluster voter add"),
    ("/pvc.v1.ClusterService/SetVoter", "cluster voter remove"),
    ("/pvc.v1.ClusterService/SetVoter", "cluster voter standby"),
    ("/pvc.v1.ClusterService/UpdateCluster", "cluster set"),
    ("/pvc.v1.ClusterService/HandOverPrimary", "node primary"),
    ("/pvc.v1.ClusterService/HandOverPrimary", "node secondary"),
    ("/pvc.v1.ClusterService/PlanBalance", "cluster balance"),
    ("/pvc.v1.ClusterService/BalanceCluster", "cluster balance"),
    ("/pvc.v1.ClusterService/ConfirmNodeOff", "node confirm-off"),
    ("/pvc.v1.ClusterService/DisarmRecovery", "cluster disarm"),
    ("/pvc.v1.ClusterService/ArmRecovery", "cluster arm"),
    ("/pvc.v1.ClusterService/ReleaseBrake", "cluster release-brake"),
    ("/pvc.v1.ClusterService/BackupCluster", "cluster backup"),
    ("/pvc.v1.ClusterService/RestoreCluster", "cluster restore"),
    ("/pvc.v1.ClusterService/TransferLeadership", "cluster leader"),
    ("/pvc.v1.ClusterService/ListFaults", "cluster fault list"),
    ("/pvc.v1.ClusterService/AckFault", "cluster fault ack"),
    ("/pvc.v1.ClusterService/ListAudit", "cluster audit"),
    ("/pvc.v1.EventService/ListEvents", "vm history"),
    ("/pvc.v1.EventService/ListEvents", "node history"),
    ("/pvc.v1.EventService/ListEvents", "network history"),
    ("/pvc.v1.EventService/ListEvents", "cluster history"),
    ("/pvc.v1.NetworkService/ListNetworks", "network list"),
    ("/pvc.v1.NetworkService/GetNetwork", "network info"),
    ("/pvc.v1.NetworkService/GetNetworkState", "network info"),
    ("/pvc.v1.NetworkService/CreateNetwork", "network add"),
    ("/pvc.v1.NetworkService/UpdateNetwork", "network modify"),
    ("/pvc.v1.NetworkService/DeleteNetwork", "network remove"),
    ("/pvc.v1.NetworkService/WatchNetworks", "network list"),
    ("/pvc.v1.NetworkService/AddReservation", "network dhcp add"),
    ("/pvc.v1.NetworkService/RemoveReservation", "network dhcp remove"),
    ("/pvc.v1.NetworkService/GetNetwork", "network dhcp list"),
    ("/pvc.v1.NetworkService/AddAclRule", "network acl add"),
    ("/pvc.v1.NetworkService/UpdateAclRule", "network acl modify"),
    ("/pvc.v1.NetworkService/RemoveAclRule", "network acl remove"),
    ("/pvc.v1.NetworkService/ReplaceAcl", "network acl load"),
    ("/pvc.v1.NetworkService/GetNetwork", "network acl list"),
    ("/pvc.v1.NetworkService/ListLeases", "network lease list"),
    ("/pvc.v1.NetworkService/DeleteLease", "network lease remove"),
    ("/pvc.v1.NetworkService/WatchLeases", "network lease list"),
    ("/pvc.v1.NetworkService/GetFabric", "network fabric info"),
    ("/pvc.v1.NetworkService/UpdateFabric", "network fabric set"),
    ("/pvc.v1.NetworkService/GetFabric", "network peer list"),
    ("/pvc.v1.NetworkService/AddPeer", "network peer add"),
    ("/pvc.v1.NetworkService/RemovePeer", "network peer remove"),
    ("/pvc.v1.NetworkService/ListNetworks", "network topology"),
    ("/pvc.v1.NodeService/ListNodes", "node list"),
    ("/pvc.v1.NodeService/GetNode", "node info"),
    ("/pvc.v1.NodeService/UpdateNode", "node update"),
    ("/pvc.v1.NodeService/FenceNode", "node fence"),
    ("/pvc.v1.NodeService/DeleteNode", "node remove"),
    ("/pvc.v1.NodeService/WatchNodes", "node list"),
    ("/pvc.v1.NodeService/SetNodeBmc", "node bmc set"),
    ("/pvc.v1.NodeService/ClearNodeBmc", "node bmc clear"),
    ("/pvc.v1.NodeService/CheckNodeBmc", "node bmc check"),
    ("/pvc.v1.NodeService/CheckNodeBmc", "node power"),
    ("/pvc.v1.NodeService/SetNodePower", "node power"),
    ("/pvc.v1.NodeService/ExplainNode", "why node"),
    ("/pvc.v1.NodeService/PlanFlush", "node flush"),
    ("/pvc.v1.NodeService/FlushNode", "node flush"),
    ("/pvc.v1.NodeService/ReadyNode", "node ready"),
    ("/pvc.v1.NodeService/TailNodeLog", "node log"),
    ("/pvc.v1.RuleService/ListRules", "affinity list"),
    ("/pvc.v1.RuleService/GetRule", "affinity get"),
    ("/pvc.v1.RuleService/CreateRule", "affinity add"),
    ("/pvc.v1.RuleService/UpdateRule", "affinity modify"),
    ("/pvc.v1.RuleService/DeleteRule", "affinity remove"),
    ("/pvc.v1.RuleService/WatchRules", "affinity list"),
    ("/pvc.v1.TaskService/ListTasks", "task list"),
    ("/pvc.v1.TaskService/GetTask", "task info"),
    ("/pvc.v1.TaskService/WatchTask", "task watch"),
    ("/pvc.v1.TaskService/CancelTask", "task cancel"),
    ("/pvc.v1.TokenService/ListTokens", "token list"),
    ("/pvc.v1.TokenService/CreateApiToken", "token create"),
    ("/pvc.v1.TokenService/CreateJoinToken", "token join"),
    ("/pvc.v1.TokenService/RevokeToken", "token revoke"),
    ("/pvc.v1.VmService/ListVms", "vm list"),
    ("/pvc.v1.VmService/GetVm", "vm info"),
    ("/pvc.v1.VmService/ExplainVm", "why vm"),
    ("/pvc.v1.VmService/WatchVms", "vm list"),
    ("/pvc.v1.VmService/CreateVm", "vm define"),
    ("/pvc.v1.VmService/UpdateVm", "vm modify"),
    ("/pvc.v1.VmService/UpdateVm", "vm meta"),
    ("/pvc.v1.VmService/UpdateVm", "vm tag add"),
    ("/pvc.v1.VmService/UpdateVm", "vm tag remove"),
    ("/pvc.v1.VmService/UpdateVm", "vm vcpu set"),
    ("/pvc.v1.VmService/UpdateVm", "vm memory set"),
    ("/pvc.v1.VmService/UpdateVm", "vm network add"),
    ("/pvc.v1.VmService/UpdateVm", "vm network modify"),
    ("/pvc.v1.VmService/UpdateVm", "vm network remove"),
    ("/pvc.v1.VmService/RenameVm", "vm rename"),
    ("/pvc.v1.VmService/DeleteVm", "vm undefine"),
    ("/pvc.v1.VmService/DeleteVm", "vm remove"),
    ("/pvc.v1.VmService/StartVm", "vm start"),
    ("/pvc.v1.VmService/ShutdownVm", "vm shutdown"),
    ("/pvc.v1.VmService/StopVm", "vm stop"),
    ("/pvc.v1.VmService/RestartVm", "vm restart"),
    ("/pvc.v1.VmService/DisableVm", "vm disable"),
    ("/pvc.v1.VmService/MigrateVm", "vm migrate"),
    ("/pvc.v1.VmService/UnmigrateVm", "vm unmigrate"),
    ("/pvc.v1.VmService/MoveVm", "vm move"),
    ("/pvc.v1.VmService/DumpVm", "vm dump"),
    ("/pvc.v1.VmService/TailVmLog", "vm log"),
    ("/pvc.v1.VmService/Console", "vm console"),
    ("/pvc.v1.VolumeService/ListVolumes", "storage volume list"),
    ("/pvc.v1.VolumeService/GetVolume", "storage volume info"),
    ("/pvc.v1.VolumeService/CreateVolume", "storage volume add"),
    ("/pvc.v1.VolumeService/CreateVolume", "storage volume clone"),
    ("/pvc.v1.VolumeService/ResizeVolume", "storage volume resize"),
    ("/pvc.v1.VolumeService/DeleteVolume", "storage volume remove"),
    ("/pvc.v1.VolumeService/CreateVolumeSnapshot", "storage volume snapshot add"),
    ("/pvc.v1.VolumeService/DeleteVolumeSnapshot", "storage volume snapshot remove"),
    ("/pvc.v1.VolumeService/WatchVolumes", "storage volume list"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost_reflect::DescriptorPool;

    use super::COVERAGE;

    #[test]
    fn every_public_method_has_a_command() {
        let pool = DescriptorPool::decode(pvc_proto::DESCRIPTORS).expect("the descriptors are sound");
        let public: BTreeSet<String> = pool
            .services()
            .filter(|service| service.package_name() == "pvc.v1")
            .flat_map(|service| {
                let service_name = service.full_name().to_owned();
                let path = move |method: prost_reflect::MethodDescriptor| {
                    format!("/{service_name}/{}", method.name())
                };
                service.methods().map(path).collect::<Vec<_>>()
            })
            .collect();
        let covered: BTreeSet<String> = COVERAGE.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(public, covered);
    }

    #[test]
    fn every_command_of_the_table_exists() {
        let tree = crate::command();
        for (path, words) in COVERAGE {
            let mut at = &tree;
            for word in words.split(' ') {
                at = at.find_subcommand(word).unwrap_or_else(|| panic!("{path}: there is no `pvc {words}`"));
            }
            assert!(at.get_subcommands().next().is_none(), "`pvc {words}` is a command, not a group");
        }
    }
}
