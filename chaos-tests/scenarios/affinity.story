## Rules that say who runs beside whom, when hosts die, are emptied, or the cluster is balanced.

# Guests that must be apart are apart after the death of a host
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
admin: affinity db apart a b c
always: not an affinity is broken
power off hv4
within 15s: a runs elsewhere than hv4, hv5, hv1
finally: well

# Guests that must be apart find no places: one waits, and is told why
cluster 1 coordinators 2 hypervisors with bmcs
guests a on hv1, b on hv2, c on hv3
admin: affinity db apart a b c
always: not an affinity is broken; a, b stay
bmc of hv3 is slow 4s
power off hv3
within 20s: c waits with "db"
within 200s: c runs on hv3
finally: well

# Guests that should be apart run on one host rather than not at all
cluster 1 coordinators 1 hypervisors with bmcs
guests a on hv1, b on hv2
always: a stays
admin: affinity web should apart a b
power off hv2
within 15s: b runs beside a
finally: well

# Guests that must be together move together when their host dies
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv4, c on hv5
always: c stays
admin: affinity shop together a b
power off hv4
within 15s: a runs elsewhere than hv4; a runs beside b
finally: well

# Guests that must be together find no room for both
cluster 1 coordinators 2 hypervisors with bmcs
guests a on hv3 7000 MiB, b on hv3 7000 MiB, c on hv1 10000 MiB, d on hv2 10000 MiB
always: c, d stay
admin: affinity shop together a b
bmc of hv3 is slow 4s
power off hv3
within 20s: a waits; b waits
within 200s: a runs on hv3; a runs beside b
finally: well

# A guest that may run on two hosts is recovered on the other
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
admin: affinity licence on hv4 hv2 of a
power off hv4
within 15s: a runs on hv2
finally: well

# A guest that may not run where there is room waits
cluster 1 coordinators 2 hypervisors with bmcs
guests a on hv2, b on hv3
always: b stays
admin: affinity quiet not on hv1 hv3 of a
bmc of hv2 is slow 4s
power off hv2
within 20s: a waits with "quiet"
for 5s: a runs nowhere
admin: forget affinity quiet
within 10s: a runs elsewhere than hv2
finally: well

# Rules that contradict each other are refused
cluster 3 coordinators 1 hypervisors with bmcs
guests a on hv4, b on hv4
admin: affinity one together a b
admin is refused "affinity/one": affinity other apart a b
admin is refused "affinity/one": affinity third apart b a
finally: a runs beside b

# A host with guests that must be apart is emptied
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
always: b, c stay
admin: affinity db apart a b c
always: not an affinity is broken
admin: flush hv4
within 60s: the flush of hv4 is done; a runs elsewhere than hv4, hv5, hv1
admin: ready hv4 --return
within 60s: a runs on hv4
finally: well

# A host can't be emptied without breaking a rule: refused with its name
cluster 1 coordinators 2 hypervisors with bmcs
guests a on hv1, b on hv2, c on hv3
always: a, b, c stay
admin: affinity db apart a b c
admin is refused "db": flush hv3
finally: well

# Two hosts die one after the other, and the rules hold for all that moved
cluster 5 coordinators 2 hypervisors with bmcs
guests a on hv6, b on hv7, c on hv1, d on hv2
always: c, d stay
admin: affinity db apart a b c d
always: not an affinity is broken
power off hv6
within 15s: a runs elsewhere than hv6
wait 70s
power off hv7
within 30s: b runs elsewhere than hv7
finally: well

# A rule comes while its guests are being recovered
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv4, c on hv5
always: c stays
bmc of hv4 is slow 3s
power off hv4
when hv4 is fencing: note the guests
admin: affinity db apart a b
within 30s: a runs elsewhere than hv4; b runs elsewhere than hv4; not a runs beside b
finally: well
