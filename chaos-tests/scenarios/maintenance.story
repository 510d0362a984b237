## Hosts that take no new guests, and hosts that are worked on, in times of trouble.

# A host that takes no new guests gets none of a dead host
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
admin: unschedulable hv5
admin: unschedulable hv1
admin: unschedulable hv2
always: b stays
power off hv4
within 10s: a runs on hv3
finally: well

# No host takes new guests: the dead host's wait, and say why
cluster 1 coordinators 2 hypervisors with bmcs
guests a on hv2, b on hv3
always: b stays
admin: unschedulable hv1
admin: unschedulable hv3
bmc of hv2 is slow 1s
power off hv2
within 15s: a waits with "not schedulable"
admin: schedulable hv3
within 10s: a runs on hv3
finally: well

# A host that takes no new guests dies: its own are recovered
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
admin: unschedulable hv4
power off hv4
within 10s: a runs elsewhere than hv4
finally: well

# A daemon is upgraded while another host dies
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
power off hv4
restart hv5
within 15s: a runs elsewhere than hv4
finally: well

# The leader's daemon is upgraded while a host dies
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
power off hv4
when hv4 is silent: restart the leader
within 20s: a runs elsewhere than hv4
finally: well

# The whole cluster is upgraded, one host after the other, and one of them dies meanwhile
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
restart hv1
wait 2s
power off hv4
restart hv2
wait 2s
restart hv3
wait 2s
restart hv5
within 20s: a runs elsewhere than hv4
finally: well

# An empty host is switched off on purpose: nobody else is touched
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv5
always: a stays
admin: unschedulable hv4
power off hv4
wait 60s
power on hv4
within 200s: hv4 is trusted
admin: schedulable hv4
finally: well

# Recovery is disarmed for work on the network, and armed when it is done
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
always: a, b, c stay; nobody was switched off
admin: disarm the switch is replaced
cut hv4, hv5 off
wait 5min
heal the network
wait 10s
admin: arm
wait 20s
finally: well
