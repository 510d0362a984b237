"""A cluster, as one object."""

import time
import uuid

import grpc

from pvc import v1
from pvc.coordinators import Coordinators
from pvc.errors import CallError, TaskFailed, call_error, of_rpc
from pvc.v1.api import METHODS, Api
from pvc.watch import FINAL, Watch

TIMEOUT = 30.0
# Before a task's broken stream is opened again.
FOLLOW_AGAIN_AFTER = 0.3


class Client(Api):
    """Reaches a cluster through any of its coordinators. May be used by several threads.

    `timeout` is seconds for a call with all its attempts, where the call says nothing else; for streams, until they
    begin.
    """

    def __init__(self, connection, timeout=TIMEOUT):
        self._coordinators = Coordinators(connection)
        self._timeout = timeout

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends all calls and connections."""
        self._coordinators.close()

    @property
    def leader(self):
        """The leader's address (host:port) as it was last told; None when it was not."""
        return self._coordinators.leader

    def iterate(self, method, *args, **kwargs):
        """All objects of a list, page by page: `client.iterate(client.list_vms, node="hv1")`."""
        token = ""
        while True:
            more = {"page_token": token} if token else {}
            answer = method(*args, **kwargs, **more)
            repeated = next(field for field in answer.DESCRIPTOR.fields if field.message_type)
            yield from getattr(answer, repeated.name)
            token = getattr(answer, "next_page_token", "")
            if not token:
                return

    def wait(self, task, *, timeout=None, progress=None):
        """Follows a task (or the name of one) to its end, and returns it as it ended.

        `progress` is called with every state on the way. Raises `pvc.TaskFailed` when it did not succeed, and
        `pvc.DeadlineExceeded` after `timeout` seconds; the task then goes on.
        """
        name = task if isinstance(task, str) else task.meta.name
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            states = self._states(name, deadline)
            try:
                for state in states:
                    if progress is not None:
                        progress(state)
                    if state.state != v1.TASK_STATE_RUNNING:
                        return _ended(state)
            except CallError as error:
                if error.code in FINAL:
                    raise
            finally:
                states.cancel()
            time.sleep(FOLLOW_AGAIN_AFTER)

    def _states(self, name, deadline):
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            detail = "it has not ended in the time that was given"
            raise call_error(grpc.StatusCode.DEADLINE_EXCEEDED, detail, subject=f"task/{name}")
        begin = self._timeout if left is None else min(self._timeout, left)
        request = v1.WatchTaskRequest(name=name)
        return _Stream(self._coordinators.stream(METHODS["watch_task"], request, begin, lasting=left))

    def _unary(self, method, request, timeout):
        if "request_id" in method.request.DESCRIPTOR.fields_by_name and not request.request_id:
            request.request_id = str(uuid.uuid4())
        return self._coordinators.unary(method, request, self._time(timeout))

    def _stream(self, method, request, timeout):
        return _Stream(self._coordinators.stream(method, request, self._time(timeout)))

    def _both_ways(self, method, requests, timeout):
        return _Stream(self._coordinators.both_ways(method, iter(requests), self._time(timeout)))

    def _watch(self, method, request, timeout):
        def opened(revision):
            again = method.request()
            again.CopyFrom(request)
            again.start_revision = revision
            return self._coordinators.stream(method, again, self._time(timeout))

        return Watch(opened, request.start_revision, method.answer)

    def _time(self, timeout):
        return self._timeout if timeout is None else timeout


def _ended(task):
    if task.state == v1.TASK_STATE_SUCCEEDED:
        return task
    state = v1.TaskState.Name(task.state).replace("TASK_STATE_", "").lower()
    raise TaskFailed(task, state)


class _Stream:
    """Answers, as they come; failures as exceptions of ours. `cancel` ends it from any thread."""

    def __init__(self, call):
        self._call = call
        self._over = False

    def __iter__(self):
        return self

    def __next__(self):
        try:
            return next(self._call)
        except grpc.RpcError as error:
            if self._over:
                raise StopIteration from None
            raise of_rpc(error) from None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cancel()

    def cancel(self):
        self._over = True
        self._call.cancel()
