"""Coordinators that are none: they speak TLS and gRPC as real ones do, keep a few VMs, and can be told to be
followers, to lose answers, to break watches off.

As a program (`python3 -m tests.fake FOLDER`) it serves until its stdin ends, for examples in other languages:
FOLDER gets ca.pem, admin.pem and admin.key, and the coordinators' addresses are printed.
"""

import pathlib
import queue
import sys
import threading
from concurrent import futures

import grpc

from pvc import details_pb2, v1
from pvc.v1 import cluster_pb2_grpc, task_pb2_grpc, vm_pb2_grpc
from tests.certificates import Authority

CUT = object()


class Cluster:
    """What all coordinators share."""

    def __init__(self, authority, size=3, token=None):
        self.authority = authority
        self.token = token
        self.lock = threading.RLock()
        self.revision = 100
        self.vms = {}
        self.changes = []
        self.done = {}
        self.tasks = {}
        self.calls = []
        self.watchers = []
        # How many answers to writes get lost after the write was made.
        self.lose_answers = 0
        # Called with each watch that is opened; may refuse it.
        self.on_watch = None
        self.coordinators = [Coordinator(self, f"hv{at + 1}") for at in range(size)]
        self.leader = self.coordinators[0]

    @property
    def addresses(self):
        return [coordinator.address for coordinator in self.coordinators]

    def stop(self):
        for coordinator in self.coordinators:
            coordinator.stop()

    def put(self, name, vcpus=1):
        """Makes or changes a VM."""
        with self.lock:
            self.revision += 1
            old = self.vms.get(name)
            uid = old.meta.uid if old else f"uid-{name}-{self.revision}"
            meta = v1.Meta(name=name, uid=uid, revision=self.revision)
            self.vms[name] = v1.Vm(meta=meta, spec=v1.VmSpec(vcpus=vcpus))
            kind = v1.CHANGE_KIND_UPDATED if old else v1.CHANGE_KIND_CREATED
            self.change(kind, self.vms[name])
            return self.vms[name]

    def remove(self, name):
        with self.lock:
            self.revision += 1
            self.change(v1.CHANGE_KIND_DELETED, self.vms.pop(name))

    def change(self, kind, vm):
        self.changes.append(v1.VmChange(kind=kind, vm=vm, revision=self.revision))
        self.tell(self.changes[-1])

    def tell(self, message):
        with self.lock:
            for watcher in self.watchers:
                watcher.put(message)

    def names(self, method):
        """Which coordinators were asked this, in order."""
        with self.lock:
            return [name for name, called in self.calls if called == method]


