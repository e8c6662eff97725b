"""Stream keys: made once, shown once, kept only as a hash.

A key has 142 random bits from letters and digits alone, since OBS, SRT's stream id and shells each
break on some of ``& , : = # ? / %``. Because nobody can guess that much, a single SHA-256 protects
it as well as a slow password hash would; the slow one would only let anybody make the server burn
a tenth of a second of CPU for each attempt to publish.
"""

import hashlib
import hmac
import secrets
import string
from typing import Final

KEY_LENGTH: Final = 24
_ALPHABET: Final = string.ascii_letters + string.digits
_CONTEXT: Final = b"vitrine stream key\0"


def new_stream_key() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(KEY_LENGTH))


def hash_stream_key(key: str) -> bytes:
    """32 bytes. Keys come from peers, so lone surrogates are hashed like everything else."""
    return hashlib.sha256(_CONTEXT + key.encode("utf-8", "surrogatepass")).digest()


def stream_key_fits(key: str, expected: bytes) -> bool:
    """Compares in constant time."""
    return hmac.compare_digest(hash_stream_key(key), expected)
