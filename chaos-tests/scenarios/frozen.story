## Daemons that stand still and go on with old timers, and hosts that stand still whole.

# A daemon stands still for {time}: nobody is fenced, no guest notices
each time: 1s | 3s | 8s | 20s
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
always: a, b, c stay; nobody was switched off
daemon of hv4 freezes
wait {time}
daemon of hv4 thaws
wait 10s
now: hv4 is trusted
finally: well

# The leader's daemon stands still for {time}: another leads, nobody is fenced
each time: 1s | 3s | 8s | 20s
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv1, c on hv2, d on hv3
always: a, b, c, d stay; nobody was switched off
daemon of the leader freezes
wait {time}
daemon of them thaws
wait 20s
finally: well

# A daemon stands still for 40 s: its host is taken for lost, and its guest runs once
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
daemon of hv4 freezes
wait 40s
daemon of hv4 thaws
within 30s: a runs
within 200s: hv4 is trusted
finally: well

# A daemon that stands still for ever, and no BMC: its guest runs on, and an administrator is told
cluster 3 coordinators 2 hypervisors
guests a on hv4, b on hv5
always: a, b stay
daemon of hv4 freezes
within 60s: hv4 is fencing; fault fence-stuck.hv4 stands
wait 60s
daemon of hv4 thaws
within 30s: hv4 is trusted
finally: well

# All daemons stand still at once, and go on
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
always: a, b, c stay; nobody was switched off
daemons of all freeze
wait 30s
daemons of all thaw
wait 30s
finally: well

# The coordinators' daemons stand still, and go on one after the other
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
always: a, b, c stay; nobody was switched off
daemons of the coordinators freeze
wait 15s
daemon of hv1 thaws
wait 5s
daemon of hv2 thaws
wait 5s
daemon of hv3 thaws
wait 20s
finally: well

# A daemon stands still while its guest is started, which goes to another host meanwhile
cluster 3 coordinators 2 hypervisors with bmcs
guests a off, b on hv5
always: b stays
admins: start a on hv4
daemon of hv4 freezes
within 60s: a runs elsewhere than hv4
daemon of hv4 thaws
for 20s: a runs
finally: well

# The leader stands still in the middle of a fence, and goes on when the host is back
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: a, b stay
bmc of hv4 is dead
cut hv4 off
when hv4 is fencing: daemon of the leader freezes
heal the network
wait 25s
now: hv4 is trusted
bmc of hv4 is repaired
daemons of all thaw
for 30s: hv4 has power; hv4 is trusted
finally: nobody was switched off

# The leader is alone in the middle of a fence, and still reaches the BMC: the host comes back to another, and keeps its power
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
bmc of hv4 is dead
cut hv4 off
when hv4 is fencing: cut the leader off
heal hv4
within 60s: hv4 is trusted
bmc of hv4 is repaired
for 60s: hv4 has power; a stays
heal the network
finally: well

# Daemons stand still in turn, again and again
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1, d on hv2
always: a, b, c, d stay; nobody was switched off
repeat 4 times:
  daemon of hv1 freezes
  wait 6s
  daemon of hv1 thaws
  daemon of hv2 freezes
  wait 6s
  daemon of hv2 thaws
  daemon of hv4 freezes
  wait 6s
  daemon of hv4 thaws
finally: well

# A host stands still whole: it is switched off, and its guests run elsewhere
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
host hv4 freezes
within 15s: a runs elsewhere than hv4
now: hv4 was switched off
host hv4 thaws
within 200s: hv4 is trusted
finally: well

# A host stands still whole for {time}: it goes on as if nothing had been
each time: 500ms | 2s
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: a, b stay; nobody was switched off
host hv4 freezes
wait {time}
host hv4 thaws
wait 10s
finally: well

# A host without a BMC stands still whole for a minute: its guest waits for it
cluster 3 coordinators 2 hypervisors
guests a on hv4, b on hv5
always: a, b stay
host hv4 freezes
wait 60s
now: hv4 is fencing
host hv4 thaws
within 30s: hv4 is trusted
finally: well

# The leader's host stands still whole: another leads, and its guests move
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv1, b on hv2, c on hv3, d on hv4
always: d stays
host the leader freezes
within 20s: somebody leads
within 30s: 4 guests run; them were switched off
host them thaws
finally: well
