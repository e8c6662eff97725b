"""The root of every error meant for somebody: a stable code, and whose fault it is."""


class AppError(Exception):
    """An error with a stable `code`; the message is for people and carries no secret."""

    code = "internal"

    def __init__(self, message: str = "", *, code: str | None = None) -> None:
        super().__init__(message or code or self.code)
        if code is not None:
            self.code = code


class Unavailable(AppError):
    """Something that we stand on does not answer; the same may be tried again later."""

    code = "unavailable"


class PeerError(AppError):
    """The other side broke the protocol: drop that peer, log one line at info, touch no other."""

    code = "peer_error"
