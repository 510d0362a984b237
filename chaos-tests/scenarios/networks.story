## Networks that are lost one by one and together: the cluster's, the BMCs', the storage's, and the way of migrations.

# The network of the BMCs is lost: all runs on, and a fault tells of it
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: a, b stay; nobody was switched off
bmc network of all is cut
within 15min: fault bmc-unreachable.hv4 stands
bmc network of all is joined
within 15min: not fault bmc-unreachable.hv4 stands
finally: well

# The cluster's network and that of the BMCs are lost at one host: it can't be fenced, and its guest runs on there
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: a, b stay; nobody was switched off
cut hv4 off
bmc network of hv4 is cut
within 20s: hv4 is fencing; fault fence-stuck.hv4 stands
wait 60s
heal the network
within 30s: hv4 is trusted
finally: well

# The cluster's network and that of the BMCs are lost at one host, and the BMC is reached first again
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
cut hv4 off
bmc network of hv4 is cut
within 20s: hv4 is fencing
wait 30s
bmc network of hv4 is joined
within 20s: a runs elsewhere than hv4
finally: well

# The leader alone reaches no BMC, and a host dies
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
bmc network of the leader is cut
power off hv4
for 20s: a runs nowhere
within 10s: fault fence-stuck.hv4 stands
leadership moves
within 30s: a runs elsewhere than hv4
finally: well

# No coordinator reaches the BMCs, and a host dies: its guest runs elsewhere as soon as one does
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
bmc network of the coordinators is cut
power off hv4
for 30s: a runs nowhere
bmc network of hv1, hv2, hv3 is joined
within 30s: a runs elsewhere than hv4
finally: well

# The storage's network is lost at one host: its guest stays, new ones don't start there, and say why
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c off
always: a, b stay; nobody was switched off
wait 5s
storage of hv4 is cut
admins: start c on hv4
within 20s: c shows "network does not answer"
storage of hv4 is joined
within 90s: c runs on hv4
finally: well

# The storage's network is lost at the target of a migration: the guest runs on where it is
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: a, b stay
storage of hv5 is cut
admin: migrate a to hv5
within 90s: not a migrates
finally: a runs on hv4

# The storage's network is lost at the host that recovers: another one has to
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
storage of hv1, hv2, hv3, hv5 is cut
power off hv4
within 20s: hv4 is fenced
for 10s: a runs nowhere
storage of hv1, hv2, hv3, hv5 is joined
within 120s: a runs elsewhere than hv4
finally: well

# The cluster's and the storage's networks are lost at one host
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
cut hv4 off
storage of hv4 is cut
within 15s: a runs elsewhere than hv4
finally: well

# The storage's network and that of the BMCs are lost at one host: nothing moves
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: a, b stay; nobody was switched off
storage of hv4 is cut
bmc network of hv4 is cut
wait 5min
finally: well

# All networks of one host are lost, and all come back
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: a, b stay; nobody was switched off
cut hv4 off
storage of hv4 is cut
bmc network of hv4 is cut
wait 60s
now: hv4 is fencing
heal the network
storage of hv4 is joined
bmc network of hv4 is joined
within 60s: hv4 is trusted
finally: well

# The way of migrations is lost while a host is emptied
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
path hv4 hv1 is cut
path hv4 hv2 is cut
path hv4 hv3 is cut
path hv4 hv5 is cut
admin: flush hv4
wait 45s
now: a runs on hv4; the flush of hv4 is under way
path hv4 hv1 is joined
path hv4 hv2 is joined
path hv4 hv3 is joined
path hv4 hv5 is joined
within 200s: the flush of hv4 is done; hv4 is empty
now: a was started once
finally: well

# The way of migrations is lost, and the source's host loses all others too
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
admin: migrate a to hv5
when a is transferred: path hv4 hv5 is cut
cut hv4 off
within 60s: a runs; not a migrates
finally: well

# The leader's host loses the cluster's network, and reaches the BMCs still
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: a, b stay
cut the leader off
within 15s: somebody leads
within 30s: them were switched off
for 30s: not hv4 was switched off; not hv5 was switched off
finally: well

# All coordinators lose the cluster's network, and each reaches the BMCs still: nobody is switched off
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
always: a, b, c stay; nobody was switched off
cut hv1, hv2, hv3 off
cut hv1 from hv2, hv3
cut hv2 from hv3
wait 60s
finally: well
