## The cluster is balanced, by hand, in good times and in bad.

# Guests move from a full host to empty ones, once, and then all is quiet
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4 4000 MiB, b on hv4 4000 MiB, c on hv4 4000 MiB
always: nobody was switched off
admin: balance
within 120s: the balancing was done
now: a was started once; b was started once; c was started once; not a runs beside b; not b runs beside c
note the guests
always: a, b, c stay
admin: balance
within 30s: the balancing was done
finally: well

# A host dies while the cluster is balanced
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4 4000 MiB, b on hv4 4000 MiB, c on hv4 4000 MiB
admin: balance
when a migrates: power off hv4
within 60s: 3 guests run
within 200s: not the balancing is under way
finally: well

# The cluster is balanced while a host is emptied: maintenance comes first
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4 4000 MiB, b on hv4 4000 MiB, c on hv5
admin: flush hv4
admin is refused "maintenance": balance
within 90s: the flush of hv4 is done
admin: balance
within 120s: the balancing was done
now: hv4 is empty
finally: well

# A host is emptied while the cluster is balanced
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4 4000 MiB, b on hv4 4000 MiB, c on hv4 4000 MiB
admin: balance
when a migrates: note the guests
admin: flush hv4
within 150s: the flush of hv4 is done; hv4 is empty
within 120s: not the balancing is under way
now: a, b, c run; hv4 is empty
finally: well

# The balancing is cancelled: what is on its way arrives
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4 4000 MiB, b on hv4 4000 MiB, c on hv4 4000 MiB
admin: balance
when a migrates: note the guests
admin: cancel the balancing
within 60s: the balancing was cancelled; not a migrates
now: a was started once
finally: well

# Balancing parts no guests that must be together
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4 6000 MiB, b on hv4 6000 MiB
always: a, b stay
admin: affinity shop together a b
admin: balance
within 60s: the balancing was done
finally: a runs beside b

# Balancing puts broken rules right
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv4
admin: affinity db should apart a b
now: an affinity is broken
admin: balance
within 60s: the balancing was done; not an affinity is broken
finally: not a runs beside b

# A host falls silent and comes back while the cluster is balanced
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4 4000 MiB, b on hv4 4000 MiB, c on hv4 4000 MiB
always: nobody was switched off
admin: balance
when a migrates: kill hv4
wait 10s
start hv4
within 150s: not the balancing is under way; not a migrates
now: 3 guests run
finally: well
