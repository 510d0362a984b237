"""The way past several coordinators: the likeliest is asked first, then the next, until one answers or there is no
time left. The leader is followed by its hint.

A call whose request is one message is sent again: writes carry a request id, so that the cluster makes them once.
"""

import ipaddress
import random
import threading
import time

import grpc

from pvc.errors import call_error, of_rpc

# Metadata of an answer: the leader's address (host:port).
LEADER_HINT = "pvc-leader"
# The DNS name that every node's certificate carries. grpcio knows no other way to name a peer; that the chain ends
# at the cluster's own CA and that the name is this one is all that it checks, and no person's certificate has it.
TLS_NAME = "pvc-coordinator"
# Coordinators that are remembered, those learned from hints with them.
KNOWN_MAX = 16
BACK_OFF_FIRST = 0.1
BACK_OFF_MAX = 2.0
# An attempt gets this part of what is left of the deadline, but no less than the second.
ATTEMPT_PART = 0.25
ATTEMPT_MIN = 2.0
ANSWER_BYTES_MAX = 256 << 20

# How releases of grpcio from 1.51 to 1.85 say that a certificate was not accepted. Where none of these is said any
# more, an impostor is as one who is not there: asked until the deadline.
UNTRUSTED = ("certificate verify failed", "CERTIFICATE_VERIFY_FAILED", "Peer name", "Hostname Verification")

OPTIONS = [
    ("grpc.ssl_target_name_override", TLS_NAME),
    ("grpc.max_receive_message_length", ANSWER_BYTES_MAX),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Both are done here, or not at all.
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
]


class Coordinators:
    """All coordinators that are known, and what was learned of them. May be used by several threads."""

    def __init__(self, connection):
        self._credentials = grpc.ssl_channel_credentials(connection.ca, connection.key, connection.certificate)
        self._metadata = (("authorization", f"Bearer {connection.token}"),) if connection.token else ()
        self._lock = threading.Lock()
        self._channels = dict.fromkeys(connection.coordinators)
        self._good = None
        self._leader = None

    @property
    def leader(self):
        """The leader's address as it was last told."""
        return self._leader

    def close(self):
        with self._lock:
            channels = [channel for channel in self._channels.values() if channel]
            self._channels = dict.fromkeys(self._channels)
        for channel in channels:
            channel.close()

    def unary(self, method, request, timeout):
        """One message, one answer; sent again for as long as there is time."""

        def attempt(channel, seconds):
            call = channel.unary_unary(method.path, method.request.SerializeToString, method.answer.FromString)
            answer, done = call.with_call(request, timeout=seconds, metadata=self._metadata)
            self._learn(done.initial_metadata(), done.trailing_metadata())
            return answer

        return self._tour(method.leader, timeout, attempt)

    def stream(self, method, request, timeout, lasting=None):
        """Opens a stream of answers; the open call. `timeout` is until it begins, `lasting` to its end."""

        def attempt(channel, seconds):
            call = channel.unary_stream(method.path, method.request.SerializeToString, method.answer.FromString)
            return self._opened(call(request, timeout=lasting, metadata=self._metadata), seconds)

        return self._tour(method.leader, timeout, attempt)

    def both_ways(self, method, requests, timeout):
        """Opens a stream both ways. What the caller streams can't be sent twice: the first coordinator that can be
        reached is the only one that hears it.
        """

        def attempt(channel, seconds):
            try:
                grpc.channel_ready_future(channel).result(seconds)
            except grpc.FutureTimeoutError:
                return None
            call = channel.stream_stream(method.path, method.request.SerializeToString, method.answer.FromString)
            return self._opened(call(requests, metadata=self._metadata), seconds)

        return self._tour(method.leader, timeout, attempt, once=True)

    def _opened(self, call, seconds):
        """Waits for the answer's head: from then on the stream is under way."""
        timer = threading.Timer(seconds, call.cancel)
        timer.daemon = True
        timer.start()
        try:
            call.initial_metadata()
        finally:
            timer.cancel()
        # A stream that was refused has ended by now; one that ended well may still hold its answers.
        if not call.is_active() and call.code() is not grpc.StatusCode.OK:
            raise call
        # Not what comes last: that would be waited for.
        self._learn(call.initial_metadata())
        return call

    def _tour(self, leader, budget, attempt, once=False):
        deadline = time.monotonic() + budget
        asked, troubles, rounds = set(), {}, 0
        while True:
            address = next((one for one in self._order(leader) if one not in asked), None)
            if address is None:
                pause = min(BACK_OFF_MAX, BACK_OFF_FIRST * 2 ** min(rounds, 8)) * random.uniform(0.5, 1)
                hopeless = all(trouble.untrusted for trouble in troubles.values())
                if hopeless or time.monotonic() + pause >= deadline:
                    raise _failure(troubles, budget)
                time.sleep(pause)
                rounds += 1
                asked.clear()
                continue
            left = deadline - time.monotonic()
            try:
                answer = attempt(self._channel(address), min(left, max(left * ATTEMPT_PART, ATTEMPT_MIN)))
            except grpc.RpcError as error:
                self._learn(error.initial_metadata(), error.trailing_metadata())
                trouble = _Trouble.of(error)
                if trouble is None:
                    raise of_rpc(error) from None
                spent = once
            else:
                if answer is not None:
                    self._good = address
                    return answer
                trouble = _Trouble(grpc.StatusCode.UNAVAILABLE, "could not be reached")
                spent = False
            self._forget(address)
            asked.add(address)
            troubles[address] = trouble
            if spent or time.monotonic() >= deadline:
                raise _failure(troubles, budget)

    def _order(self, leader):
        """All addresses, the likeliest first."""
        with self._lock:
            first = [self._leader] if leader and self._leader else []
            first += [self._good] if self._good else []
            return list(dict.fromkeys([*first, *self._channels]))

    def _channel(self, address):
        with self._lock:
            channel = self._channels.get(address)
            if channel is None:
                channel = grpc.secure_channel(_target(address), self._credentials, OPTIONS)
                if address in self._channels or len(self._channels) < KNOWN_MAX:
                    self._channels[address] = channel
            return channel

    def _forget(self, address):
        """It is not asked first any more."""
        if self._good == address:
            self._good = None
        if self._leader == address:
            self._leader = None

    def _learn(self, *metadata):
        for key, value in (pair for pairs in metadata for pair in pairs or ()):
            if key == LEADER_HINT and value.rpartition(":")[0]:
                self._leader = value


