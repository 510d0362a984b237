## Each step of emptying a host and of bringing its guests home, and each thing that may befall whoever carries it out: the end
## is the same.

# {mishap}, when {step}: the host is empty in the end
each step: the flush of hv4 is under way | a is prepared | a is transferred | hv4 is empty
each mishap: kill the leader => start them | leadership moves => wait 1s | cut the leader off => heal the network | power off the leader => power on them | daemon of the leader freezes => daemon of them thaws | restart the leader => wait 1s | kill hv4 => start hv4 | restart hv4 => wait 1s | daemon of hv4 freezes => daemon of hv4 thaws | restart all => wait 1s
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
admin: affinity licence on hv4 hv5 of a
always: b stays
admin: flush hv4
when {step}: {mishap}
wait 8s
{end of mishap}
within 200s: the flush of hv4 is done; hv4 is empty; hv4 is maintained
now: a was started once
finally: a runs on hv5

# {mishap}, when {step}: the guest is at home in the end
each step: the return to hv4 is under way | a is prepared | a is transferred
each mishap: kill the leader => start them | leadership moves => wait 1s | cut the leader off => heal the network | daemon of the leader freezes => daemon of them thaws | kill hv4 => start hv4 | kill hv5 => start hv5
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4 home hv4, b on hv5
admin: affinity licence on hv4 hv5 of a
always: b stays
admin: flush hv4
within 60s: the flush of hv4 is done
admin: ready hv4 --return
when {step}: {mishap}
wait 8s
{end of mishap}
within 200s: a runs on hv4; not a migrates
now: a was started once
finally: well
