## Each step of a fence, and what leaders.story leaves out: leaders that stand still with old timers, a step that is asked for
## twice, BMCs that fail just there. The end is the same: the guest runs once, the host is trusted again.

# {mishap}, when {step}
each step: hv4 is silent | hv4 is fencing | hv4 is fenced | hv4 is returned
each mishap: daemon of the leader freezes => daemon of them thaws | host the leader freezes => host them thaws | restart the leader => wait 1s | restart all => wait 1s | kill the coordinators => start the coordinators | bmc of hv4 is dead => bmc of hv4 is repaired | bmc network of the leader is cut => bmc network of them is joined | kill hv5 => start hv5
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
admin: affinity licence on hv4 hv5 of a
always: b stays
power off hv4
when {step}: {mishap}
wait 8s
{end of mishap}
within 120s: a runs elsewhere than hv4
within 300s: hv4 is trusted
now: a was started twice
finally: well

# {twice}, when {step}, while it is under way: it is done once
each step: hv4 is silent | hv4 is fencing | hv4 is fenced
each twice: fence hv4 --confirm-off | fence hv4 | arm | start a
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
admin: affinity licence on hv4 hv5 of a
always: b stays
bmc of hv4 is slow 1s
power off hv4
when {step}: note the guests
admins: {twice} | {twice}
within 60s: a runs elsewhere than hv4
wait 5s
power on hv4
within 200s: hv4 is trusted
now: a was started twice
finally: well
