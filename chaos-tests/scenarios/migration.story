## Hosts that die while a guest migrates: at each phase the source, the target, or both.

# The source dies while the target gets ready
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv1
always: b stays
admin: migrate a to hv5
power off hv4
within 60s: a runs elsewhere than hv4
finally: well

# The source loses its power while the target gets ready
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv1
always: b stays
admin: migrate a to hv5
when a is prepared: power off hv4
within 60s: a runs; not a migrates
finally: well

# The source is cut off while the target gets ready
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv1
always: b stays
admin: migrate a to hv5
when a is prepared: cut hv4 from the coordinators
within 60s: a runs; not a migrates
finally: well

# The target loses its power while the target gets ready
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv1
always: b stays
admin: migrate a to hv5
when a is prepared: power off hv5
within 60s: a runs; not a migrates
finally: well

# The target is cut off while the target gets ready
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv1
always: b stays
admin: migrate a to hv5
when a is prepared: cut hv5 from the coordinators
within 60s: a runs; not a migrates
finally: well

# Source and target lose their power while the target gets ready
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv1
always: b stays
admin: migrate a to hv5
when a is prepared: power off hv4, hv5
within 60s: a runs; not a migrates
finally: well

# Source and target are cut off while the target gets ready
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv1
always: b stays
admin: migrate a to hv5
when a is prepared: cut hv4, hv5 from the coordinators
wait 60s
heal the network
within 60s: a runs; not a migrates
finally: well

# The source loses its power while memory is on its way
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv1
always: b stays
admin: migrate a to hv5
when a is transferred: power off hv4
within 60s: a runs; not a migrates
finally: well

# The source is cut off while memory is on its way
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv1
always: b stays
admin: migrate a to hv5
when a is transferred: cut hv4 from the coordinators
within 60s: a runs; not a migrates
finally: well

# The target loses its power while memory is on its way
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv1
always: b stays
admin: migrate a to hv5
when a is transferred: power off hv5
within 60s: a runs; not a migrates
finally: well

# The target is cut off while memory is on its way
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv1
always: b stays
admin: migrate a to hv5
when a is transferred: cut hv5 from the coordinators
within 60s: a runs; not a migrates
finally: well

# Source and target lose their power while memory is on its way
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv1
always: b stays
admin: migrate a to hv5
when a is transferred: power off hv4, hv5
within 60s: a runs; not a migrates
finally: well

# Source and target are cut off while memory is on its way
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv1
always: b stays
admin: migrate a to hv5
when a is transferred: cut hv4, hv5 from the coordinators
wait 60s
heal the network
within 60s: a runs; not a migrates
finally: well

# The leader dies while a guest migrates
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv1
always: b stays; nobody was switched off
admin: migrate a to hv5
when a is transferred: kill the leader
wait 5s
start them
within 60s: a runs on hv4, hv5; not a migrates; a was started once
finally: well

# The source's daemon dies while a guest migrates, and is back
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv1
always: b stays; nobody was switched off
admin: migrate a to hv5
when a is transferred: kill hv4
wait 10s
start hv4
within 60s: a runs on hv4, hv5; not a migrates; a was started once
finally: well

# The target's daemon dies while a guest migrates, and is back
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv1
always: b stays; nobody was switched off
admin: migrate a to hv5
when a is transferred: kill hv5
wait 10s
start hv5
within 60s: a runs on hv4, hv5; not a migrates; a was started once
finally: well

# A migration is cancelled, and its source dies
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv1
always: b stays
admin: migrate a to hv5
when a is transferred: note the guests
admin: cancel a
power off hv4
within 60s: a runs elsewhere than hv4; not a migrates
finally: well

# The way of migrations is cut, and the source dies before that is noticed
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv1
always: b stays
admin: migrate a to hv5
when a is transferred: path hv4 hv5 is cut
wait 2s
power off hv4
within 60s: a runs elsewhere than hv4; not a migrates
finally: well

# A migration is answered with silence, and the source dies
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv1
always: b stays
hypervisor of hv4 loses 1 migrations
admin: migrate a to hv5
when a is transferred: note the guests
wait 2s
power off hv4
within 60s: a runs elsewhere than hv4; not a migrates
finally: well

# Without BMCs a guest whose source is dead stays where it may be
cluster 3 coordinators 2 hypervisors
guests a on hv4, b on hv1
always: b stays
admin: migrate a to hv5
when a is transferred: power off hv4
within 20s: hv4 is fencing
for 20s: a runs nowhere
admin: fence hv4 --confirm-off
within 60s: a runs elsewhere than hv4; not a migrates
finally: well
