"""What goes wrong, as exceptions. All of them are `pvc.Error`."""

import grpc

from pvc import details_pb2

# The domain of the cluster's own google.rpc.ErrorInfo.
DOMAIN = "pvc"
DETAILS = "grpc-status-details-bin"


class Error(Exception):
    """Anything of this package."""


class ConfigError(Error):
    """A connection that can't be used, before anything was asked."""


class TaskFailed(Error):
    """A task that did not succeed; `task` is as it ended."""

    def __init__(self, task, state):
        super().__init__(f"{task.subject}: {task.kind} {state}: {task.message}".rstrip(": "))
        self.task = task


class CallError(Error):
    """What a coordinator answered, or why none did."""

    def __init__(self, code, detail, rule="", subject="", help=""):
        self.code = code
        # The rule that refused: "name-taken". Empty when it was no rule of the cluster.
        self.rule = rule
        # "vm/web1"; may be empty.
        self.subject = subject
        # Why, in a sentence.
        self.detail = detail
        # A command or a step that helps; may be empty.
        self.help = help
        super().__init__(self._sentence())

    def _sentence(self):
        text = f"{self.subject}: " if self.subject else ""
        text += self.detail or self.code.name
        if self.rule:
            text += f" [{self.rule}]"
        return f"{text}; {self.help}" if self.help else text


class NotFound(CallError):
    """There is no such object."""


class AlreadyExists(CallError):
    """The name is taken."""


class Invalid(CallError):
    """The request can never be right."""


class Refused(CallError):
    """Not in this state."""


class Conflict(CallError):
    """The object has changed meanwhile: `expected_revision` is not its revision."""


class Exhausted(CallError):
    """A limit is reached, or no node has room."""


class PermissionDenied(CallError):
    """The caller's role may not."""


class Unauthenticated(CallError):
    """The caller, or every coordinator, could not show who it is."""


class Compacted(CallError):
    """A watch from a revision that is too long ago: list again."""


class Unavailable(CallError):
    """No coordinator could be reached, or there is no leader. A write may have been made or not."""


class DeadlineExceeded(CallError):
    """No answer in time. A write may have been made or not."""


CLASSES = {
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.INVALID_ARGUMENT: Invalid,
    grpc.StatusCode.FAILED_PRECONDITION: Refused,
    grpc.StatusCode.ABORTED: Conflict,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Exhausted,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.OUT_OF_RANGE: Compacted,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
}


def call_error(code, detail, **parts):
    """The exception for a code."""
    return CLASSES.get(code, CallError)(code, detail, **parts)


def of_rpc(error):
    """The exception for a failed call of grpcio's."""
    info = _error_info(error) or details_pb2.ErrorInfo()
    said = info.metadata
    detail = said.get("detail", "") or error.details() or ""
    parts = {key: said.get(key, "") for key in ("subject", "help")}
    return call_error(error.code(), detail, rule=info.reason, **parts)


def _error_info(error):
    for key, value in error.trailing_metadata() or ():
        if key != DETAILS:
            continue
        for detail in details_pb2.Status.FromString(value).details:
            if detail.type_url.endswith("/google.rpc.ErrorInfo"):
                info = details_pb2.ErrorInfo.FromString(detail.value)
                if info.domain == DOMAIN:
                    return info
    return None
