## The cluster's network is cut: between some and others, one way and both.

# A host is cut off: it is switched off, and its guests run elsewhere
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv4, c on hv1
always: c stays
cut hv4 off
within 15s: a runs elsewhere than hv4; b runs elsewhere than hv4
now: hv4 was switched off
finally: well

# A host is cut off for less than the grace: nobody notices
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv1
always: a, b stay; hv4 is trusted; nobody was switched off
cut hv4 off
wait 2s
heal the network
wait 15s
finally: well

# Without BMCs a host that is cut off keeps its guests running
cluster 3 coordinators 2 hypervisors
guests a on hv4, b on hv1
always: a, b stay
cut hv4 off
within 10s: hv4 is fencing
wait 60s
heal the network
within 15s: hv4 is trusted
finally: well

# A host is heard, and hears nothing
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv1
always: b stays
cut all from hv4 one way
within 15s: a runs elsewhere than hv4
finally: well

# A host hears, and is not heard
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv1
always: b stays
cut hv4 from all one way
within 15s: a runs elsewhere than hv4
finally: well

# A host is cut from the leader alone
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv1
cut hv4 from the leader
wait 60s
finally: well

# Two of five hosts are cut off together: the brake holds, and all runs on where it is
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
always: a, b, c stay; nobody was switched off
cut hv4, hv5 from the coordinators
within 10s: the brake holds; fault storm-brake stands
wait 90s
heal the network
within 15s: not the brake holds; hv4, hv5 are trusted
finally: well

# Two of five hosts are cut off, and an administrator says that they are dead
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
always: c stays
cut hv4, hv5 from the coordinators
within 10s: the brake holds
admin: release-brake
within 20s: a runs elsewhere than hv4, hv5; b runs elsewhere than hv4, hv5
now: hv4, hv5 were switched off
finally: well

# Two of seven hosts are cut off: that is no storm
cluster 3 coordinators 4 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv6
always: c stays
cut hv4, hv5 off
within 20s: a runs elsewhere than hv4, hv5; b runs elsewhere than hv4, hv5
finally: well

# Two of five are cut off one after the other, within a minute
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
cut hv4 off
within 15s: a runs elsewhere than hv4
cut hv5 from the coordinators
wait 30s
now: not hv5 was switched off
heal the network
finally: well

# The leader's host is cut off: another leads, and the guests of the first move
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv1, b on hv4, c on hv2, d on hv3
always: b stays
cut the leader off
within 20s: somebody leads; them are fenced
within 20s: a, c, d run
finally: well

# The leader's host is cut off without BMCs: another leads, and nothing moves
cluster 3 coordinators 2 hypervisors
guests a on hv1, b on hv4, c on hv2, d on hv3
always: a, b, c, d stay
cut the leader off
wait 30s
now: somebody leads
heal the network
finally: well

# The leader is cut from the other coordinators, and not from the hypervisors
cluster 3 coordinators 2 hypervisors
guests a on hv1, b on hv4, c on hv2
always: a, b, c stay
cut the leader from the other coordinators
wait 30s
now: somebody leads
heal the network
finally: well

# The leader hears the others, and they don't hear it
cluster 3 coordinators 2 hypervisors
guests a on hv1, b on hv4, c on hv2
always: a, b, c stay
cut the leader from all one way
wait 30s
heal the network
finally: well

# The others hear the leader, and it does not hear them
cluster 3 coordinators 2 hypervisors
guests a on hv1, b on hv4, c on hv2
always: a, b, c stay
cut all from the leader one way
wait 30s
heal the network
finally: well

# All coordinators are cut from each other: nobody leads, all guests run on
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv1, b on hv4, c on hv5
always: a, b, c stay; nobody was switched off
cut the coordinators from all
wait 120s
heal the network
wait 20s
finally: well

# The hypervisors are cut from all coordinators, and heard again: nobody is switched off
cluster 3 coordinators 3 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv6
always: a, b, c stay; nobody was switched off
repeat 3 times:
  cut the hypervisors from the coordinators
  wait 20s
  heal the network
  wait 20s
finally: well

# A cut that comes and goes: no host is given up that is heard in between
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: a, b stay; nobody was switched off; hv4 is trusted
repeat 10 times:
  cut hv4 off
  wait 1s
  heal the network
  wait 1s
finally: well

# Messages are slow and get lost: nobody is fenced for that
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
always: a, b, c stay; nobody was switched off
weather lost 5% slow 10% up to 300ms
wait 120s
finally: well

# A host far away is no dead host
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: a, b stay; nobody was switched off
hv4 lags 150ms
wait 60s
finally: well

# A host is cut off, and back before its BMC has done it: the fence is called off
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: a, b stay
bmc of hv4 is dead
cut hv4 off
within 10s: hv4 is fencing
wait 3s
heal the network
within 10s: hv4 is trusted
finally: well

# The network comes back while the BMC is at it: the guest runs once, here or there
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
bmc of hv4 is slow 3s
cut hv4 off
when hv4 is fencing: heal the network
within 60s: a runs
finally: well
