"""A watch that goes on: opened again where it broke off, begun anew with a list where that is too long ago.

It knows what it has told. So nothing is told twice that has not changed, and what was deleted while it was away
is told as deleted: who follows a watch has what the cluster has.
"""

import random
import threading

import grpc

from pvc import v1
from pvc.errors import CallError, Compacted, of_rpc

BACK_OFF_FIRST = 0.1
BACK_OFF_MAX = 5.0
# Asking again does not help.
FINAL = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.FAILED_PRECONDITION,
}


class Watch:
    """Changes, as an iterator without end: `for change in client.watch_vms(): …`.

    Without `start_revision` it begins with all that is there, as CREATED. With one (a list's `revision`) it begins
    after it, and raises `pvc.Compacted` when that is too long ago: only its caller knows what was in that list.
    `cancel` ends it from any thread; so does leaving its `with`.
    """

    def __init__(self, opened, start_revision, change):
        # Opens the watch at a revision.
        self._opened = opened
        self._start = start_revision
        self._change = change
        self._field = next(field.name for field in change.DESCRIPTOR.fields if field.message_type)
        self._known = {}
        self._call = None
        self._over = threading.Event()
        self._changes = self._run()
        # All up to here has been told; 0: not all of the list yet.
        self.revision = start_revision

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._changes)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cancel()

    def cancel(self):
        self._over.set()
        call = self._call
        if call is not None:
            call.cancel()

    def _run(self):
        failures = 0
        while not self._over.is_set():
            try:
                self._call = self._opened(self.revision)
                if self._over.is_set():
                    self._call.cancel()
                telling, listed = self.revision, set()
                for message in self._call:
                    failures = 0
                    if message.kind == v1.CHANGE_KIND_BOOKMARK:
                        if self.revision == 0:
                            yield from self._gone(listed, message.revision)
                        self.revision = telling = message.revision
                        continue
                    if self.revision == 0:
                        listed.add(getattr(message, self._field).meta.uid)
                    elif message.revision > telling:
                        # What went before is complete. Within a list nothing is, before its bookmark.
                        self.revision, telling = telling, message.revision
                    if self._is_news(message):
                        yield message
            except grpc.RpcError as error:
                self._judge(of_rpc(error))
            except CallError as error:
                self._judge(error)
            pause = min(BACK_OFF_MAX, BACK_OFF_FIRST * 2 ** min(failures, 8))
            failures += 1
            self._over.wait(pause * random.uniform(0.5, 1))

    def _judge(self, error):
        if self._over.is_set():
            return
        if isinstance(error, Compacted):
            if self._start != 0:
                raise error
            self.revision = 0
        elif error.code in FINAL:
            raise error

    def _is_news(self, message):
        """Remembers a change; False when it was told before."""
        thing = getattr(message, self._field)
        uid = thing.meta.uid
        before = self._known.get(uid)
        if message.kind == v1.CHANGE_KIND_DELETED:
            self._known.pop(uid, None)
            return before is not None or self._start != 0
        if before == thing:
            return False
        self._known[uid] = thing
        if before is not None:
            message.kind = v1.CHANGE_KIND_UPDATED
        elif self._start == 0:
            message.kind = v1.CHANGE_KIND_CREATED
        return True

    def _gone(self, listed, revision):
        """After a list: what was there before, and is not any more."""
        for uid in [uid for uid in self._known if uid not in listed]:
            thing = self._known.pop(uid)
            yield self._change(kind=v1.CHANGE_KIND_DELETED, revision=revision, **{self._field: thing})
