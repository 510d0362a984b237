"""The parts of the measurement that look at guests: what they are given, and what they notice when something moves."""

import re
import time

from .cluster import dig, wait_for

MS = 1000.0
HAND_OVER_MS = 100
PRIMARY_DEATH_MS = 3500
MIGRATION_MS = 200
UPSTREAM_MS = 1000
# What still comes after a change: gratuitous ARP is repeated, routes settle.
AFTER_SECONDS = 2.0
BEFORE_SECONDS = 1.0
OUTSIDE = "router.site.test"


def calm(bench):
    """How long the probes are without an answer while nothing happens: what this machine makes of it."""
    guest = bench.far_guest()
    with guest.ping() as ping, guest.echo() as echo:
        time.sleep(5)
    bench.report.measured("calm: longest time without an answer to pings", [ping.gap() * MS])
    bench.report.measured("calm: longest time in which a TCP stream stood still", [echo.gap() * MS])


def addresses(bench):
    """Each guest was lent an address of each family by DHCP, which the store knows, and uses it."""
    for guest in bench.guests():
        lent, told = {guest.v4, guest.v6}, guest.has_set()
        bench.report.checked(f"{guest.name} on {guest.home} has what it was lent", lent <= told, " ".join(sorted(told)))


def reach(bench):
    """Guests reach each other and the world outside, by name."""
    guests = bench.guests()
    for guest in guests:
        others = [f"{other.name}.{bench.domain}" for other in guests if other is not guest]
        for name in [*others, OUTSIDE]:
            for family in ("-4", "-6"):
                said = guest.shell(f"ping {family} -c 3 -W 3 {name} 2>&1")
                good = re.search(r"[1-3] packets received", said)
                told = "yes" if good else " / ".join(said.split("\n")[-5:])
                bench.report.checked(f"{guest.name} pings {name} ({family})", bool(good), told)


def names(bench):
    """Forward and reverse, from every coordinator; zones for those who may have them, and for nobody else."""
    cluster, hub = bench.cluster, bench.cluster.namespace("hub")
    for host in cluster.COORDINATORS:
        server = cluster.address(host)
        for guest in bench.guests():
            name = f"{guest.name}.{bench.domain}"
            told = dig(hub, server, name, "A") + dig(hub, server, name, "AAAA")
            bench.report.checked(f"{host} knows {name}", {guest.v4, guest.v6} <= set(told), " ".join(told))
            for address in (guest.v4, guest.v6):
                told = dig(hub, server, "-x", address)
                bench.report.checked(f"{host} knows whose {address} is", f"{name}." in told, " ".join(told))
    server = cluster.address(cluster.primary())
    zone = dig(None, server, bench.domain, "AXFR")
    bench.report.checked("an allowed secondary is given the zone", len(zone) > 3, f"{len(zone)} records")
    refused = dig(hub, server, bench.domain, "AXFR")
    bench.report.checked("another is refused it", not refused, f"{len(refused)} records")


def routes(bench):
    """The router outside has learned the network from every coordinator, and nothing else of the cluster."""
    for family, network in (("ipv4", bench.v4), ("ipv6", bench.v6)):
        found = lambda: learned_from(bench, family, network)
        from_all = lambda: len(found()) >= len(bench.cluster.COORDINATORS)
        wait_for(f"{network} on the router outside, from all coordinators", from_all, patience=30)
        told = sorted(found())
        good = told == sorted(bench.cluster.COORDINATORS)
        bench.report.checked(f"the router outside learned {network} from every coordinator", good, " ".join(told))
    known = set(bench.cluster.router_says("show bgp ipv4 unicast").get("routes", {}))
    strange = {route for route in known if route not in bench.announced() | {"198.51.100.0/24"}}
    told = " ".join(sorted(strange)) or "nothing"
    bench.report.checked("what it learned that is no client network", not strange, told)


def learned_from(bench, family, network):
    """Hosts from which the router outside has a network; IPv6 may come by sessions of either family."""
    paths = bench.cluster.router_says(f"show bgp {family} unicast {network}").get("paths", [])
    peers = {path.get("peer", {}).get("peerId") for path in paths}
    return {host for host in bench.cluster.HOSTS if peers & set(bench.cluster.upstream_addresses(host))}


def handover(bench):
    """The primary hands its role over while a guest on a plain hypervisor is pinged from outside."""
    guest, gaps = bench.far_guest(), []
    before = bench.known()
    for run in range(bench.options.runs):
        old = bench.cluster.settled_primary()
        new = next_of(bench.cluster.COORDINATORS, old)
        with guest.ping() as v4, guest.ping(v6=True) as v6:
            time.sleep(BEFORE_SECONDS)
            bench.cluster.do("node", "primary", new)
            bench.cluster.settled_primary()
            time.sleep(AFTER_SECONDS)
        gaps.append(max(v4.gap(), v6.gap()) * MS)
        print(f"  {old} -> {new}: {v4.gap() * MS:.0f} ms IPv4, {v6.gap() * MS:.0f} ms IPv6", flush=True)
    bench.report.measured("primary handed over: without traffic through the gateway", gaps, HAND_OVER_MS)
    bench.report.checked("leases and names are the same after it", bench.known() == before)


