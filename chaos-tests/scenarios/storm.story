## Many fall silent together: the storm brake, and what releases it.

# The brake holds, and is over when the network is back
cluster 3 coordinators 3 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv6
always: a, b, c stay; nobody was switched off
cut hv4, hv5, hv6 from the coordinators
within 10s: the brake holds
wait 120s
now: the brake holds
heal the network
within 15s: not the brake holds
finally: well

# Only those whose BMC reads off are recovered while the brake holds
cluster 3 coordinators 3 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv6
always: b, c stay; nobody was switched off
power off hv4
cut hv5, hv6 from the coordinators
within 10s: the brake holds
within 30s: a runs elsewhere than hv4
wait 60s
finally: well

# A released brake: all that are silent are switched off and recovered
cluster 3 coordinators 3 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv6
cut hv4, hv5, hv6 off
within 10s: the brake holds
admin: release-brake
within 30s: a runs elsewhere than hv4, hv5, hv6; b runs elsewhere than hv4, hv5, hv6
now: hv4, hv5, hv6 were switched off; c runs elsewhere than hv4, hv5, hv6
finally: well

# A released brake holds again for another host
cluster 3 coordinators 4 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv6, d on hv7
always: c, d stay
cut hv4, hv5, hv6 from the coordinators
bmc of hv4, hv5, hv6 is dead
within 10s: the brake holds
admin: release-brake
now: not the brake holds
cut hv7 from the coordinators
within 10s: the brake holds
now: not hv7 was switched off
heal the network
finally: well

# The brake outlives its leader
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
always: a, b, c stay; nobody was switched off
cut hv4, hv5 from the coordinators
within 10s: the brake holds
kill the leader
wait 10s
start them
wait 30s
now: the brake holds
heal the network
within 15s: not the brake holds
finally: well

# Leadership moves again and again in a storm: nobody is switched off
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
always: a, b, c stay; nobody was switched off
cut hv4, hv5 from the coordinators
within 10s: the brake holds
repeat 6 times:
  leadership moves
  wait 10s
heal the network
finally: well

# Nobody can release a brake that does not hold
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4
always: a stays
admin is refused "no storm brake holds": release-brake
finally: well

# One of two that fell silent together is heard again: the other is alone, and is fenced
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
cut hv4, hv5 from the coordinators
within 10s: the brake holds
for 20s: a stays
heal the network
cut hv4 off
within 60s: hv5 is trusted; not the brake holds
within 30s: a runs elsewhere than hv4
finally: well

# A storm without BMCs: nothing moves
cluster 3 coordinators 2 hypervisors
guests a on hv4, b on hv5
always: a, b stay
cut hv4, hv5 from the coordinators
within 10s: the brake holds
wait 60s
heal the network
finally: well

# A minority of the coordinators is cut off with a hypervisor: the brake holds
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1, d on hv2
always: a, b, c, d stay; nobody was switched off
cut hv3, hv4 from all
within 30s: the brake holds
wait 30s
heal the network
within 20s: not the brake holds
finally: well

# The network comes back for one of two hosts first, and then for the other: nobody is switched off
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: a, b stay; nobody was switched off
cut hv4, hv5 off
within 10s: the brake holds; hv4 is fencing; hv5 is fencing
wait 20s
heal hv5
within 5s: hv5 is heard
wait 3s
heal hv4
within 30s: hv4 is trusted; hv5 is trusted; not the brake holds
finally: well

# The network comes back for one of two hosts, and the other is dead: its guest runs elsewhere
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
cut hv4, hv5 off
within 10s: the brake holds; hv4 is fencing; hv5 is fencing
wait 10s
heal hv5
within 60s: a runs elsewhere than hv4
finally: well