class Coordinator(
    vm_pb2_grpc.VmServiceServicer, task_pb2_grpc.TaskServiceServicer, cluster_pb2_grpc.ClusterServiceServicer
):
    def __init__(self, cluster, name, dns="pvc-coordinator"):
        self.cluster = cluster
        self.name = name
        certificate, key = cluster.authority.node(name, dns)
        mutual = cluster.token is None
        self.credentials = grpc.ssl_server_credentials([(key, certificate)], cluster.authority.ca, mutual)
        self.port = 0
        self.start()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        # As patient with pings as the real ones.
        options = [("grpc.so_reuseport", 0), ("grpc.http2.min_ping_interval_without_data_ms", 1000)]
        self.server = grpc.server(futures.ThreadPoolExecutor(max_workers=16), options=options)
        vm_pb2_grpc.add_VmServiceServicer_to_server(self, self.server)
        task_pb2_grpc.add_TaskServiceServicer_to_server(self, self.server)
        cluster_pb2_grpc.add_ClusterServiceServicer_to_server(self, self.server)
        self.port = self.server.add_secure_port(f"127.0.0.1:{self.port}", self.credentials)
        self.server.start()

    def stop(self):
        self.cluster.tell(CUT)
        self.server.stop(None).wait()

    def heard(self, method, context):
        with self.cluster.lock:
            self.cluster.calls.append((self.name, method))
        shown = dict(context.invocation_metadata()).get("authorization")
        if self.cluster.token and shown != f"Bearer {self.cluster.token}":
            refuse(context, grpc.StatusCode.UNAUTHENTICATED, "token-valid", "authorization", "this is no API token")

    def lead(self, context):
        leader = self.cluster.leader
        if leader is not self:
            hint = () if leader is None else (("pvc-leader", leader.address),)
            refuse(context, grpc.StatusCode.UNAVAILABLE, "not-leader", "cluster", "it does not lead", hint=hint)

    def WhoAmI(self, request, context):
        self.heard("WhoAmI", context)
        return v1.WhoAmIResponse(identity="admin/test", role=v1.ROLE_ADMIN, answered_by=self.name)

    def ListVms(self, request, context):
        self.heard("ListVms", context)
        with self.cluster.lock:
            names = sorted(name for name in self.cluster.vms if name > request.page_token)
            page = names[: request.page_size or 1000]
            more = page[-1] if len(page) < len(names) else ""
            vms = [self.cluster.vms[name] for name in page]
            return v1.ListVmsResponse(vms=vms, next_page_token=more, revision=self.cluster.revision)

    def GetVm(self, request, context):
        self.heard("GetVm", context)
        with self.cluster.lock:
            if request.name not in self.cluster.vms:
                there_is_none(context, request.name)
            return self.cluster.vms[request.name]

    def CreateVm(self, request, context):
        self.heard("CreateVm", context)
        self.lead(context)
        with self.cluster.lock:
            if request.request_id in self.cluster.done:
                return self.cluster.done[request.request_id]
            if request.name in self.cluster.vms:
                subject, help = f"vm/{request.name}", f"see `pvc vm info {request.name}`"
                refuse(context, grpc.StatusCode.ALREADY_EXISTS, "name-taken", subject, "the name is taken", help)
            made = self.cluster.put(request.name, request.spec.vcpus)
            self.cluster.done[request.request_id] = made
            lost = self.cluster.lose_answers > 0
            self.cluster.lose_answers -= lost
        if lost:
            refuse(context, grpc.StatusCode.UNAVAILABLE, "outcome-unknown", "cluster", "the outcome is not known")
        return made

    def StartVm(self, request, context):
        self.heard("StartVm", context)
        self.lead(context)
        with self.cluster.lock:
            if request.name not in self.cluster.vms:
                there_is_none(context, request.name)
            name = f"t{len(self.cluster.tasks) + 1}"
            task = v1.Task(meta=v1.Meta(name=name), kind="vm.start", subject=f"vm/{request.name}", stage="starting")
            task.state = v1.TASK_STATE_RUNNING
            self.cluster.tasks[name] = [task]
            return task

    def WatchTask(self, request, context):
        self.heard("WatchTask", context)
        self.lead(context)
        if request.name not in self.cluster.tasks:
            there_is_none(context, request.name)
        for state in list(self.cluster.tasks[request.name]):
            if state is CUT:
                with self.cluster.lock:
                    self.cluster.tasks[request.name].remove(CUT)
                context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
            yield state
        # A task that still runs: as long as the caller waits.
        while context.is_active() and self.cluster.tasks[request.name][-1].state == v1.TASK_STATE_RUNNING:
            threading.Event().wait(0.05)
        yield self.cluster.tasks[request.name][-1]

    def WatchVms(self, request, context):
        self.heard("WatchVms", context)
        if self.cluster.on_watch:
            self.cluster.on_watch(context)
        news = queue.Queue()
        context.add_callback(lambda: news.put(CUT))
        with self.cluster.lock:
            if request.start_revision == 0:
                listed = [self.cluster.vms[name] for name in sorted(self.cluster.vms)]
                for vm in listed:
                    news.put(v1.VmChange(kind=v1.CHANGE_KIND_CREATED, vm=vm, revision=self.cluster.revision))
                news.put(v1.VmChange(kind=v1.CHANGE_KIND_BOOKMARK, revision=self.cluster.revision))
            else:
                for change in self.cluster.changes:
                    if change.revision > request.start_revision:
                        news.put(change)
            self.cluster.watchers.append(news)
        context.send_initial_metadata(())
        for message in iter(news.get, CUT):
            yield message
        with self.cluster.lock:
            self.cluster.watchers.remove(news)
        if context.is_active():
            context.abort(grpc.StatusCode.UNAVAILABLE, "cut")

    def TailVmLog(self, request, context):
        self.heard("TailVmLog", context)
        yield v1.LogChunk(data=b"one\n")
        yield v1.LogChunk(data=b"two\n")
        if request.follow:
            refuse(context, grpc.StatusCode.UNAVAILABLE, "unreachable", "node/hv1", "the node is gone")

    def Console(self, requests, context):
        self.heard("Console", context)
        vm = next(requests).vm
        yield v1.ConsoleOutput(data=f"{vm}: ".encode())
        for typed in requests:
            yield v1.ConsoleOutput(data=typed.data.upper())


def refuse(context, code, rule, subject, detail, help="", hint=()):
    """Ends the call as the cluster refuses."""
    said = {key: value for key, value in (("subject", subject), ("detail", detail), ("help", help)) if value}
    info = details_pb2.ErrorInfo(reason=rule, domain="pvc", metadata=said)
    status = details_pb2.Status(code=code.value[0], message=f"{subject}: {detail}")
    status.details.add(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=info.SerializeToString())
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()), *hint))
    context.abort(code, status.message)


def compacted(context):
    refuse(context, grpc.StatusCode.OUT_OF_RANGE, "compacted", "watch", "this revision is too long ago")


def there_is_none(context, name):
    refuse(context, grpc.StatusCode.NOT_FOUND, "object-exists", f"vm/{name}", "there is none", "see `pvc vm list`")


def main(folder):
    authority = Authority(folder)
    authority.admin("admin")
    cluster = Cluster(authority)
    cluster.leader = cluster.coordinators[1]
    for name in ("db1", "web1", "web2"):
        cluster.put(name, 2)
    print(*cluster.addresses, sep=",", flush=True)
    sys.stdin.read()
    cluster.stop()


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
