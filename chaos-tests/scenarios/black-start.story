## The whole house loses its power, and has it again.

# All hosts lose their power at once, and have it again at once: what was on runs again, once
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
admin: shutdown c
within 20s: c runs nowhere
power off all
wait 60s
power on all
within 60s: a, b run
now: a was started twice; b was started twice; c runs nowhere
finally: well; c runs nowhere

# The coordinators have power first, the others half a minute later
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
power off all
wait 60s
power on the coordinators
wait 30s
power on the hypervisors
within 90s: a, b, c run
now: a was started twice; b was started twice; c was started twice
finally: well

# The hypervisors have power first, the coordinators later: without a leader nothing starts
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
power off all
wait 60s
power on hv4, hv5
for 30s: a runs nowhere; b runs nowhere
power on hv1, hv2, hv3
within 60s: a, b run
now: a was started twice
finally: well

# One host after the other has power again
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv2
power off all
wait 30s
power on hv1
wait 10s
power on hv2
wait 10s
power on hv3
wait 10s
power on hv4
wait 10s
power on hv5
within 120s: a, b, c run
finally: well

# One host does not come back: its guests run elsewhere
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
power off all
wait 60s
power on hv1, hv2, hv3, hv5
within 60s: a runs elsewhere than hv4; b, c run
finally: well

# A coordinator does not come back
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv3
power off all
wait 60s
power on hv1, hv2, hv4, hv5
within 60s: c runs elsewhere than hv3; a, b run
finally: well

# A black start without BMCs
cluster 3 coordinators 2 hypervisors
guests a on hv4, b on hv5, c on hv1
power off all
wait 60s
power on all
within 60s: a, b, c run
now: a was started twice; b was started twice; c was started twice
finally: well

# A black start of five coordinators with short logs
cluster 5 coordinators 2 hypervisors with bmcs, short logs
guests a on hv6, b on hv7, c on hv1
power off all
wait 10s
power on all
within 60s: a, b, c run
finally: well

# The power goes again while all is starting
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
repeat 4 times:
  power off all
  wait 5s
  power on all
  wait 3s
within 90s: a, b, c run
finally: well

# The coordinators alone lose their power: the guests of the others run on
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
always: a, b stay
power off the coordinators
wait 60s
power on them
within 60s: c runs
finally: well

# A quorum loses its power: nothing moves until it is back
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
always: a, b stay
power off hv1, hv2
for 60s: c runs nowhere
power on hv1, hv2
within 60s: c runs
finally: well

# A cluster of one coordinator loses a hypervisor
cluster 1 coordinators 2 hypervisors with bmcs
guests a on hv2, b on hv3, c on hv1
always: b, c stay
power off hv2
within 10s: a runs elsewhere than hv2
finally: well

# A cluster of one coordinator loses it: nothing moves, and nothing ends
cluster 1 coordinators 2 hypervisors with bmcs
guests a on hv2, b on hv3, c on hv1
always: a, b stay
power off hv1
for 60s: c runs nowhere
power on hv1
within 30s: c runs
finally: well

# A cluster of one host starts again
cluster 1 coordinators with bmcs
guests a on hv1, b on hv1
power off hv1
wait 20s
power on hv1
within 30s: a, b run
finally: well

# The power comes back to all hosts, and no BMC answers: the guests run again
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
power off all
bmc of all is dead
wait 60s
power on all
within 90s: a, b, c run
finally: well

# The power comes back to all hosts but one, whose BMC is dead: its guests wait for an administrator
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
power off all
bmc of hv4 is dead
wait 60s
power on hv1, hv2, hv3, hv5
within 90s: b, c run; hv4 is fencing
for 30s: a runs nowhere
admin: fence hv4 --confirm-off
within 30s: a runs elsewhere than hv4
finally: well

# The power comes back to two coordinators alone, and no BMC answers: nobody is taken for dead without a proof
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
power off all
bmc of all is dead
wait 60s
power on hv1, hv2
within 60s: somebody leads
within 60s: c runs
for 40s: a runs nowhere; b runs nowhere
power on hv4, hv5, hv3
within 60s: a, b run
finally: well

# The power comes back while the network is still dead
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
power off all
wait 30s
cut all off
cut hv1 from hv2, hv3, hv4, hv5
cut hv2 from hv3, hv4, hv5
cut hv3 from hv4, hv5
power on all
for 30s: a runs nowhere; b runs nowhere; c runs nowhere
heal the network
within 90s: a, b, c run
finally: well