class _Trouble:
    """Why one coordinator did not answer."""

    def __init__(self, code, detail, untrusted=False, answer=None):
        self.code = code
        self.detail = detail
        # Its certificate was not accepted: asking again does not help.
        self.untrusted = untrusted
        # It did answer: that it can't now.
        self.answer = answer

    @classmethod
    def of(cls, error):
        """None: it has answered, and another would say the same."""
        code, detail = error.code(), error.details() or ""
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return cls(code, "did not answer")
        # Cancelled by the timer of an attempt; who else cancels does not wait for an answer.
        if code is grpc.StatusCode.CANCELLED:
            return cls(grpc.StatusCode.DEADLINE_EXCEEDED, "did not answer")
        if code is not grpc.StatusCode.UNAVAILABLE:
            return None
        said = of_rpc(error)
        if said.rule:
            return cls(code, said.detail, answer=said)
        return cls(code, detail, untrusted=any(words in detail for words in UNTRUSTED))


def _failure(troubles, budget):
    """What the caller is told when there is no time left."""
    told = [trouble.answer for trouble in troubles.values() if trouble.answer]
    if told:
        return told[-1]
    reasons = "; ".join(f"{address}: {trouble.detail}" for address, trouble in troubles.items())
    if troubles and all(trouble.untrusted for trouble in troubles.values()):
        return call_error(grpc.StatusCode.UNAUTHENTICATED, f"no coordinator can be trusted: {reasons}")
    silent = any(trouble.code is grpc.StatusCode.DEADLINE_EXCEEDED for trouble in troubles.values())
    code = grpc.StatusCode.DEADLINE_EXCEEDED if silent else grpc.StatusCode.UNAVAILABLE
    return call_error(code, f"no coordinator answered within {budget:.1f} s: {reasons or 'none is known'}")


def _target(address):
    """An address as grpc wants it: it would take the name before the colon for a scheme."""
    host, _, _ = address.rpartition(":")
    try:
        version = ipaddress.ip_address(host.strip("[]")).version
    except ValueError:
        return f"dns:///{address}"
    return f"ipv{version}:{address}"
