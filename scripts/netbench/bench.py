"""The cluster with its network and its guests, as all parts of the measurement use them."""

import json
import re
import tempfile

from .cluster import Cluster, Guest, dig, wait_for
from .report import Report

# Seconds for which a guest that leaves may be on its way.
PAUSE_TOLD_WITHIN = 60


class Bench:
    vni = 1001
    domain = "bench.test"
    v4 = "10.10.1.0/24"
    v6 = "fd10:1::/64"
    # What the sources of its rules begin with.
    RULE_SOURCES = "10.66"

    def __init__(self, options):
        self.options = options
        self.cluster = Cluster(options)
        self.report = Report()
        self._guests = None

    def found(self):
        """The cluster, its routers' sessions, and the network; guests come with the first part that looks at them."""
        self.cluster.up()
        self.cluster.lay_out_guest()
        seen = self.cluster.seen
        if not self.fabric().get("peers"):
            router = seen["router"]
            for name, address in (("outside", router["address"]), ("outside6", router["address_v6"])):
                self.cluster.do("network", "peer", "add", name, address, "--asn", str(router["asn"]))
            secondary = ["--zone-secondary", seen["machine_address"]]
            self.cluster.do("network", "fabric", "set", "--forwarder", router["address"], *secondary)
        if self.vni not in self.defined():
            v4 = ["-i", self.v4, "-g", "10.10.1.1", "--dhcp", "10.10.1.100-10.10.1.199"]
            v6 = ["--subnet6", self.v6, "--gateway6", "fd10:1::1", "--dhcp6", "fd10:1::100-fd10:1::1ff"]
            self.cluster.do("network", "add", str(self.vni), "-d", "bench", "-n", self.domain, *v4, *v6)

    def fabric(self):
        return self.cluster.ask("network", "fabric", "info").get("fabric", {})

    def defined(self):
        """Numbers of the networks that are defined."""
        return {network["vni"] for network in self.cluster.ask("network", "list").get("networks", [])}

    def leases(self):
        return self.cluster.ask("network", "lease", "list", str(self.vni)).get("leases", [])

    def guests(self):
        """Three guests on three hosts, each with its addresses."""
        if self._guests is None:
            homes = ("hv1", "hv2", "hv4")
            guests = [Guest(self.cluster, f"guest{number}", self.vni, host) for number, host in enumerate(homes, 1)]
            there = {vm["meta"]["name"]: vm for vm in self.cluster.ask("vm", "list").get("vms", [])}
            for guest in guests:
                if guest.name not in there:
                    guest.define()
                if not there.get(guest.name, {}).get("status", {}).get("phase", "").endswith("RUNNING"):
                    guest.start()
            for guest in guests:
                wait_for(f"{guest.name} says its addresses: {guest.last_words()}", guest.addresses)
            self._guests = guests
        for guest in self._guests:
            wait_for(f"{guest.name} answers from outside at {guest.v4}", guest.answers)
        return self._guests

    def far_guest(self):
        """The guest that began on a plain hypervisor."""
        return self.guests()[-1]

    def empty_coordinator(self):
        """A coordinator on which none of the guests is."""
        full = {guest.node() for guest in self.guests()}
        return [host for host in self.cluster.COORDINATORS if host not in full][-1]

    def known(self):
        """Leases and names, as the store and the primary's name server tell them, without what only grows."""
        leases = sorted((lease["address"], lease.get("mac", ""), lease.get("hostname", "")) for lease in self.leases())
        server = self.cluster.address(self.cluster.primary())
        names = sorted(self.zone(server))
        return leases, names

    def zone(self, server):
        """The zone as a secondary copies it, less its serial."""
        return [line for line in dig(None, server, self.domain, "AXFR") if "\tSOA\t" not in line]

    def announced(self):
        """What the cluster may announce."""
        networks = self.cluster.ask("network", "list").get("networks", [])
        return {network["spec"]["managed"].get("ipv4", {}).get("subnet", "") for network in networks}

    def wait_for_routes(self):
        """Until the router outside has the network from every coordinator, and each of them is heard."""
        count = len(self.cluster.COORDINATORS)
        paths = lambda: self.cluster.router_says(f"show bgp ipv4 unicast {self.v4}").get("paths", [])
        wait_for("the network's routes from all coordinators", lambda: len(paths()) == count)
        links = lambda: [peer.get("status") for peer in self.cluster.router_says("show bfd peers")]
        watched = lambda: len(links()) == 2 * count and set(links()) == {"up"}
        wait_for("all links to the router are watched", watched)
        heard = lambda: all(host["reachability"] == "reachable" for host in self.cluster.status()["hosts"])
        wait_for("all hosts are heard", heard, every=1)

    def evpn_established(self, host):
        """Whether a host speaks EVPN to each coordinator but itself."""
        text = self.cluster.inside(host, "sh", "-c", "vtysh -c 'show bgp l2vpn evpn summary json' 2>/dev/null; true")
        peers = json.loads(text or "{}").get("peers", {}).values() if text.strip().startswith("{") else []
        want = len([other for other in self.cluster.COORDINATORS if other != host])
        return sum(peer.get("state") == "Established" for peer in peers) >= want

    def watch_pause(self, host):
        """What tells in the end how long the hypervisor of this host held a guest that left it."""
        order = ["virsh", "-q", "event", "--event", "job-completed", "--timeout", str(PAUSE_TOLD_WITHIN)]
        return self.cluster.begin(host, *order)

    def pause(self, watch):
        """Milliseconds; 0 where the hypervisor does not say."""
        said, _ = watch.communicate()
        found = re.search(r"downtime: (\d+)", said)
        return float(found[1]) if found else 0.0

    def load_rules(self, rules):
        """Gives the network these rules, in one step."""
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump({"rules": rules}, file)
            file.flush()
            self.cluster.do("network", "acl", "load", str(self.vni), file.name)

    def rules(self, count):
        """So many rules, none of which concerns the guests."""
        return [
            {
                "name": f"r{number}",
                "direction": "ACL_DIRECTION_IN",
                "order": number,
                "protocol": "ACL_PROTOCOL_TCP",
                "sources": [f"{self.RULE_SOURCES}.{number // 250}.{number % 250 + 1}"],
                "ports": [{"first": 22}],
                "action": "ACL_ACTION_DROP",
            }
            for number in range(count)
        ]
