"""What the generated methods stand on."""

import typing


class Method(typing.NamedTuple):
    """One public method."""

    # "/pvc.v1.VmService/ListVms"
    path: str
    request: type
    answer: type
    # Only the leader serves it: it is asked first.
    leader: bool


class Caller:
    """How the generated methods make their calls; `pvc.Client` does it."""

    def _unary(self, method, request, timeout):
        raise NotImplementedError

    def _stream(self, method, request, timeout):
        raise NotImplementedError

    def _both_ways(self, method, requests, timeout):
        raise NotImplementedError

    def _watch(self, method, request, timeout):
        raise NotImplementedError
