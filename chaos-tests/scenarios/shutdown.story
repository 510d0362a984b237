## Hosts that are shut down in order: their guests leave, and nobody takes them for dead.

# Its guests move away without a break, it is silent for long, and they return with it
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv4, c on hv5
always: a, b, c run; nobody was switched off; hv4 is trusted
shut down hv4
within 60s: a runs elsewhere than hv4; b runs elsewhere than hv4
within 30s: hv4 is silent
for 120s: hv4 is silent
power on hv4
within 120s: a runs on hv4; b runs on hv4
now: a was started once; b was started once; c was started once
finally: well

# An empty host is shut down: nothing happens at all
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv5
always: a stays; nobody was switched off; hv4 is trusted
shut down hv4
within 30s: hv4 is silent
wait 60s
power on hv4
within 30s: hv4 is heard
finally: well

# It stops its guests, and starts them when it is back
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays; nobody was switched off; hv4 is trusted
admin: on shutdown hv4 stops
shut down hv4
within 60s: a runs nowhere
within 30s: hv4 is silent
for 60s: a runs nowhere
power on hv4
within 60s: a runs on hv4
now: a was started twice
finally: well

# It keeps its guests: they are not recovered while it boots, and run again when it is up
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays; nobody was switched off; hv4 is trusted
admin: on shutdown hv4 keeps
shut down hv4
within 20s: a runs nowhere
for 120s: a runs nowhere
power on hv4
within 60s: a runs on hv4
finally: well

# Its power is cut in the midst of it: what had not left yet is recovered like after any death
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv4, c on hv5
always: c stays
shut down hv4
when a is transferred: power off hv4
within 60s: a runs elsewhere than hv4; b runs elsewhere than hv4
finally: well

# It is asked to shut down once more while its guests leave
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: a, b run; nobody was switched off
shut down hv4
shut down hv4
within 60s: a runs elsewhere than hv4
within 30s: hv4 is silent
power on hv4
finally: well; a was started once

# The leader's host is shut down: another one leads its guests away to the end
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv1, b on hv2, c on hv3
always: a, b, c run; nobody was switched off
shut down the leader
wait 60s
now: somebody leads
wait 30s
power on all
within 120s: a runs on hv1; b runs on hv2; c runs on hv3
finally: well

# The leader is upgraded while a host is being emptied
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv4, c on hv5
always: a, b, c run
shut down hv4
when a is transferred: restart the leader
within 90s: a runs elsewhere than hv4; b runs elsewhere than hv4
wait 30s
finally: well

# Two hosts one after the other: nobody takes it for a storm
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
always: a, b, c run; nobody was switched off; not the brake holds
shut down hv4
within 60s: hv4 is silent
shut down hv5
within 60s: hv5 is silent
wait 60s
power on hv4, hv5
within 120s: a runs on hv4; b runs on hv5
finally: well

# Without a quorum nobody hears of it: it waits for a minute, and goes down with its guests
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
kill hv1, hv2, hv3
shut down hv4
wait 90s
now: a runs nowhere
start hv1, hv2, hv3
within 60s: a runs elsewhere than hv4
finally: well

# A migration fails again and again: what can't be moved is shut down, and starts when the host is back
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays; nobody was switched off
hypervisor of hv4 fails 9 migrations
shut down hv4
within 300s: a runs nowhere
within 60s: hv4 is silent
hypervisor of hv4 is well
power on hv4
within 60s: a runs on hv4
finally: well
