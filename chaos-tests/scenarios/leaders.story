## The leader dies, is cut off or hands over at each step of a fence.

# The leader's daemon dies before a fence is begun
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
power off hv4
when hv4 is silent: kill the leader
wait 5s
start them
within 60s: a runs elsewhere than hv4
within 200s: hv4 is trusted
finally: well

# The leader hands over before a fence is begun
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
power off hv4
when hv4 is silent: leadership moves
wait 5s

within 60s: a runs elsewhere than hv4
within 200s: hv4 is trusted
finally: well

# The leader's host is cut off before a fence is begun
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
power off hv4
when hv4 is silent: cut the leader from all
wait 5s
heal the network
within 60s: a runs elsewhere than hv4
within 200s: hv4 is trusted
finally: well

# The leader's host loses its power before a fence is begun
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
power off hv4
when hv4 is silent: power off the leader
wait 5s
power on them
within 60s: a runs elsewhere than hv4
within 200s: hv4 is trusted
finally: well

# The leader's daemon dies when a fence is begun
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
power off hv4
when hv4 is fencing: kill the leader
wait 5s
start them
within 60s: a runs elsewhere than hv4
within 200s: hv4 is trusted
finally: well

# The leader hands over when a fence is begun
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
power off hv4
when hv4 is fencing: leadership moves
wait 5s

within 60s: a runs elsewhere than hv4
within 200s: hv4 is trusted
finally: well

# The leader's host is cut off when a fence is begun
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
power off hv4
when hv4 is fencing: cut the leader from all
wait 5s
heal the network
within 60s: a runs elsewhere than hv4
within 200s: hv4 is trusted
finally: well

# The leader's host loses its power when a fence is begun
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
power off hv4
when hv4 is fencing: power off the leader
wait 5s
power on them
within 60s: a runs elsewhere than hv4
within 200s: hv4 is trusted
finally: well

# The leader's daemon dies when the proof is accepted
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
power off hv4
when hv4 is fenced: kill the leader
wait 5s
start them
within 60s: a runs elsewhere than hv4
within 200s: hv4 is trusted
finally: well

# The leader hands over when the proof is accepted
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
power off hv4
when hv4 is fenced: leadership moves
wait 5s

within 60s: a runs elsewhere than hv4
within 200s: hv4 is trusted
finally: well

# The leader's host is cut off when the proof is accepted
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
power off hv4
when hv4 is fenced: cut the leader from all
wait 5s
heal the network
within 60s: a runs elsewhere than hv4
within 200s: hv4 is trusted
finally: well

# The leader's host loses its power when the proof is accepted
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
power off hv4
when hv4 is fenced: power off the leader
wait 5s
power on them
within 60s: a runs elsewhere than hv4
within 200s: hv4 is trusted
finally: well

# The leader's daemon dies when the node is back
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
power off hv4
when hv4 is returned: kill the leader
wait 5s
start them
within 60s: a runs elsewhere than hv4
within 200s: hv4 is trusted
finally: well

# The leader hands over when the node is back
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
power off hv4
when hv4 is returned: leadership moves
wait 5s

within 60s: a runs elsewhere than hv4
within 200s: hv4 is trusted
finally: well

# The leader's host is cut off when the node is back
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
power off hv4
when hv4 is returned: cut the leader from all
wait 5s
heal the network
within 60s: a runs elsewhere than hv4
within 200s: hv4 is trusted
finally: well

# The leader's host loses its power when the node is back
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
power off hv4
when hv4 is returned: power off the leader
wait 5s
power on them
within 60s: a runs elsewhere than hv4
within 200s: hv4 is trusted
finally: well

# The leader dies while the BMC is slow to answer it
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
bmc of hv4 is slow 4s
power off hv4
when hv4 is fencing: note the guests
wait 1s
kill the leader
wait 3s
start them
within 30s: a runs elsewhere than hv4
finally: well

# Every leader dies as soon as it has begun to look for a proof
cluster 5 coordinators 2 hypervisors with bmcs
guests a on hv6, b on hv7
always: b stays
bmc of hv6 is slow 2s
power off hv6
when hv6 is fencing: kill the leader
wait 8s
start them
wait 500ms
kill the leader
wait 8s
start them
within 40s: a runs elsewhere than hv6
finally: well

# Leadership moves every few seconds while a host is dead
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
power off hv4
repeat 6 times:
  wait 2s
  leadership moves
within 20s: a runs elsewhere than hv4
finally: well

# The leader dies with its host, and the next leader's daemon after it: a quorum is gone, and comes back
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
always: b stays
power off hv4
when hv4 is silent: kill the leader
wait 1s
kill the coordinators
wait 20s
for 10s: not a runs elsewhere than hv4
start the coordinators
within 60s: a runs elsewhere than hv4
finally: well

# The leader's host dies, and every leader after it hands over
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv1, b on hv2, c on hv3, d on hv4
always: d stays
power off the leader
wait 2s
leadership moves
wait 2s
leadership moves
within 20s: 4 guests run
finally: well

# Elections touch no guest
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv1
always: a, b stay; nobody was switched off
repeat 10 times:
  leadership moves
  wait 4s
finally: well

# Leaders die one after the other, and come back: no guest notices
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv1
always: a, b stay; nobody was switched off
repeat 5 times:
  kill the leader
  wait 8s
  start them
  wait 4s
finally: well
