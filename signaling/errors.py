"""Errors of signaling: each has a stable code, which `signaling.http` turns into a status."""

from configs.kernel.errors import AppError, Unavailable


class SignalingError(AppError):
    code = "signaling_error"


class InvalidRequest(SignalingError):
    """What was asked for breaks a rule; the message names it."""

    code = "invalid_request"


class Unauthorized(SignalingError):
    """Nobody is signed in, or the name and password do not fit."""

    code = "unauthorized"


class Forbidden(SignalingError):
    """Signed in, but without the right."""

    code = "forbidden"


class NotFound(SignalingError):
    code = "not_found"


class Conflict(SignalingError):
    code = "conflict"


class TooManyRequests(SignalingError):
    """Slow down: `retry_after_s` seconds from now it may be tried again."""

    code = "too_many_requests"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StoreUnavailable(Unavailable):
    """The database does not answer, or cannot be opened. The message carries no password."""

    code = "store_unavailable"


class SchemaTooNew(SignalingError):
    """The database was written by a newer version of this program."""

    code = "schema_too_new"
