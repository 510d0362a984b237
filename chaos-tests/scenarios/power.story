## Hosts lose their power.

# A host loses its power: its guests run elsewhere soon
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv4, c on hv1
always: c stays
power off hv4
within 10s: a runs elsewhere than hv4; b runs elsewhere than hv4
within 30s: hv4 is fenced
finally: well

# The leader's host loses its power: its guests run elsewhere soon
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
guests c on hv1, d on hv2, e on hv3
always: a, b stay
power off the leader
within 15s: somebody leads; 5 guests run
within 15s: c, d, e run
finally: well

# A coordinator that does not lead loses its power
cluster 3 coordinators 1 hypervisors with bmcs
guests a on hv4
guests c on hv1, d on hv2, e on hv3
always: a stays
power off hv2
within 15s: d runs elsewhere than hv2; c, e run
finally: well

# A host loses its power and has it again at once: its guests come back, there or elsewhere
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv4, c on hv5
always: c stays
power off hv4
wait 500ms
power on hv4
within 30s: a, b run
finally: well

# A host loses its power and has it again while it is being fenced
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4
bmc of hv4 is slow 4s
power off hv4
when hv4 is fencing: power on hv4
within 30s: a runs
finally: well

# A host without guests loses its power: nobody moves
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv5, b on hv1
always: a, b stay
power off hv4
within 10s: hv4 is fenced
wait 20s
finally: well

# A host loses its power twice
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
repeat 2 times:
  power off the host of a
  within 15s: a runs elsewhere than them
  wait 20s
  power on them
  within 150s: them are trusted
finally: well

# Without BMCs a dead host keeps its guests: they are unknown, and stay put
cluster 3 coordinators 2 hypervisors
guests a on hv4, b on hv5
always: b stays
power off hv4
within 10s: hv4 is fencing; a shows "unknown"
within 10s: fault fence-stuck.hv4 stands
for 60s: a runs nowhere
finally: well

# Without BMCs the word of an administrator moves the guests of a dead host
cluster 3 coordinators 2 hypervisors
guests a on hv4, b on hv5
always: b stays
power off hv4
within 10s: hv4 is fencing
admin: fence hv4 --confirm-off
within 10s: a runs elsewhere than hv4
now: hv4 is fenced
finally: well

# A host that is fenced is given power again, and comes back empty
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4
power off hv4
within 10s: a runs elsewhere than hv4
note the guests
always: a stays
within 40s: hv4 has power
within 60s: hv4 is returned
within 100s: hv4 is trusted
finally: well

# Guests that are off stay off when their host dies
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv4
admin: shutdown b
within 15s: b runs nowhere
power off hv4
within 10s: a runs elsewhere than hv4
for 20s: b runs nowhere
admin: start b
within 10s: b runs elsewhere than hv4
finally: well

# All hosts but the coordinators die at once: the brake holds, but the BMCs read off
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
always: c stays
power off the hypervisors
within 10s: the brake holds
within 30s: a, b run
now: nobody was switched off
finally: well
