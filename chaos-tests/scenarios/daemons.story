## Daemons die, hang about and come back, on hosts that live.

# A daemon dies and is back soon: nobody is fenced
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: a, b stay; hv4 is trusted; nobody was switched off
kill hv4
wait 20s
start hv4
within 10s: hv4 is heard
finally: well

# A daemon stays dead on a living host: after half a minute of patience its host is switched off
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
kill hv4
for 25s: a stays
within 20s: a runs elsewhere than hv4
finally: well

# A daemon stays dead without a BMC: its guests run on
cluster 3 coordinators 2 hypervisors
guests a on hv4, b on hv5
always: a, b stay
kill hv4
wait 60s
now: hv4 is fencing
start hv4
within 20s: hv4 is trusted
finally: well

# All daemons are restarted in order, one after the other
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
always: a, b, c stay; nobody was switched off
restart hv1
wait 3s
restart hv2
wait 3s
restart hv3
wait 3s
restart hv4
wait 3s
restart hv5
wait 5s
finally: well

# All daemons die at once, and are back after ten seconds
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
always: a, b, c stay; nobody was switched off
kill all
wait 10s
start all
wait 20s
finally: well

# All daemons are dead for eight minutes: no guest stops
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
always: a, b, c stay; nobody was switched off
kill all
wait 8min
start all
wait 20s
finally: well

# The daemons of both hypervisors die: the brake holds
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
always: a, b, c stay; nobody was switched off
kill hv4, hv5
within 10s: the brake holds
wait 60s
start hv4, hv5
within 20s: not the brake holds
finally: well

# Daemons are killed again and again, and come back each time
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
always: a, b, c stay; nobody was switched off
repeat 8 times:
  kill hv4, hv1
  wait 1s
  start them
  wait 2s
finally: well

# A storm of restarts of the whole cluster
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
always: a, b, c stay; nobody was switched off
repeat 6 times:
  restart all
  wait 4s
finally: well

# The daemon dies while its host is being fenced for its silence, and the power goes too
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
kill hv4
wait 10s
power off hv4
within 10s: a runs elsewhere than hv4
finally: well

# A hypervisor hangs: its daemon is heard, and nobody is fenced
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: a, b stay; nobody was switched off; hv4 is trusted
hypervisor of hv4 hangs
wait 60s
finally: well

# A hypervisor can't be reached: nothing is placed there, and nobody is fenced
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: a, b stay; nobody was switched off
hypervisor of hv4 is unreachable
wait 60s
finally: well

# A guest that crashes is started again where it is, not elsewhere
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays; nobody was switched off
guest a crashes
within 20s: a runs on hv4; a was started twice
finally: well

# The disks of two coordinators are full: writes wait, guests run on
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: a, b stay; nobody was switched off
disk of the other coordinators is full
wait 30s
disk of the coordinators is well
wait 10s
finally: well

# The disks of all coordinators are slow: nobody is fenced for that
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: a, b stay; nobody was switched off
disk of the coordinators is slow 300ms
wait 60s
finally: well

# The disks of all coordinators are slow, and a host dies
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
disk of the coordinators is slow 200ms
power off hv4
within 20s: a runs elsewhere than hv4
finally: well
