## Nodes that come back: before and after the proof, with guests and without.

# It is heard again before any proof: the fence is called off, and its guest runs on
cluster 3 coordinators 2 hypervisors
guests a on hv4, b on hv5
always: a, b stay
cut hv4 off
within 10s: hv4 is fencing
heal the network
within 10s: hv4 is trusted
finally: well

# It is fenced by a word, and switched on later: it comes back empty
cluster 3 coordinators 2 hypervisors
guests a on hv4, b on hv5
always: b stays
power off hv4
within 10s: hv4 is fencing
admin: fence hv4 --confirm-off
within 10s: a runs elsewhere than hv4
note the guests
always: a stays
wait 60s
power on hv4
within 30s: hv4 is returned
within 90s: hv4 is trusted
finally: well

# A node that has returned takes no guest before it is trusted
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b off only hv4
admin: return hv4 by hand
power off hv4
within 60s: hv4 is returned
admin is refused "not ready yet": start b
wait 90s
now: hv4 is returned
admin: ready hv4
admin: start b
within 10s: b runs on hv4
finally: well

# A node that has returned falls silent again: it is fenced again
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
power off hv4
within 60s: hv4 is returned
power off hv4
within 15s: hv4 is fenced
within 60s: hv4 is returned
within 90s: hv4 is trusted
finally: well

# A node that is back is made ready at once
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4
power off hv4
within 60s: hv4 is returned
admin: ready hv4
now: hv4 is trusted
admin: migrate a to hv4
within 30s: a runs on hv4
finally: well

# A node that is fenced and not back can't be made ready
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4
bmc of hv4 is slow 4s
power off hv4
within 20s: hv4 is fenced
admin is refused "not come back empty": ready hv4
finally: well

# A guest comes home by hand when its node is back
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4 home hv4, b on hv5
always: b stays
power off hv4
within 15s: a runs elsewhere than hv4
within 150s: hv4 is trusted
admin: unmigrate a
within 30s: a runs on hv4
finally: well

# It returns and dies again and again
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
repeat 3 times:
  power off hv4
  within 15s: a runs elsewhere than hv4
  power on hv4
  within 30s: hv4 is returned
finally: well

# The host is dead for eight minutes, and comes back
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
bmc of hv4 is dead
power off hv4
within 10s: hv4 is fencing
admin: fence hv4 --confirm-off
within 10s: a runs elsewhere than hv4
wait 6min
power on hv4
within 150s: hv4 is trusted
finally: well

# A host that was switched off by its BMC in a cut comes back when the cut is healed
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
cut hv4 off
within 15s: a runs elsewhere than hv4
wait 60s
heal the network
within 150s: hv4 is trusted
finally: well

# Rolling deaths: one host after the other dies, and each time all recovers
cluster 3 coordinators 3 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv6
power off hv4
within 15s: a, b, c run
wait 150s
power off hv5
within 15s: a, b, c run
wait 150s
power off hv6
within 15s: a, b, c run
finally: well

# Rolling deaths through the coordinators
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv1, b on hv2, c on hv3, d on hv4
power off hv1
within 20s: a, b, c, d run
wait 120s
power off hv2
within 20s: a, b, c, d run
wait 120s
power off hv3
within 20s: a, b, c, d run
finally: well

# Its guests come home with it
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
admin: return hv4 and its guests
power off hv4
within 10s: a runs elsewhere than hv4
within 120s: hv4 is trusted
within 60s: a runs on hv4
finally: well
