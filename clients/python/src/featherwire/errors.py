"""The errors of calls."""

from collections.abc import Iterable
from typing import Any, Literal, Protocol, cast

import grpc
from google.rpc import error_details_pb2, status_pb2

from .v1.errors_pb2 import ErrorReason

__all__ = ["ErrorReason", "FeatherwireError", "IncompleteAnswerError"]

_DOMAIN = "featherwire"
_STATUS = "grpc-status-details-bin"
_REQUEST_ID = "x-request-id"

_Metadata = Iterable[tuple[str, str | bytes]]


class _FailedCall(Protocol):
    """What the errors of grpc and of grpc.aio have in common."""

    def code(self) -> grpc.StatusCode: ...
    def details(self) -> str | None: ...
    def initial_metadata(self) -> _Metadata | None: ...
    def trailing_metadata(self) -> _Metadata | None: ...


class FeatherwireError(Exception):
    """A call that failed. `str(error)` is a sentence that says what is wrong and what to do."""

    #: The gRPC status.
    code: grpc.StatusCode
    #: What is wrong and what to do.
    message: str
    #: The reason, such as `ErrorReason.ERROR_REASON_MODEL_NOT_READY`. ERROR_REASON_UNSPECIFIED if
    #: the error is not the gateway's, or if the contract does not list the reason.
    reason: ErrorReason.ValueType
    #: The name of the reason, such as `MODEL_NOT_READY`, or empty.
    reason_name: str
    #: The path of the wrong field, such as `messages[0].content`.
    field: str | None
    #: The time after which the call can be repeated, in seconds.
    retry_after: float | None
    #: Whether the same call may succeed without a change: within a minute, later, or never.
    retry: Literal["soon", "later", "never"] | None
    #: The id of the request, which the gateway's log has too.
    request_id: str | None
    #: The requested model.
    model: str | None
    #: The limit that was reached.
    limit: int | None
    #: A page that helps.
    help_url: str | None

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = ErrorReason.ERROR_REASON_UNSPECIFIED
        self.reason_name = ""
        self.field = None
        self.retry_after = None
        self.retry = None
        self.request_id = None
        self.model = None
        self.limit = None
        self.help_url = None

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the arguments of `__init__`, which `args` does not have, and which differ in
        # subclasses.
        return _with_args, (type(self), self.args), vars(self)

    def __str__(self) -> str:
        return f"{self.message} ({self.reason_name or self.code.name})"

    @classmethod
    def of(cls, error: grpc.RpcError) -> "FeatherwireError":
        """The error of a call that was made with a generated stub."""
        call = cast(_FailedCall, error)
        failure = cls(call.code(), call.details() or "")
        for name, value in (*(call.initial_metadata() or ()), *(call.trailing_metadata() or ())):
            if name == _REQUEST_ID:
                failure.request_id = _text(value)
            elif name == _STATUS and isinstance(value, bytes):
                failure._read(value)
        return failure

    def _read(self, packed: bytes) -> None:
        """Reads the details."""
        info = error_details_pb2.ErrorInfo()
        retry = error_details_pb2.RetryInfo()
        request = error_details_pb2.BadRequest()
        help = error_details_pb2.Help()
        for detail in status_pb2.Status.FromString(packed).details:
            if detail.Unpack(info) and info.domain == _DOMAIN:
                self.reason_name = info.reason
                name = f"ERROR_REASON_{info.reason}"
                if name in ErrorReason.keys():
                    self.reason = ErrorReason.Value(name)
                self.model = info.metadata.get("model")
                limit = info.metadata.get("limit", "")
                self.limit = int(limit) if limit.isdigit() else None
                word = info.metadata.get("retry")
                self.retry = word if word in ("soon", "later", "never") else None
            elif detail.Unpack(retry):
                self.retry_after = retry.retry_delay.ToTimedelta().total_seconds()
            elif detail.Unpack(request):
                self.field = next((found.field for found in request.field_violations), None)
            elif detail.Unpack(help):
                self.help_url = next((link.url for link in help.links), None)


class IncompleteAnswerError(FeatherwireError):
    """A stream that ended, or was closed, before the answer was complete."""

    def __init__(self) -> None:
        super().__init__(grpc.StatusCode.UNAVAILABLE, "the answer is not complete")


def closed() -> FeatherwireError:
    """The error of the calls of a client that is closed."""
    return FeatherwireError(grpc.StatusCode.CANCELLED, "the client is closed")


def _with_args(kind: type[FeatherwireError], args: tuple[object, ...]) -> FeatherwireError:
    return kind.__new__(kind, *args)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode(errors="replace")
