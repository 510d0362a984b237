## Hosts that stop their own guests when they are cut off: fenced by time alone, where no BMC helps.

# A host dies, and its BMC is dead: its guests run elsewhere in twenty seconds
cluster 3 coordinators 2 hypervisors with bmcs, guards
guests a on hv4, b on hv5
always: b stays
bmc of hv4 is dead
power off hv4
within 20s: a runs elsewhere than hv4
now: hv4 is fenced
finally: well

# Hosts without BMCs: the same
cluster 3 coordinators 2 hypervisors with guards
guests a on hv4, b on hv5
always: b stays
power off hv4
for 12s: a runs nowhere
within 8s: a runs elsewhere than hv4
finally: well

# With a BMC that is well nobody waits for the guard
cluster 3 coordinators 2 hypervisors with bmcs, guards
guests a on hv4, b on hv5
always: b stays
power off hv4
within 9s: a runs elsewhere than hv4
finally: well

# A host is cut off, and its BMC is dead: its guests are stopped before they run elsewhere
cluster 3 coordinators 2 hypervisors with bmcs, guards
guests a on hv4, b on hv5
always: b stays; nobody was switched off
bmc of hv4 is dead
cut hv4 off
for 9s: a stays
within 5s: a runs nowhere
within 6s: a runs elsewhere than hv4
wait 60s
heal the network
within 20s: hv4 is returned
finally: well

# Only what hv4 sends is lost: its guests are stopped all the same
cluster 3 coordinators 2 hypervisors with guards
guests a on hv4, b on hv5
always: b stays
cut hv4 from all one way
within 20s: a runs elsewhere than hv4
finally: well

# A short cut stops nobody
cluster 3 coordinators 2 hypervisors with bmcs, guards
guests a on hv4, b on hv5
always: a, b stay
bmc of hv4 is dead
repeat 3 times:
  cut hv4 off
  wait 8s
  heal the network
  wait 3s
  now: hv4 is trusted
now: a was started once
finally: well

# A daemon is killed and back in time: nothing happens
cluster 3 coordinators 2 hypervisors with bmcs, guards
guests a on hv4, b on hv5
always: a, b stay; nobody was switched off
repeat 3 times:
  kill hv4
  wait 8s
  start hv4
  wait 5s
  now: hv4 is guarded
finally: well

# A daemon is killed for good: its guests are stopped, and run elsewhere though its host answers
cluster 3 coordinators 2 hypervisors with guards
guests a on hv4, b on hv5
always: b stays
kill hv4
for 9s: a stays
within 11s: a runs elsewhere than hv4
start hv4
within 20s: hv4 is returned
finally: well

# A daemon is restarted in order: its guests are left alone
cluster 3 coordinators 2 hypervisors with guards
guests a on hv4, b on hv5
always: a, b stay
restart hv4
within 10s: hv4 is guarded
restart all
within 20s: hv1, hv2, hv3, hv4, hv5 are guarded
finally: well

# The leader dies while it waits
cluster 3 coordinators 2 hypervisors with guards
guests a on hv4, b on hv5
always: b stays
power off hv4
wait 8s
kill the leader
for 10s: a runs nowhere
within 12s: a runs elsewhere than hv4
finally: well

# Leadership moves while a host is cut off: nobody is taken for stopped too early
cluster 3 coordinators 2 hypervisors with guards
guests a on hv4, b on hv5
always: b stays
cut hv4 off
wait 2s
leadership moves
wait 4s
leadership moves
within 25s: a runs elsewhere than hv4
finally: well

# The leader's own host dies, and no BMC is left
cluster 3 coordinators 2 hypervisors with guards
guests a on hv1, b on hv2, c on hv3, d on hv4
always: d stays
power off the leader
within 23s: 4 guests run
finally: well

# Set back while a host is cut off: it is not relied upon any more, and a person is needed
cluster 3 coordinators 2 hypervisors with guards
guests a on hv4, b on hv5
always: b stays
cut hv4 off
within 10s: hv4 is fencing
admin: isolation hv4 keep
within 10s: a runs nowhere
for 60s: a runs nowhere
within 5s: fault fence-stuck.hv4 stands
heal the network
within 20s: hv4 is trusted
finally: well; not hv4 is guarded

# Set back and forth, nobody is stopped
cluster 3 coordinators 2 hypervisors with guards
guests a on hv4, b on hv5
always: a, b stay
repeat 4 times:
  admin: isolation hv4 keep
  wait 200ms
  admin: isolation hv4 stop
  wait 700ms
