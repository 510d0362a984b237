## Storms of restarts: daemons, hosts, and guests that come and go.

# Every daemon restarts, all the time
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
always: a, b, c stay; nobody was switched off
repeat 6 times:
  restart hv1
  wait 1s
  restart hv4
  wait 1s
  restart hv2
  wait 1s
  restart hv5
  wait 1s
  restart hv3
  wait 1s
finally: well

# All daemons restart at once, again and again
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
always: a, b, c stay; nobody was switched off
repeat 6 times:
  restart all
  wait 5s
finally: well

# All daemons are killed at once, again and again
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
always: a, b, c stay; nobody was switched off
repeat 5 times:
  kill all
  wait 2s
  start all
  wait 8s
finally: well

# A daemon is killed as soon as it is heard, again and again
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: a, b stay; nobody was switched off
repeat 6 times:
  kill hv4
  wait 6s
  start hv4
  when hv4 is heard: kill hv4
  start hv4
  wait 3s
finally: well

# A host loses its power as soon as it is trusted again, three times
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
repeat 3 times:
  power off hv4
  within 30s: a runs elsewhere than hv4
  within 200s: hv4 is trusted
finally: well

# A host that was given power again loses it at once: it is not switched on without end
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
power off hv4
within 30s: a runs elsewhere than hv4
within 60s: hv4 has power
wait 2s
power off hv4
for 60s: not hv4 has power
now: hv4 is fenced
power on hv4
within 200s: hv4 is trusted
finally: well

# A guest crashes again and again: it is started again, each time later, and others don't suffer
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv4
always: b stays
repeat 5 times:
  within 90s: a runs
  guest a crashes
  wait 1s
within 120s: a runs
finally: well

# A guest crashes while its host is emptied
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
admin: flush hv4
when a migrates: guest a crashes
within 150s: the flush of hv4 is done; a runs elsewhere than hv4
finally: well

# Daemons restart while a host is emptied
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv4, c on hv4, d on hv5
always: d stays; nobody was switched off
admin: flush hv4
repeat 4 times:
  restart hv4
  wait 2s
  restart the leader
  wait 2s
within 200s: the flush of hv4 is done; hv4 is empty
finally: well

# Hosts die while others restart their daemons
cluster 5 coordinators 2 hypervisors with bmcs
guests a on hv6, b on hv7, c on hv1
always: b stays
power off hv6
repeat 5 times:
  restart hv7
  wait 1s
  restart the leader
  wait 1s
within 40s: a runs elsewhere than hv6
finally: well
