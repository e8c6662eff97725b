"""Errors of the SRT server."""

from configs.kernel.errors import AppError
from media.srt.handshake import Rejection


class SrtRefused(AppError):
    """The caller cannot be served; `rejection` is what it is told."""

    code = "srt_refused"

    def __init__(self, message: str, rejection: Rejection) -> None:
        super().__init__(message)
        self.rejection = rejection
