## BMCs that are dead, slow, stuck, locked or another's, in all troubles.

# A dead host with a dead BMC: its guests stay, until the BMC is repaired
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
bmc of hv4 is dead
power off hv4
within 15s: fault fence-stuck.hv4 stands; hv4 is fencing
for 30s: a runs nowhere
bmc of hv4 is repaired
within 20s: a runs elsewhere than hv4
finally: well

# A dead host with a dead BMC: an administrator's word moves its guests
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
bmc of hv4 is dead
power off hv4
within 15s: fault fence-stuck.hv4 stands
admin: fence hv4 --confirm-off
within 10s: a runs elsewhere than hv4
finally: well

# A slow BMC is waited for
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
bmc of hv4 is slow 3s
power off hv4
within 20s: a runs elsewhere than hv4
finally: well

# A BMC that is too slow is no proof
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
bmc of hv4 is slow 9s
power off hv4
within 20s: fault fence-stuck.hv4 stands
for 20s: a runs nowhere
bmc of hv4 is slow 1s
within 20s: a runs elsewhere than hv4
finally: well

# A stuck BMC can't switch off a host that is cut off: its guests run on
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: a, b stay
bmc of hv4 is stuck
cut hv4 off
within 30s: fault fence-stuck.hv4 stands
wait 60s
heal the network
within 20s: hv4 is trusted; not fault fence-stuck.hv4 stands
finally: well

# A stuck BMC of a host without power reads it as off
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
bmc of hv4 is stuck
power off hv4
within 20s: a runs elsewhere than hv4
finally: well

# A stuck BMC is repaired while its host is cut off
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
bmc of hv4 is stuck
cut hv4 off
for 30s: a stays
bmc of hv4 is repaired
within 30s: a runs elsewhere than hv4
finally: well

# A BMC does not take the password: no proof
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
bmc of hv4 is locked
power off hv4
within 15s: fault fence-stuck.hv4 stands
for 30s: a runs nowhere
finally: well

# Another BMC has taken the place of the one that was enrolled: nobody is switched off by it
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: a, b stay; nobody was switched off
bmc of hv4 is another
cut hv4 off
within 15s: fault fence-stuck.hv4 stands
wait 30s
heal the network
finally: well

# A dead daemon and a dead BMC: the guests run on
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: a, b stay
bmc of hv4 is dead
kill hv4
wait 60s
now: hv4 is fencing
start hv4
within 20s: hv4 is trusted
finally: well

# A dead BMC is a fault before anybody needs it
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4
always: a stays; nobody was switched off
bmc of hv5 is dead
within 400s: fault bmc-unreachable.hv5 stands
bmc of hv5 is repaired
within 400s: not fault bmc-unreachable.hv5 stands
finally: well

# A locked BMC is a fault before anybody needs it
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4
always: a stays; nobody was switched off
bmc of hv5 is locked
within 400s: fault bmc-wrong.hv5 stands
finally: well

# The leader's host dies, and its BMC is dead
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv1, b on hv2, c on hv3, d on hv4
always: d stays
bmc of the leader is dead
power off the leader
within 20s: somebody leads; 3 guests run
for 20s: 3 guests run
bmc of them is repaired
within 20s: 4 guests run
finally: well

# The BMC dies between the order and the answer
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
bmc of hv4 is slow 4s
cut hv4 off
when hv4 is fencing: bmc of hv4 is dead
for 3s: a stays
wait 20s
bmc of hv4 is repaired
within 20s: a runs elsewhere than hv4
finally: well

# A BMC is taken away from a node whose fence is under way
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: a, b stay
bmc of hv4 is dead
cut hv4 off
within 15s: hv4 is fencing
admin: forget bmc hv4
bmc of hv4 is repaired
for 30s: a stays
heal the network
within 20s: hv4 is trusted
finally: well
