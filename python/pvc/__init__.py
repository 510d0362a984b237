"""A client of PVC, the Parallel Virtual Cluster.

    import pvc

    with pvc.connect() as cluster:
        for vm in cluster.iterate(cluster.list_vms, node="hv1"):
            print(vm.meta.name, vm.spec.vcpus)
        cluster.wait(cluster.start_vm("web1"))

The guide is docs/python.md. Messages and enums are in `pvc.v1`.
"""

from pvc.client import TIMEOUT, Client
from pvc.connections import Connection, load
from pvc.errors import (
    AlreadyExists,
    CallError,
    Compacted,
    ConfigError,
    Conflict,
    DeadlineExceeded,
    Error,
    Exhausted,
    Invalid,
    NotFound,
    PermissionDenied,
    Refused,
    TaskFailed,
    Unauthenticated,
    Unavailable,
)
from pvc.watch import Watch

__all__ = [
    "AlreadyExists",
    "CallError",
    "Client",
    "Compacted",
    "ConfigError",
    "Conflict",
    "Connection",
    "DeadlineExceeded",
    "Error",
    "Exhausted",
    "Invalid",
    "NotFound",
    "PermissionDenied",
    "Refused",
    "TaskFailed",
    "Unauthenticated",
    "Unavailable",
    "Watch",
    "connect",
    "load",
]


def connect(name=None, timeout=TIMEOUT):
    """A client of the connection of this name, or of the default one, as `pvc -c NAME` chooses it."""
    return Client(load(name), timeout)
