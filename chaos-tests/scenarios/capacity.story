## When there is not room for all: hosts have 16384 MiB, of which 15872 are for guests.

# Nothing fits: the guest waits and says why; room appears, and it runs
cluster 1 coordinators 2 hypervisors with bmcs
guests a on hv1 12000 MiB, b on hv2 12000 MiB, c on hv3 12000 MiB
always: b stays
bmc of hv3 is slow 4s
power off hv3
within 20s: c waits with "MiB free"; fault vms-wait-for-a-node stands
for 5s: c runs nowhere
admin: stop a
within 10s: c runs on hv1; not fault vms-wait-for-a-node stands
admin: stop c
finally: well

# Nothing fits: the guest runs again when its host is back
cluster 1 coordinators 2 hypervisors with bmcs
guests a on hv1 12000 MiB, b on hv2 12000 MiB, c on hv3 12000 MiB
always: a, b stay
power off hv3
within 20s: c waits with "MiB free"
within 150s: c runs on hv3
finally: well

# Room for one of two: the higher priority has it
cluster 1 coordinators 2 hypervisors with bmcs
guests a on hv1 12000 MiB, b on hv2 8000 MiB, c on hv3 7000 MiB priority 10, d on hv3 7000 MiB priority 500
always: a, b stay
power off hv3
within 20s: d runs on hv2; c waits
within 150s: c runs on hv3
finally: well

# The higher priority is the smaller guest
cluster 1 coordinators 2 hypervisors with bmcs
guests a on hv1 15000 MiB, b on hv2 8000 MiB, c on hv3 7500 MiB priority 10, d on hv3 500 MiB priority 900
always: a, b stay
power off hv3
within 20s: d runs elsewhere than hv3; c waits
within 150s: c runs on hv3
finally: well

# A guest that is not to be recovered waits for a person
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4 unrecovered, b on hv4
power off hv4
within 10s: b runs elsewhere than hv4
within 10s: a waits with "not recovered by itself"
for 20s: a runs nowhere
admin: start a
within 10s: a runs
finally: well

# A guest that is not to be recovered, and a host that comes back: it still waits for a person
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4 unrecovered
power off hv4
within 15s: a waits
within 150s: hv4 is trusted
now: a waits
admin: start a
within 10s: a runs
finally: well

# A guest may run on one host only, and waits for it
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4 only hv4, b on hv5
always: b stays
power off hv4
within 15s: a waits with "node limit"
within 150s: a runs on hv4
finally: well

# A guest may run on two hosts, and runs on the other
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4 only hv4 only hv2, b on hv5
always: b stays
power off hv4
within 10s: a runs on hv2
finally: well

# Twenty guests of one host find their places
cluster 3 coordinators 2 hypervisors with bmcs
guests g1 on hv4, g2 on hv4, g3 on hv4, g4 on hv4, g5 on hv4, g6 on hv4, g7 on hv4, g8 on hv4, g9 on hv4, g10 on hv4
guests h1 on hv4, h2 on hv4, h3 on hv4, h4 on hv4, h5 on hv4, h6 on hv4, h7 on hv4, h8 on hv4, h9 on hv4, h10 on hv4
power off hv4
within 20s: 20 guests run
finally: well

# A waiting guest gets a higher priority than another that waits
cluster 1 coordinators 2 hypervisors with bmcs
guests a on hv1 12000 MiB, b on hv2 12000 MiB, c on hv3 7000 MiB priority 200, d on hv3 7000 MiB priority 100
bmc of hv3 is slow 4s
power off hv3
within 20s: c waits; d waits
admin: priority d 900
admin: stop a
within 10s: d runs on hv1
finally: well

# The hosts that the guests were recovered to die too
cluster 3 coordinators 3 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv6
power off hv4
within 15s: a, b, c run
wait 70s
power off the host of a
within 20s: a runs elsewhere than them
finally: well

# A waiting guest is deleted
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4 unrecovered, b on hv5
always: b stays
power off hv4
within 15s: a waits
admin: stop a
wait 5s
admin: delete a
within 20s: a is gone
finally: well
