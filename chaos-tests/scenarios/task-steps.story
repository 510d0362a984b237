## Every other task: failed, with its leader gone before and after each step, asked for twice. The same end.

# {mishap} while a guest is started
each mishap: kill the leader => start them | leadership moves => wait 1s | daemon of the leader freezes => daemon of them thaws | cut the leader off => heal the network | kill hv4 => start hv4 | daemon of hv4 freezes => daemon of hv4 thaws | hypervisor of hv4 fails 2 starts => wait 1s | hypervisor of hv4 hangs => hypervisor of hv4 is well
cluster 3 coordinators 2 hypervisors with bmcs
guests a off, b on hv5
always: b stays
admins: start a on hv4 | start a on hv4
{mishap}
wait 12s
{end of mishap}
within 100s: a runs on hv4
finally: well

# {mishap} while a guest is shut down
each mishap: kill the leader => start them | leadership moves => wait 1s | daemon of the leader freezes => daemon of them thaws | kill hv4 => start hv4 | daemon of hv4 freezes => daemon of hv4 thaws | restart all => wait 1s
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
admins: shutdown a | shutdown a
{mishap}
wait 12s
{end of mishap}
within 100s: a runs nowhere
for 10s: a runs nowhere
finally: well

# {mishap} while a guest is restarted
each mishap: kill the leader => start them | leadership moves => wait 1s | daemon of the leader freezes => daemon of them thaws | kill hv4 => start hv4 | daemon of hv4 freezes => daemon of hv4 thaws | restart all => wait 1s
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays
admin: restart a
{mishap}
wait 12s
{end of mishap}
within 100s: a runs on hv4; a was started twice
finally: well

# {mishap} when {step} of a migration
each step: a is prepared | a is transferred
each mishap: daemon of the leader freezes => daemon of them thaws | daemon of hv4 freezes => daemon of hv4 thaws | daemon of hv5 freezes => daemon of hv5 thaws | restart all => wait 1s | leadership moves => leadership moves | hypervisor of hv5 hangs => hypervisor of hv5 is well
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays; nobody was switched off
admin: migrate a to hv5
when {step}: {mishap}
wait 12s
{end of mishap}
within 150s: not a migrates; a runs
now: a was started once
finally: well

# {mishap} while the cluster is balanced
each mishap: kill the leader => start them | leadership moves => wait 1s | daemon of the leader freezes => daemon of them thaws | kill hv4 => start hv4 | hypervisor of hv4 fails 2 migrations => wait 1s | restart all => wait 1s
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4 4000 MiB, b on hv4 4000 MiB, c on hv4 4000 MiB, d on hv4 3000 MiB
always: nobody was switched off
admins: balance | balance
when the balancing is under way: {mishap}
wait 8s
{end of mishap}
within 200s: not the balancing is under way
now: 4 guests run; a was started once; b was started once; c was started once; d was started once
finally: well

# {mishap} while the primary is handed over
each mishap: kill the leader => start them | leadership moves => wait 1s | daemon of the leader freezes => daemon of them thaws | cut the leader off => heal the network | restart all => wait 1s
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: a, b stay
admins: hand over the primary
{mishap}
wait 8s
{end of mishap}
within 60s: the coordinators is the primary
finally: well
