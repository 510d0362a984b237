"""The local cluster that is measured, and its guests, by the programs that people use."""

import glob
import json
import os
import re
import shutil
import subprocess
import sys
import time

import failover
from . import probe

SHARED = "/var/lib/pvc/volumes/shared"
ECHO_PORT = 7
SHELL_PORT = 2323
PATIENCE_SECONDS = 120
# How a guest's kernel says that it can't go on, and how soon: its own watchdog looks every 26 s.
DEATHS = re.compile("soft lockup|is not a head|Kernel panic|Oops")
LOCKUP_TOLD_WITHIN = 60


class Refused(Exception):
    """A command that did not do what it was asked."""


def wait_for(what, look, patience=PATIENCE_SECONDS, every=0.1):
    """What `look` finds, as soon as it finds something."""
    end = time.monotonic() + patience
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise Refused(f"not within {patience:.0f} s: {what}")
        time.sleep(every)


class Cluster(failover.Cluster):
    """Four hosts: three coordinators, and hv4, a plain hypervisor."""

    HOSTS = ("hv1", "hv2", "hv3", "hv4")
    COORDINATORS = HOSTS[:3]

    def __init__(self, options):
        super().__init__(options.name, options.profile)
        self.state = options.state
        self.guest = options.guest

    def up(self):
        self.local("up", "--hosts", str(len(self.HOSTS)), "--voters", str(len(self.COORDINATORS)))
        self.seen = self.status()
        # IPv4 and IPv6.
        self.outside = [address.split("/")[0] for address in self.seen["router"]["behind"]]

    def down(self):
        self.local("down", check=False)

    def local_text(self, *words):
        command = [f"{self.bin}/pvc-bootstrap", "local", "--name", self.name, "--state", self.state, *words]
        return checked(command)

    def local(self, *words, check=True):
        return super().local("--state", self.state, *words, check=check)

    def status(self):
        return json.loads(self.local_text("status", "-o", "json"))

    def namespace(self, host):
        return f"pvc-{self.name}-{host}"

    @property
    def router(self):
        return self.namespace("router")

    def router_says(self, show):
        """FRRouting's answer on the router, as JSON."""
        return json.loads(checked(["vtysh", "--vty_socket", f"/run/{self.router}", "-c", f"{show} json"]) or "{}")

    def inside(self, host, *words):
        """What a program on a host says."""
        return self.local_text("exec", host, *words)

    def begin(self, host, *words):
        """A program on a host that goes on by itself."""
        command = [f"{self.bin}/pvc-bootstrap", "local", "--name", self.name, "--state", self.state, "exec", host]
        return subprocess.Popen([*command, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def do(self, *words):
        """A command of `pvc` that must succeed."""
        return checked([f"{self.bin}/pvc", "--connection", self.name, *words])

    def ask(self, *words):
        """The same for what is asked as JSON."""
        return json.loads(self.do(*words, "-o", "json"))

    def primary(self):
        return self.ask("cluster", "status").get("primary", {}).get("node", "")

    def settled_primary(self):
        """The primary, once it has taken over all of its role."""

        def look():
            primary = self.ask("cluster", "status").get("primary", {})
            return primary.get("node") if primary.get("phase", "").endswith("HOLDING") else None

        return wait_for("a primary that holds its role", look)

    def address(self, host):
        """In the cluster's network."""
        return next(known["address"] for known in self.seen["hosts"] if known["host"] == host)

    def upstream_addresses(self, host):
        """IPv4 and IPv6, in the upstream network."""
        known = next(known for known in self.seen["hosts"] if known["host"] == host)
        return known["upstream_address"], known["upstream_address_v6"]

    def lay_out_guest(self):
        """The little guest's files, where all hosts see them."""
        folder = os.path.join(self.state, self.name, "shared", "guest")
        os.makedirs(folder, exist_ok=True)
        for name in ("vmlinuz", "initramfs.cpio"):
            shutil.copyfile(os.path.join(self.guest, name), os.path.join(folder, name))

    def keep_logs(self, folder):
        """What hosts' daemons and the router have said, for whoever wants to know why something took its time."""
        os.makedirs(folder, exist_ok=True)
        for log in glob.glob(f"{self.state}/{self.name}/hosts/*/var-log-pvc/*.log"):
            host, name = log.split("/")[-3], os.path.basename(log)
            shutil.copyfile(log, f"{folder}/{host}-{name}")
        for log in glob.glob(f"/run/{self.router}/*.log"):
            shutil.copyfile(log, f"{folder}/router-{os.path.basename(log)}")


def checked(command, patience=180, codes=(0,)):
    """What a program says that ends with one of these codes."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=patience)
    if done.returncode not in codes:
        said = (done.stderr or done.stdout).strip()[-600:]
        raise Refused(f"{' '.join(command[1:])[:200]}: {said}")
    return done.stdout


def dig(namespace, server, *question):
    """The answer's lines, short for one name and whole for a zone; none where the server refuses."""
    words = ["dig", f"@{server}", "+time=2", "+tries=2", "+noall", "+answer"]
    words += [] if "AXFR" in question else ["+short"]
    enter = ["ip", "netns", "exec", namespace] if namespace else []
    done = checked([*enter, *words, *question], codes=(0, 9))
    return [line for line in done.splitlines() if line and not line.startswith(";")]


class Guest:
    """A VM with the little guest in it, which asks DHCP."""

    def __init__(self, cluster, name, network, host):
        self.cluster = cluster
        self.name = name
        self.network = network
        self.home = host
        self.v4 = self.v6 = None

    def define(self):
        at = f"{SHARED}/guest"
        words = f"console=ttyS0 quiet pvc.name={self.name} pvc.dhcp6 pvc.echo={ECHO_PORT} pvc.shell={SHELL_PORT}"
        boot = ["--kernel", f"{at}/vmlinuz", "--initrd", f"{at}/initramfs.cpio", "--cmdline", words]
        nic = ["--nic", f"network={self.network}"]
        self.cluster.do("vm", "define", self.name, "--vcpus", "1", "--memory", "128M", *nic, *boot)

    def start(self):
        self.cluster.do("vm", "start", self.name, "--node", self.home)

    def addresses(self):
        """What it was lent; None as long as one of the families is missing."""
        leases = self.cluster.ask("network", "lease", "list", str(self.network)).get("leases", [])
        lent = [lease["address"] for lease in leases if lease.get("hostname") == self.name]
        self.v4 = next((address for address in lent if "." in address), None)
        self.v6 = next((address for address in lent if ":" in address), None)
        return (self.v4, self.v6) if self.v4 and self.v6 else None

    def has_set(self):
        """The addresses that it says it has."""
        return set(re.findall(r"inet6? (\S+)/", self.shell("ip -o addr show scope global")))

    def node(self):
        return self.cluster.ask("vm", "info", self.name)["status"]["placement"]["node"]

    # From the place behind the router: around the link to the router itself no route leads.
    def ping(self, v6=False):
        return probe.Ping(self.cluster.router, self.v6 if v6 else self.v4, self.cluster.outside[v6])

    def echo(self):
        return probe.Echo(self.cluster.router, self.v4, ECHO_PORT, self.cluster.outside[0])

    def answers(self, patience=2.0):
        """Whether one ping from outside is answered in time."""
        return probe.answers_ping(self.cluster.router, self.v4, self.cluster.outside[0], patience)

    def shell(self, script):
        """What its open shell says, asked through the gateway."""
        return probe.shell(self.cluster.router, self.v4, SHELL_PORT, script)

    def kernel_died(self):
        """What its kernel says of its end, once it says so; None: it lives, and something else is wrong."""

        def says():
            lines = self.cluster.do("vm", "log", self.name, "--lines", "40").splitlines()
            return next((line for line in lines if DEATHS.search(line)), None)

        try:
            return wait_for("a word of the guest's kernel about its end", says, patience=LOCKUP_TOLD_WITHIN, every=1)
        except Refused:
            return None

    def start_anew(self, host):
        """Off at once, and on again there."""
        self.cluster.do("vm", "stop", "-y", self.name)
        self.home = host
        self.start()
        wait_for(f"{self.name} answers again", self.answers)

    def migrate(self, host):
        self.cluster.do("vm", "migrate", self.name, "--node", host)
