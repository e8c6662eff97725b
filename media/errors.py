"""Errors of the media half."""

from configs.kernel.errors import AppError


class MediaError(AppError):
    code = "media_error"


class PublishRefused(MediaError):
    """The publisher may not publish.

    `code` is one of unauthorized, forbidden, not_found, conflict, overloaded.
    """


class UnsupportedCodec(MediaError):
    code = "unsupported_codec"


class InvalidBitstream(MediaError):
    """Parameter sets or frames that break their codec's syntax."""

    code = "invalid_bitstream"