def next_of(hosts, host):
    return hosts[(hosts.index(host) + 1) % len(hosts)]


def death(bench):
    """The primary's host loses its power."""
    guest, cluster, gaps = bench.far_guest(), bench.cluster, []
    # No guest lives there, and it does not lead: what dies is the one role.
    victim = bench.empty_coordinator()
    before = bench.known()
    for run in range(bench.options.deaths):
        if cluster.settled_primary() != victim:
            cluster.do("node", "primary", victim)
            wait_for(f"{victim} is the primary", lambda: cluster.settled_primary() == victim)
        if cluster.ask("cluster", "status").get("leader") == victim:
            cluster.do("cluster", "leader", next_of(cluster.COORDINATORS, victim))
        with guest.ping() as v4, guest.ping(v6=True) as v6:
            time.sleep(BEFORE_SECONDS)
            cluster.local("kill", victim, "--what", "host")
            wait_for("another primary", lambda: cluster.primary() not in ("", victim))
            cluster.settled_primary()
            time.sleep(AFTER_SECONDS)
        gaps.append(max(v4.gap(), v6.gap()) * MS)
        print(f"  {victim} died: {v4.gap() * MS:.0f} ms IPv4, {v6.gap() * MS:.0f} ms IPv6", flush=True)
        bench.report.checked("leases and names are the same after it", bench.known() == before)
        cluster.local("start", victim)
        bench.wait_for_routes()
    bench.report.measured("primary killed: without traffic through the gateway", gaps, PRIMARY_DEATH_MS)


def upstream(bench):
    """The primary's link to the router outside goes silent: BFD sends the traffic by the other coordinators."""
    guest, cluster, gaps = bench.far_guest(), bench.cluster, []
    bench.wait_for_routes()
    for run in range(bench.options.runs):
        primary = cluster.settled_primary()
        with guest.ping() as v4:
            time.sleep(BEFORE_SECONDS)
            cluster.local("cut", primary, "--net", "upstream")
            time.sleep(AFTER_SECONDS + 1)
        gaps.append(v4.gap() * MS)
        print(f"  {primary} was cut from the router: {gaps[-1]:.0f} ms", flush=True)
        cluster.local("heal")
        bench.wait_for_routes()
    bench.report.measured("primary's upstream link cut: without traffic", gaps, UPSTREAM_MS)


def migration(bench):
    """A guest moves live under pings and a TCP stream from outside."""
    guest, over_ping, over_stream, died = bench.far_guest(), [], [], 0
    for _ in range(bench.options.moves):
        old = guest.node()
        new = next_of(bench.cluster.HOSTS, old)
        with guest.ping() as ping, guest.echo() as echo:
            watch = bench.watch_pause(old)
            time.sleep(BEFORE_SECONDS)
            guest.migrate(new)
            time.sleep(AFTER_SECONDS)
        pause = bench.pause(watch)
        # Seen with QEMU 7.2 without KVM: the rings that a guest shares with its devices do not arrive as they were.
        why = None if guest.answers() else guest.kernel_died()
        if why:
            died += 1
            print(f"  {old} -> {new}: the guest's own kernel says: {why}", flush=True)
            guest.start_anew(new)
            continue
        over_ping.append(ping.gap() * MS - pause)
        over_stream.append(echo.gap() * MS - pause)
        told = f"ping {ping.gap() * MS:.0f} ms, stream {echo.gap() * MS:.0f} ms"
        print(f"  {old} -> {new}: {told}, the hypervisor's own pause {pause:.0f} ms", flush=True)
        if echo.broken:
            bench.report.checked("the TCP stream holds", False, str(echo.broken))
    outlived = f"{len(over_ping)} of {bench.options.moves}"
    bench.report.checked("live migration: moves that the guest's kernel outlived, most", len(over_ping) > 3 * died, outlived)
    bench.report.measured("live migration: pings, beyond the hypervisor's pause", over_ping, MIGRATION_MS)
    bench.report.measured("live migration: TCP stream, beyond the hypervisor's pause", over_stream, MIGRATION_MS)


def restart(bench):
    """bgpd is killed on a hypervisor, and the bridge deleted on the primary: both are put right."""
    cluster, guest = bench.cluster, bench.far_guest()
    host = guest.node()
    began = time.monotonic()
    cluster.local("kill", host, "--what", "bgpd")
    wait_for("a session of the new bgpd", lambda: bench.evpn_established(host), patience=30)
    took = (time.monotonic() - began) * MS
    bench.report.measured("bgpd killed on a hypervisor: until it has its sessions again", [took])
    bench.report.checked("the guest there answers after it", guest.answers(10))
    primary, bridge = cluster.settled_primary(), f"vmbr{bench.vni}"
    began = time.monotonic()
    cluster.inside(primary, "ip", "link", "del", bridge)
    wait_for("the bridge again", lambda: bridge in cluster.inside(primary, "ip", "-br", "link"), patience=30)
    wait_for("an answer through it", guest.answers, patience=30)
    took = (time.monotonic() - began) * MS
    bench.report.measured("bridge deleted on the primary: until the guest answers again", [took])
