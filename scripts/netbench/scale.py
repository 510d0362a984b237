"""The parts of the measurement that look at numbers: a thousand networks, two hundred live, a thousand rules."""

import concurrent.futures
import os
import re
import time

from .cluster import wait_for

MS = 1000.0
# `pvc` is a process for each command: so many run at once.
AT_ONCE = 4
MIB = 1024.0
DEFINED_MS = 120_000
LIVE_MS = 60_000
RULES_MS = 10_000
REPAIR_MS = 5_000
QUIET_SECONDS = 15
FIRST_VNI = 2001
PROGRAMS = ("pvcd", "zebra", "bgpd", "dnsmasq", "pdns_server")


def subnet(number):
    return f"10.{20 + number // 250}.{number % 250}"


def add(bench, number):
    vni, net = FIRST_VNI + number, subnet(number)
    addresses = ["-i", f"{net}.0/24", "-g", f"{net}.1", "--dhcp", f"{net}.100-{net}.199"]
    bench.cluster.do("network", "add", str(vni), "-d", f"n{vni}", "-n", f"n{vni}.test", *addresses)


def undefine(bench, numbers):
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda number: bench.cluster.do("network", "remove", "-y", str(FIRST_VNI + number)), numbers))


def defined_here(bench):
    return len([vni for vni in bench.defined() if vni >= FIRST_VNI])


def bridges(bench, host):
    links = bench.cluster.inside(host, "ip", "-br", "link", "show", "type", "bridge")
    return len(re.findall(r"^vmbr[1-9]\d*\b", links, re.MULTILINE))


def gateways(bench, host):
    return bench.cluster.inside(host, "ip", "-br", "-4", "address").count("10.2")


def memory(bench, host):
    """KiB of each program of a host: what it has alone, and its part of what it shares."""
    each = "for p in /proc/[0-9]*; do echo \"$(cat $p/comm) $(grep ^Pss: $p/smaps_rollup)\"; done 2>/dev/null; true"
    sums = dict.fromkeys(PROGRAMS, 0)
    for name, kib in re.findall(r"^(\S+) Pss:\s+(\d+)", bench.cluster.inside(host, "sh", "-c", each), re.MULTILINE):
        if name in sums:
            sums[name] += int(kib)
    return {name: kib for name, kib in sums.items() if kib}


def busy(bench, host):
    """How much of a processor its daemon takes while nothing changes: what it costs to find all as it should be."""
    pid = next(known["pvcd"] for known in bench.cluster.status()["hosts"] if known["host"] == host)
    before = ticks(pid)
    time.sleep(QUIET_SECONDS)
    return 100 * (ticks(pid) - before) / os.sysconf("SC_CLK_TCK") / QUIET_SECONDS


def ticks(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(") ", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def make(bench, primary, numbers):
    """Defines networks and waits until they are live on all coordinators."""
    cluster = bench.cluster
    before, here = gateways(bench, primary), bridges(bench, primary)
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda number: add(bench, number), numbers))
    took = (time.monotonic() - began) * MS
    bench.report.measured(f"{len(numbers)} networks defined", [took], DEFINED_MS)
    began, want = time.monotonic(), here + len(numbers)
    everywhere = lambda: all(bridges(bench, host) >= want for host in cluster.COORDINATORS)
    wait_for(f"{want} bridges on each coordinator", everywhere, 300)
    wait_for("their gateways on the primary", lambda: gateways(bench, primary) >= before + len(numbers), 300)
    took = (time.monotonic() - began) * MS
    bench.report.measured(f"{want} networks live on each coordinator, after the last was defined", [took], LIVE_MS)


def live(bench):
    """Networks that are all live on each coordinator: bridges, tunnels, and on the primary gateways, DHCP and rules."""
    count = bench.options.live
    primary = bench.cluster.settled_primary()
    make(bench, primary, range(count))
    standing(bench, primary, count)


def standing(bench, primary, count):
    """What so many networks cost the primary while nothing changes, and how soon it mends one of them."""
    there = f"{count} networks live"
    for name, kib in sorted(memory(bench, primary).items()):
        bench.report.measured(f"{there}, memory of {name} on the primary", [kib / MIB], unit="MiB")
    bench.report.measured(f"{there}, pvcd while nothing changes", [busy(bench, primary)], unit="% of a processor")
    bridge = f"vmbr{FIRST_VNI}"
    bench.cluster.inside(primary, "ip", "link", "del", bridge)
    began = time.monotonic()
    wait_for(f"{bridge} is made anew", lambda: bridge in bench.cluster.inside(primary, "ip", "-br", "link"), every=0.02)
    took = (time.monotonic() - began) * MS
    bench.report.measured(f"{there}, a bridge deleted by hand is there again", [took], REPAIR_MS)


def thousand(bench):
    """As many networks as are asked for, all live on each coordinator, and away again."""
    count, there = bench.options.networks, defined_here(bench)
    primary = bench.cluster.settled_primary()
    make(bench, primary, range(there, count))
    standing(bench, primary, count)
    began = time.monotonic()
    bench.report.checked(f"all {count} are listed", defined_here(bench) == count)
    bench.report.measured(f"list of {count} networks", [(time.monotonic() - began) * MS])
    guest = bench.far_guest()
    with guest.ping() as ping:
        time.sleep(5)
    bench.report.measured(f"a guest's longest time without an answer beside {count} networks", [ping.gap() * MS])
    began = time.monotonic()
    undefine(bench, range(count))
    bench.report.measured(f"{count} networks removed", [(time.monotonic() - began) * MS])
    bench.report.checked("all are removed again", defined_here(bench) == 0)


def rules(bench):
    """A network's firewall is replaced by a thousand rules in one step."""
    cluster, count = bench.cluster, 1000
    primary = cluster.settled_primary()
    began = time.monotonic()
    bench.load_rules(bench.rules(count))
    stored = time.monotonic() - began
    source = re.compile(re.escape(bench.RULE_SOURCES) + r"\.\d+\.\d+")
    here = lambda: len(set(source.findall(cluster.inside(primary, "nft", "list", "table", "inet", "pvc"))))
    seen = wait_for("the rules in the kernel", lambda: here() or None, every=0.05)
    took = time.monotonic() - began
    bench.report.measured(f"{count} rules stored", [stored * MS])
    bench.report.measured(f"{count} rules in the primary's kernel", [took * MS], RULES_MS)
    bench.report.checked("they came in one step", seen >= count, f"{seen} were there when the first was")
    bench.load_rules([])
    wait_for("the rules are gone from the kernel", lambda: not here())
