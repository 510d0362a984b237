## Two administrators ask for things at once that don't go together, while hosts die, or in peace. Whoever wins, the cluster is
## well in the end, and each guest runs once.

# One empties a host while another {other}
each other: fences it => fence hv4 | makes it ready => ready hv4 | makes it take no guests => unschedulable hv4 | balances => balance | moves its guest away => move a to hv5 | moves another thither => move b to hv4 | shuts its guest down => shutdown a | deletes its guest => delete a | disarms recovery => disarm | empties the host next to it => flush hv5 | empties it too => flush hv4 | hands the primary over => hand over the primary
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5, c on hv1
always: c stays; nobody was switched off
admins: flush hv4 | {end of other}
wait 30s
admins: arm | arm
within 90s: not the flush of hv4 is under way
now: b runs
finally: well

# A host is dead, and two administrators {other}
each other: confirm it, both => fence hv4 --confirm-off / fence hv4 --confirm-off | confirm it, and make it ready => fence hv4 --confirm-off / ready hv4 | confirm it, and disarm recovery => fence hv4 --confirm-off / disarm | confirm it, and start its guest elsewhere => fence hv4 --confirm-off / start a on hv5 | confirm it, and delete its guest => fence hv4 --confirm-off / delete a | fence it, and empty it => fence hv4 / flush hv4
cluster 3 coordinators 2 hypervisors
guests a on hv4, b on hv5
always: b stays
power off hv4
within 10s: hv4 is fencing
admins: {end of other}
wait 20s
admins: arm | arm
within 60s: b runs
finally: b runs

# One moves a guest that another {other}
each other: moves elsewhere => move a to hv1 | shuts down => shutdown a | stops => stop a | restarts => restart a | deletes => delete a | migrates back => unmigrate a | cancels => cancel a
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4, b on hv5
always: b stays; nobody was switched off
admin: move a to hv5
admins: {end of other}
wait 40s
finally: well

# One balances while another {other}
each other: balances too => balance | empties the full host => flush hv4 | makes the rules anew => affinity db apart a b | stops a guest => stop a | moves a guest by hand => move a to hv1
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4 4000 MiB, b on hv4 4000 MiB, c on hv4 4000 MiB
always: nobody was switched off
admins: balance | {end of other}
wait 60s
within 150s: not the balancing is under way; not a migrates; not b migrates; not c migrates
finally: b, c run

# One makes a host ready while another {other}
each other: empties it again => flush hv4 | fences it => fence hv4 | stops its guest => stop a | makes it ready too => ready hv4 --return
cluster 3 coordinators 2 hypervisors with bmcs
guests a on hv4 home hv4, b on hv5
always: b stays
admin: flush hv4
within 60s: the flush of hv4 is done
admins: ready hv4 --return | {end of other}
wait 60s
finally: b runs
