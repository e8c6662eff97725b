"""What signaling keeps: rooms, users and the rules for their names."""

import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from media.hub import Takeover
from signaling.errors import InvalidRequest

SLUG_PATTERN: Final = "^[a-z0-9][a-z0-9-]{0,62}$"
_SLUG: Final = re.compile(SLUG_PATTERN.replace("$", r"\Z"))

MAX_TITLE: Final = 120
MAX_USERNAME: Final = 64
MIN_PASSPHRASE: Final = 10
MAX_PASSPHRASE: Final = 79
"""Length of an SRT passphrase in bytes: what libsrt takes as SRTO_PASSPHRASE."""


class Role(StrEnum):
    ADMIN = "admin"
    HOST = "host"
    VIEWER = "viewer"


@dataclass(frozen=True, slots=True)
class User:
    id: int
    username: str
    role: Role


@dataclass(frozen=True, slots=True)
class Room:
    """A room as it is kept. `stream_key_hash` is all that is known of its key (`stream_keys`).

    `srt_passphrase` is kept as it is, unlike the key: SRT derives its key-encrypting key from it by
    PBKDF2 with a salt that the caller picks, so the listener must know the passphrase itself.
    """

    slug: str
    title: str
    created_at: datetime
    owner_id: int | None
    stream_key_hash: bytes
    srt_passphrase: str | None
    takeover: Takeover


def is_slug(text: str) -> bool:
    return _SLUG.match(text) is not None


def require_slug(text: str) -> str:
    if not is_slug(text):
        raise InvalidRequest(
            "a room's name is 1 to 63 of a-z, 0-9 and -, and does not begin with -",
            code="invalid_slug",
        )
    return text


def require_title(text: str) -> str:
    """The title in NFC without surrounding blanks. Control and unassigned characters are refused:
    they have no picture, and some databases cannot keep them."""
    title = unicodedata.normalize("NFC", text).strip()
    if not 1 <= len(title) <= MAX_TITLE or not _is_printable(title):
        raise InvalidRequest(f"a title is 1 to {MAX_TITLE} printable characters")
    return title


def require_passphrase(text: str) -> str:
    """A passphrase that every SRT client can be told in a URL: printable ASCII, no separators."""
    if not MIN_PASSPHRASE <= len(text) <= MAX_PASSPHRASE or not re.fullmatch(
        r"[A-Za-z0-9._~-]+", text
    ):
        raise InvalidRequest(
            f"an SRT passphrase is {MIN_PASSPHRASE} to {MAX_PASSPHRASE} of A-Z, a-z, 0-9 and ._~-"
        )
    return text


def account_name(text: str) -> str:
    """The form in which usernames are compared: NFKC, case folded, without surrounding blanks."""
    return unicodedata.normalize("NFKC", text).strip().casefold()


def require_username(text: str) -> str:
    name = account_name(text)
    if not 1 <= len(name) <= MAX_USERNAME or not _is_printable(name):
        raise InvalidRequest(f"a username is 1 to {MAX_USERNAME} printable characters")
    return name


def _is_printable(text: str) -> bool:
    # Cc control, Cs lone surrogate, Co private, Cn unassigned; Cf (joiners of emoji) may stay.
    return not any(unicodedata.category(c) in {"Cc", "Cs", "Co", "Cn"} for c in text)
