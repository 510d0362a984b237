## Hosts are emptied and made ready again, and something goes wrong meanwhile.

# A host is emptied, and its guests come home
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv4, c on hv5
always: c stays
admin: flush hv4
within 60s: the flush of hv4 is done; hv4 is empty; hv4 is maintained
now: a, b run; a was started once; b was started once
admin: ready hv4 --return
within 60s: a runs on hv4; b runs on hv4; the return to hv4 is done
now: a was started once; not hv4 is maintained
finally: well

# A host that is emptied takes no guest of a dead one
cluster 1 coordinators 2 hypervisors with bmcs
guests a on hv2, b on hv3
admin: flush hv2
within 60s: the flush of hv2 is done
power off hv3
within 15s: b runs on hv1
for 20s: hv2 is empty
finally: well

# A host that is worked on dies: nobody fences it, nobody misses it
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays; nobody was switched off
admin: flush hv4
within 60s: the flush of hv4 is done
power off hv4
for 60s: hv4 is trusted; a runs elsewhere than hv4
power on hv4
within 30s: hv4 is heard
admin: ready hv4 --return
within 60s: a runs on hv4
finally: well

# A host that is worked on is switched off and on again and again
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays; nobody was switched off
admin: flush hv4
within 60s: the flush of hv4 is done
note the guests
always: a stays
repeat 4 times:
  power off hv4
  wait 10s
  power on hv4
  wait 10s
finally: well

# A host is cut off while it is emptied: in maintenance nobody fences it, its guests run on there
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv4, c on hv4, d on hv5
always: d stays; nobody was switched off
admin: flush hv4
when the flush of hv4 is under way: cut hv4 off
within 10s: hv4 is silent
for 40s: hv4 is trusted
heal the network
within 120s: the flush of hv4 is done; hv4 is empty
finally: well

# The last host that takes guests is not emptied
cluster 1 coordinators 1 hypervisors with bmcs
guests a on hv2
always: a stays
admin: unschedulable hv1
admin is refused "last": flush hv2
finally: well

# A dead host is not emptied
cluster 3 coordinators 2 hypervisors
guests a on hv4
power off hv4
within 10s: hv4 is silent
admin is refused "not reachable": flush hv4
admin: fence hv4 --confirm-off
within 10s: a runs elsewhere than hv4
finally: well

# What fits nowhere else is named, and nothing is moved
cluster 1 coordinators 2 hypervisors with bmcs
guests a on hv1 12000 MiB, b on hv2 12000 MiB, c on hv3 12000 MiB, d on hv3
always: a, b, c, d stay
admin is refused "vm/c": flush hv3
for 20s: not hv3 is maintained
finally: well

# What fits nowhere else is shut down, if an administrator says so, and runs again when its host is ready
cluster 1 coordinators 2 hypervisors with bmcs
guests a on hv1 12000 MiB, b on hv2 12000 MiB, c on hv3 12000 MiB, d on hv3
always: a, b stay
admin: flush hv3 --stop-unmovable
within 60s: the flush of hv3 is done; c runs nowhere; hv3 is empty
now: d runs elsewhere than hv3; d was started once
admin: ready hv3 --return
within 60s: c runs on hv3; d runs on hv3
finally: well

# Room is lost in the middle of emptying: what has no place stays, and the flush waits for it
cluster 1 coordinators 2 hypervisors with bmcs
guests a on hv3 7500 MiB, b on hv3 7500 MiB, c on hv1 7000 MiB
admin: flush hv3
when a is transferred: power off hv2
for 20s: a, b run
within 300s: the flush of hv3 is done; hv3 is empty; a, b run
finally: well

# Room is lost in the middle of emptying, for ever: the administrator calls it off
cluster 1 coordinators 2 hypervisors with bmcs
guests a on hv3 7500 MiB, b on hv3 7500 MiB, c on hv1 7000 MiB
always: c stays
bmc of hv2 is dead
admin: flush hv3
when the flush of hv3 is under way: power off hv2
within 10s: hv2 is silent
wait 60s
admin: cancel hv3
within 30s: the flush of hv3 was cancelled; not hv3 is maintained
now: c runs
finally: well

# The target of a move dies in the middle of emptying: the guest goes to another
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv1
always: b stays
admin: unschedulable hv1
admin: unschedulable hv2
admin: unschedulable hv3
admin: flush hv4
when a is transferred: power off hv5
for 10s: a runs
admin: schedulable hv1
within 150s: the flush of hv4 is done; a runs elsewhere than hv4
finally: well

# A guest that can't be moved is tried again, later and later
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
hypervisor of hv4 fails 2 migrations
admin: flush hv4
within 120s: the flush of hv4 is done; a runs elsewhere than hv4
now: a was started once
finally: well

# A host's hypervisor hangs while it is emptied
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv4
admin: flush hv4
when a migrates: hypervisor of hv4 hangs
wait 40s
hypervisor of hv4 is well
within 150s: the flush of hv4 is done; hv4 is empty
finally: well

# Two hosts are emptied at once
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
always: c stays
admins: flush hv4 | flush hv5
within 90s: the flush of hv4 is done; the flush of hv5 is done
now: hv4, hv5 are empty; a, b run
finally: well

# Every host is emptied and made ready in turn
cluster 3 coordinators 1 hypervisors with bmcs
guests a on hv1, b on hv2, c on hv3, d on hv4
always: nobody was switched off
admin: flush hv1
within 60s: the flush of hv1 is done; hv1 is empty
admin: ready hv1 --return
within 60s: the return to hv1 is done
admin: flush hv2
within 60s: the flush of hv2 is done; hv2 is empty
admin: ready hv2 --return
within 60s: the return to hv2 is done
admin: flush hv3
within 60s: the flush of hv3 is done; hv3 is empty
admin: ready hv3 --return
within 60s: the return to hv3 is done
now: a runs on hv1; b runs on hv2; c runs on hv3
now: a was started once; b was started once; c was started once
finally: well

# The leader's own host is emptied, upgraded and made ready
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv1, b on hv2, c on hv3
always: a runs; b runs; c runs; nobody was switched off
admin: flush hv1
admin: flush hv2
within 60s: the flush of hv1 is done; the flush of hv2 is done
restart hv1
wait 5s
restart hv2
wait 5s
admin: ready hv1 --return
within 60s: the return to hv1 is done
finally: well

# A host is made ready while it is emptied: that is refused, and the flush goes on
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv4
admin: flush hv4
admin is refused "under way": ready hv4
within 60s: the flush of hv4 is done
finally: well

# Guests that are off are kept elsewhere, and are started there
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4 home hv4, b on hv4
admin: shutdown a
within 15s: a runs nowhere
admin: flush hv4
within 60s: the flush of hv4 is done
admin: start a
within 10s: a runs elsewhere than hv4
finally: well

# A host that is emptied is made to disappear
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
admin: flush hv4
within 60s: the flush of hv4 is done
kill hv4
within 10s: hv4 is silent
admin: remove hv4
now: hv4 is removed
finally: a, b run
