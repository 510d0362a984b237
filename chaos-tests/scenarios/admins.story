## What administrators do while something is wrong: alone, and two at once.

# Nobody may call a host off that is heard
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: a, b stay; nobody was switched off; hv4 is trusted
admin is refused "reachable": fence hv4 --confirm-off
admin is refused "cuts its guests off": fence hv4
wait 20s
finally: well

# A word for a host that is cut off and dead
cluster 3 coordinators 2 hypervisors
guests a on hv4, b on hv5
always: b stays
power off hv4
within 10s: hv4 is silent
admin: fence hv4 --confirm-off
within 10s: a runs elsewhere than hv4
admin is refused "fenced already": fence hv4 --confirm-off
finally: well

# Two administrators give their word at once
cluster 3 coordinators 2 hypervisors
guests a on hv4, b on hv5
always: b stays
power off hv4
within 10s: hv4 is fencing
admins: fence hv4 --confirm-off | fence hv4 --confirm-off
within 10s: a runs elsewhere than hv4
now: hv4 is fenced
finally: well

# One gives the word, and the other disarms, in the same moment
cluster 3 coordinators 2 hypervisors
guests a on hv4, b on hv5
always: b stays
power off hv4
within 10s: hv4 is fencing
admins: fence hv4 --confirm-off | disarm
wait 20s
admin: arm
within 10s: a runs elsewhere than hv4
finally: well

# One disarms, and the other gives the word, in the same moment
cluster 3 coordinators 2 hypervisors
guests a on hv4, b on hv5
always: b stays
power off hv4
within 10s: hv4 is fencing
admins: disarm | fence hv4 --confirm-off
wait 20s
admin: arm
within 10s: a runs elsewhere than hv4
finally: well

# One stops a guest, and the other its host, in the same moment
cluster 3 coordinators 2 hypervisors
guests a on hv4, b on hv5
always: b stays
power off hv4
within 10s: hv4 is fencing
admins: stop a | fence hv4 --confirm-off
within 20s: a runs nowhere
for 10s: a runs nowhere
admin: start a
within 10s: a runs elsewhere than hv4
finally: well

# One fences a host, and the other stops its guest, in the same moment
cluster 3 coordinators 2 hypervisors
guests a on hv4, b on hv5
always: b stays
power off hv4
within 10s: hv4 is fencing
admins: fence hv4 --confirm-off | stop a
within 20s: a runs nowhere
for 10s: a runs nowhere
admin: start a
within 10s: a runs elsewhere than hv4
finally: well

# Two release the brake at once
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
cut hv4, hv5 off
within 10s: the brake holds
admins: release-brake | release-brake
within 30s: a runs elsewhere than hv4, hv5; b runs elsewhere than hv4, hv5
finally: well

# One makes a node ready while the other forgets that it is back
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4
admin: return hv4 by hand
power off hv4
within 60s: hv4 is returned
admins: ready hv4 | ready hv4
now: hv4 is trusted
finally: well

# Two want the same guest in different places
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv1
always: nobody was switched off
admins: migrate a to hv4 | migrate a to hv5
within 60s: a runs on hv4, hv5; not a migrates
finally: well

# Disarmed: a dead host keeps its guests, and a fault says why
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
admin: disarm the network is being worked on
within 10s: fault recovery-disarmed stands
power off hv4
for 60s: a runs nowhere; hv4 is trusted
admin: arm
within 15s: a runs elsewhere than hv4; not fault recovery-disarmed stands
finally: well

# Disarmed after the proof: what is lost waits, and says so
cluster 3 coordinators 2 hypervisors
guests a on hv4, b on hv5
always: b stays
power off hv4
within 10s: hv4 is fencing
admin: disarm
admin: fence hv4 --confirm-off
within 10s: a waits with "disarmed"
for 20s: a runs nowhere
admin: arm
within 10s: a runs elsewhere than hv4
finally: well

# Armed and disarmed twice
cluster 3 coordinators 1 hypervisors with bmcs
guests a on hv4
always: a stays
admin is refused "is armed": arm
admin: disarm
admin is refused "disarmed already": disarm
admin: arm
finally: well

# A disarmed cluster loses its leader: it stays disarmed
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: a, b stay; nobody was switched off
admin: disarm
cut hv4 off
wait 10s
kill the leader
wait 10s
start them
now: recovery is disarmed
heal the network
admin: arm
finally: well

# A waiting guest is started elsewhere by hand
cluster 3 coordinators 2 hypervisors
guests a on hv4, b on hv5
always: b stays
power off hv4
within 10s: hv4 is fencing
admin: disarm
admin: fence hv4 --confirm-off
within 10s: a waits
admin: start a on hv5
within 10s: a runs on hv5
admin: arm
finally: well

# A waiting guest is stopped: it waits no more
cluster 3 coordinators 2 hypervisors
guests a on hv4, b on hv5
always: b stays
power off hv4
within 10s: hv4 is fencing
admin: disarm
admin: fence hv4 --confirm-off
within 10s: a waits
admin: stop a
within 10s: not a waits
admin: arm
for 10s: a runs nowhere
finally: well; a runs nowhere

# A dead node is removed when nothing is placed on it any more
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
bmc of hv4 is dead
power off hv4
within 10s: hv4 is fencing
admin is refused "VMs are placed on it": remove hv4
admin: fence hv4 --confirm-off
within 10s: a runs elsewhere than hv4
admin: remove hv4
within 10s: hv4 is removed
within 20s: not fault fence-stuck.hv4 stands; not fault node-unreachable.hv4 stands
finally: well

# A guest is to start on a host that is being fenced
cluster 3 coordinators 2 hypervisors
guests a on hv4, b on hv5 off
power off hv4
within 10s: hv4 is fencing
admin is refused "being fenced": start b on hv4
admin: start b on hv5
within 10s: b runs on hv5
finally: well
