"""Which addresses of this machine to announce when none are configured."""

import socket
from typing import Final

# Addresses for documentation (RFC 5737, RFC 3849): nothing is sent there, the kernel is only asked
# which of ours it would use.
_ANYWHERE: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def detect_hosts() -> tuple[str, ...]:
    """The addresses that the default routes leave from; loopback where there is none."""
    found = []
    for family, anywhere in _ANYWHERE:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.connect((anywhere, 9))
                found.append(str(sock.getsockname()[0]))
        except OSError:
            continue
    return tuple(found) or ("127.0.0.1",)
