"""Probes that are sent from a network namespace of this machine, and how long they were without an answer.

Each runs in a thread of its own, which alone enters the namespace: whatever else the program does stays where it was.
"""

import ctypes
import os
import select
import socket
import struct
import threading
import time

EVERY_SECONDS = 0.005
# A probe that ends waits so long for the last answers.
LINGER_SECONDS = 0.3
_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000


def enter(namespace):
    """The calling thread's sockets are of this namespace from now on; None: of the machine's own."""
    if namespace is None:
        return
    file = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if _libc.setns(file, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"could not enter {namespace}")
    finally:
        os.close(file)


def inside(namespace, work):
    """What `work` gives in the namespace; what it raises is raised here."""
    box = {}

    def run():
        try:
            enter(namespace)
            box["value"] = work()
        except Exception as error:  # handed on below
            box["error"] = error

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if "error" in box:
        raise box["error"]
    return box["value"]


class Probe(threading.Thread):
    """Asks every 5 ms and remembers when answers came. As a context: asks until its end."""

    def __init__(self, namespace):
        super().__init__(daemon=True)
        self.namespace = namespace
        self.sent = 0
        self.answers = []
        self.began = None
        self.ended = None
        self.error = None
        self._over = threading.Event()
        self._ready = threading.Event()

    def __enter__(self):
        self.start()
        self._ready.wait()
        if self.error:
            raise self.error
        return self

    def __exit__(self, *_):
        self._over.set()
        self.join()

    def run(self):
        try:
            enter(self.namespace)
            connection = self.connect()
        except OSError as error:
            self.error = error
            self._ready.set()
            return
        self.began = time.monotonic()
        self._ready.set()
        due, linger = self.began, None
        while linger is None or time.monotonic() < linger:
            now = time.monotonic()
            if self._over.is_set() and linger is None:
                linger = now + LINGER_SECONDS
                self.ended = now
            if linger is None and now >= due:
                self.ask(connection, self.sent)
                self.sent += 1
                due = max(due + EVERY_SECONDS, now - 10 * EVERY_SECONDS)
            wait = EVERY_SECONDS if linger is not None else max(0.0, due - time.monotonic())
            if select.select([connection], [], [], wait)[0]:
                self.heard(connection)
        connection.close()

    def note(self, count=1):
        self.answers.extend([time.monotonic()] * count)

    def gap(self, since=None):
        """The longest time without an answer, seconds, from `since` (monotonic) or the first answer on."""
        times = [at for at in self.answers if since is None or at >= since]
        before = [at for at in self.answers if since is not None and at < since]
        marks = before[-1:] + times
        if not marks:
            return (self.ended or time.monotonic()) - self.began
        until = max(self.ended or time.monotonic(), marks[-1])
        marks.append(until)
        return max(later - earlier for earlier, later in zip(marks, marks[1:]))

    def wait_for_answers(self, count, patience):
        """Whether so many further answers come in time."""
        want, end = len(self.answers) + count, time.monotonic() + patience
        while len(self.answers) < want and time.monotonic() < end:
            time.sleep(0.01)
        return len(self.answers) >= want


class Ping(Probe):
    """ICMP echo to an address of either family, from an address of the namespace's, where one is named."""

    def __init__(self, namespace, address, source=None):
        super().__init__(namespace)
        self.address = address
        self.source = source
        self.v6 = ":" in address
        self.id = (os.getpid() ^ id(self)) & 0xFFFF

    def connect(self):
        family, protocol = (
            (socket.AF_INET6, socket.IPPROTO_ICMPV6) if self.v6 else (socket.AF_INET, socket.IPPROTO_ICMP)
        )
        connection = socket.socket(family, socket.SOCK_RAW, protocol)
        if self.source:
            connection.bind((self.source, 0))
        connection.setblocking(False)
        return connection

    def ask(self, connection, number):
        kind = 128 if self.v6 else 8
        body = struct.pack("!HHd", self.id, number & 0xFFFF, time.monotonic())
        # The kernel computes the sum of ICMPv6.
        check = 0 if self.v6 else checksum(struct.pack("!BBH", kind, 0, 0) + body)
        try:
            connection.sendto(struct.pack("!BBH", kind, 0, check) + body, (self.address, 0))
        except OSError:
            # No route now: as good as lost.
            pass

    def heard(self, connection):
        packet = connection.recv(2048)
        if not self.v6:
            packet = packet[(packet[0] & 0xF) * 4 :]
        if len(packet) < 8 or packet[0] != (129 if self.v6 else 0):
            return
        if struct.unpack("!H", packet[4:6])[0] == self.id:
            self.note()


class Echo(Probe):
    """One TCP stream to a guest's echo port: what is sent comes back, in order, as soon as it can."""

    PIECE = 16

    def __init__(self, namespace, address, port, source=None):
        super().__init__(namespace)
        self.address = address
        self.source = (source, 0) if source else None
        self.port = port
        self.rest = 0
        self.broken = None

    def connect(self):
        connection = socket.create_connection((self.address, self.port), 10, self.source)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        return connection

    def ask(self, connection, number):
        try:
            connection.send(struct.pack("!QQ", number, 0))
        except BlockingIOError:
            # The stream stands still, and what it holds is enough to see when it goes on.
            pass
        except OSError as error:
            self.broken = self.broken or error

    def heard(self, connection):
        try:
            data = connection.recv(65536)
        except OSError as error:
            self.broken = self.broken or error
            data = b""
        if not data:
            time.sleep(EVERY_SECONDS)
            return
        self.rest += len(data)
        self.note(self.rest // self.PIECE)
        self.rest %= self.PIECE


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def answers_ping(namespace, address, source=None, patience=2.0):
    """Whether one ping is answered in time."""
    with Ping(namespace, address, source) as ping:
        return ping.wait_for_answers(1, patience)


def shell(namespace, address, port, script, patience=30):
    """What a guest's open shell says to a script."""

    def work():
        with socket.create_connection((address, port), timeout=patience) as connection:
            connection.settimeout(patience)
            connection.sendall(script.encode() + b"\nexit\n")
            said = b""
            while piece := connection.recv(65536):
                said += piece
            return said.decode(errors="replace")

    return inside(namespace, work)