admin: isolation hv4 keep
wait 5s
kill hv4
wait 25s
start hv4
finally: well

# A guard that was never armed proves nothing
cluster 3 coordinators 2 hypervisors
guests a on hv4, b on hv5
always: a, b stay
guard of hv4 is absent
admin: isolation hv4 stop
within 40s: fault guard-missing.hv4 stands
cut hv4 off
wait 60s
now: hv4 is fencing; fault fence-stuck.hv4 stands
heal the network
within 20s: hv4 is trusted
guard of hv4 is back
within 15s: hv4 is guarded; not fault guard-missing.hv4 stands
finally: well

# A guard's process dies: it is relied upon no more
cluster 3 coordinators 2 hypervisors with guards
guests a on hv4, b on hv5
always: a, b stay
guard of hv4 is absent
within 5s: not hv4 is guarded
cut hv4 off
wait 60s
now: hv4 is fencing
heal the network
within 20s: hv4 is trusted
guard of hv4 is back
within 15s: hv4 is guarded
finally: well

# A guard that is back before the lease is over strikes for the one before it
cluster 3 coordinators 2 hypervisors with guards
guests a on hv4, b on hv5
always: b stays
cut hv4 off
guard of hv4 is absent
wait 3s
guard of hv4 is back
within 20s: a runs elsewhere than hv4
finally: well

# Clocks jump: nothing goes by them
cluster 3 coordinators 2 hypervisors with guards, wrong clocks
guests a on hv4, b on hv5
always: b stays
clock of all jumps 1h ahead
wait 20s
now: a stays
cut hv4 off
clock of hv4 jumps 2h back
clock of the leader jumps 3h ahead
for 9s: a stays
within 12s: a runs elsewhere than hv4
finally: well

# A storm: whoever is cut off has stopped its guests, and they run elsewhere though the brake holds
cluster 3 coordinators 4 hypervisors with bmcs, guards
guests a on hv4, b on hv5, c on hv6, d on hv7
always: d stays; nobody was switched off
cut hv4, hv5, hv6 from the coordinators
within 10s: the brake holds
within 15s: a runs elsewhere than hv4, hv5, hv6; b runs elsewhere than hv4, hv5, hv6; c runs elsewhere than hv4, hv5, hv6
now: the brake holds
heal the network
within 20s: not the brake holds
finally: well

# All coordinators are gone for a while: all guests are stopped, and start again where they were
cluster 3 coordinators 2 hypervisors with guards
guests a on hv4, b on hv5
kill hv1, hv2, hv3
for 9s: a, b run
within 5s: a runs nowhere; b runs nowhere
wait 30s
start hv1, hv2, hv3
within 60s: a runs on hv4; b runs on hv5
finally: well

# In maintenance and disarmed nobody is fenced, however long its guests have been stopped
cluster 3 coordinators 2 hypervisors with guards
guests a on hv4, b on hv5
always: b stays
admin: disarm work
power off hv4
for 40s: a runs nowhere
admin: arm
within 10s: a runs elsewhere than hv4
finally: well

# A person has a node fenced that is heard, and there is no BMC: its guests are stopped, then run elsewhere
cluster 3 coordinators 2 hypervisors with guards
guests a on hv4, b on hv5
always: b stays
admin: fence hv4 --force
within 20s: a runs elsewhere than hv4
within 20s: hv4 is returned
finally: well

# A host that is back in the moment of its proof starts nothing by what it knew before
cluster 3 coordinators 2 hypervisors with guards
guests a on hv4, b on hv5
always: b stays
cut hv4 off
when hv4 is fenced: heal the network
within 5s: a runs elsewhere than hv4
for 30s: a runs elsewhere than hv4
finally: well

# A daemon stands still for long: its guests are stopped, and it starts none of them when it goes on
cluster 3 coordinators 2 hypervisors with guards
guests a on hv4, b on hv5
always: b stays
daemon of hv4 freezes
within 20s: a runs elsewhere than hv4
daemon of hv4 thaws
for 30s: a runs elsewhere than hv4
finally: well

# A guest is on its way to a host that is cut off from the coordinators alone
cluster 3 coordinators 2 hypervisors with guards
guests a on hv5, b on hv5
admin: migrate a to hv4
when a is transferred: cut hv4 from the coordinators
wait 40s
now: b runs on hv5; a runs
heal the network
finally: well
