"""The UDP sockets behind the one port number.

A datagram must leave from the address that the viewer sent its own to, or ICE does not know the
answer. A socket bound to all addresses leaves the choice to the routing table, which on a machine
with several addresses (loopback is one) is often another. So every announced address of this
machine has a socket of its own, and one for all addresses takes what is left: those behind a NAT
that maps a public address to us.
"""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from media.rtp.udp import Address, UdpSender
from media.webrtc.ice import Path

BATCH: Final = 128
"""Datagrams that are read before the loop gets its turn."""

MAX_DATAGRAM: Final = 2048
MAX_KNOWN: Final = 1 << 16

EVERYWHERE: Final = ""
"""The `local` of paths that came in by the socket for all addresses."""


class UdpSocket:
    """One socket of the port, with the sender that goes with it."""

    def __init__(
        self,
        sock: socket.socket,
        local: str,
        loop: asyncio.AbstractEventLoop,
        receive: Callable[[bytes, Path], None],
    ) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.sender = UdpSender(sock)
        self._local = local
        self._loop = loop
        self._receive = receive
        self._known: dict[Address, Path] = {}
        loop.add_reader(sock, self._readable)

    def close(self) -> None:
        if self.sock.fileno() >= 0:
            self._loop.remove_reader(self.sock)
            self.sock.close()

    def remember(self, path: Path) -> None:
        """Its datagrams will come often: saves making the path anew."""
        if len(self._known) < MAX_KNOWN:
            self._known[path.address] = path

    def forget(self, path: Path) -> None:
        self._known.pop(path.address, None)

    def _readable(self) -> None:
        sock, known, receive = self.sock, self._known, self._receive
        for _ in range(BATCH):
            try:
                data, address = sock.recvfrom(MAX_DATAGRAM)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                if sock.fileno() < 0:
                    return
                # What the network said of an earlier datagram; the next one may be good.
                continue
            receive(data, known.get(address) or Path.udp(address, self._local))


class UdpPort:
    """All sockets of one port number."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, receive: Callable[[bytes, Path], None]
    ) -> None:
        self._loop = loop
        self._receive = receive
        self._sockets: dict[str, UdpSocket] = {}
        self._everywhere: UdpSocket | None = None
        self.number = 0

    def open(self, host: str, port: int) -> None:
        """The first socket, for all addresses or for the only one wanted. Raises `OSError`."""
        sock = _bound(host, port)
        self.number = int(sock.getsockname()[1])
        self._everywhere = UdpSocket(sock, EVERYWHERE, self._loop, self._receive)
        self._sockets[EVERYWHERE] = self._everywhere

    def also_at(self, host: str) -> bool:
        """A socket for one address; False when it is not one of this machine's."""
        if host in self._sockets:
            return True
        assert self._everywhere is not None
        try:
            with _sharing(self._everywhere.sock):
                sock = _bound(host, self.number, share=True)
        except (OSError, UnicodeError):
            return False
        self._sockets[host] = UdpSocket(sock, host, self._loop, self._receive)
        return True

    def socket_of(self, path: Path) -> UdpSocket | None:
        return self._sockets.get(path.local)

    def close(self) -> None:
        for opened in self._sockets.values():
            opened.close()
        self._sockets.clear()


@contextmanager
def _sharing(sock: socket.socket) -> Iterator[None]:
    """Lets our own next socket in beside this one, and nobody else's afterwards."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        yield
    finally:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)


def _bound(host: str, port: int, *, share: bool = False) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if share:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    except OSError:
        sock.close()
        raise
    return sock
