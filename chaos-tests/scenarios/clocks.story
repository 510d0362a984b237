## Wall clocks that are wrong, and jump: no decision about safety rests on them.

# Clocks are an hour wrong, and a host dies
cluster 3 coordinators 2 hypervisors with bmcs, wrong clocks
guests a on hv4, b on hv5
always: b stays
power off hv4
within 10s: a runs elsewhere than hv4
finally: well

# The leader's clock jumps ahead: nobody is fenced
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv1
always: a, b stay; nobody was switched off
clock of the leader jumps 5min ahead
wait 20s
finally: well

# The leader's clock jumps back: nobody is fenced
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv1
always: a, b stay; nobody was switched off
clock of the leader jumps 5min back
wait 20s
finally: well

# The leader's clock jumps back while a host is being fenced
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
bmc of hv4 is slow 3s
power off hv4
when hv4 is fencing: clock of the leader jumps 5min back
within 20s: a runs elsewhere than hv4
within 150s: hv4 is trusted
finally: well

# All clocks jump to and fro, and a host dies
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
repeat 3 times:
  clock of all jumps 2min ahead
  wait 2s
  clock of all jumps 2min back
  wait 2s
power off hv4
within 10s: a runs elsewhere than hv4
finally: well

# The clock of a node that is back is wrong
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
power off hv4
within 40s: hv4 is returned
clock of hv4 jumps 8min back
within 100s: hv4 is trusted
finally: well

# Leaders with different clocks follow each other through a fence
cluster 3 coordinators 2 hypervisors with bmcs, wrong clocks
guests a on hv4, b on hv5
always: b stays
power off hv4
when hv4 is silent: leadership moves
wait 4s
leadership moves
within 30s: a runs elsewhere than hv4
within 150s: hv4 is trusted
finally: well
