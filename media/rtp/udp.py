"""Datagrams out, a frame's packets in one system call where the kernel can cut them (GSO)."""

import errno
import socket
import struct
from typing import Final, Protocol, TypeAlias

import structlog

log = structlog.get_logger(__name__)

Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int]

UDP_SEGMENT: Final = 103
"""Linux's option of level IPPROTO_UDP (linux/udp.h); the socket module has no name for it."""

SO_SNDBUFFORCE: Final = 32
SO_RCVBUFFORCE: Final = 33

BUFFER_SIZE: Final = 8 << 20
"""Bytes of socket buffer: about a keyframe of 50 kB for each of 100 viewers."""

MAX_PLAIN_ROUTES: Final = 256

_FULL: Final = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM})
_UNREACHABLE: Final = frozenset(
    {
        errno.EPERM,
        errno.EACCES,
        errno.ECONNREFUSED,
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.EHOSTDOWN,
        errno.EMSGSIZE,
        errno.EADDRNOTAVAIL,
    }
)
_CANNOT_SEGMENT: Final = frozenset({errno.EIO, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOPROTOOPT})


class DatagramSink(Protocol):
    """Where packets for a viewer go. Never blocks, never raises; what does not fit is lost.

    `data` is only valid during the call: whoever queues must copy. `address` is whatever the path
    holds; a stream peer (ICE-TCP, RFC 4571 framing) may ignore it.
    """

    def send(self, address: Address, data: bytes | memoryview) -> None: ...

    def send_segments(self, address: Address, data: memoryview, segment: int) -> None:
        """Several datagrams edge to edge, each `segment` bytes, the last perhaps shorter."""
        ...


class UdpSender:
    """A `DatagramSink` on a bound, non-blocking UDP socket that it does not own.

    A full socket buffer drops (`dropped`), and the viewer's NACK repairs; an unreachable peer is
    counted (`unreachable`) and left to consent checks. `segmentation=None` tries the kernel out.
    """

    def __init__(self, sock: socket.socket, *, segmentation: bool | None = None) -> None:
        self._sock = sock
        self._sendto = sock.sendto
        self._sendmsg = sock.sendmsg
        self._ancillary: dict[int, list[tuple[int, int, bytes]]] = {}
        self._plain_routes: set[Address] = set()
        self.segmentation = can_segment() if segmentation is None else segmentation
        self.dropped = 0
        self.unreachable = 0
        raise_buffers(sock)

    def send(self, address: Address, data: bytes | memoryview) -> None:
        try:
            self._sendto(data, address)
        except OSError as error:
            self._count(error, 1)

    def send_segments(self, address: Address, data: memoryview, segment: int) -> None:
        if not self.segmentation or (self._plain_routes and address in self._plain_routes):
            self._send_each(address, data, segment)
            return
        ancillary = self._ancillary.get(segment)
        if ancillary is None:
            ancillary = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", segment))]
            self._ancillary[segment] = ancillary
        try:
            self._sendmsg((data,), ancillary, 0, address)
        except OSError as error:
            if error.errno in _CANNOT_SEGMENT:
                self._route_cannot(address, error)
                self._send_each(address, data, segment)
            else:
                self._count(error, -(-len(data) // segment))

    def _send_each(self, address: Address, data: memoryview, segment: int) -> None:
        sendto = self._sendto
        for at in range(0, len(data), segment):
            try:
                sendto(data[at : at + segment], address)
            except OSError as error:
                self._count(error, 1)

    def _route_cannot(self, address: Address, error: OSError) -> None:
        """EIO: the way out has no checksum offload. EINVAL: its MTU is smaller than a segment. Both
        belong to one route; only when many have it is the feature given up for all."""
        if len(self._plain_routes) >= MAX_PLAIN_ROUTES:
            self.segmentation = False
            self._plain_routes.clear()
            log.info("udp.segmentation_off", error=errno.errorcode.get(error.errno or 0))
            return
        self._plain_routes.add(address)
        log.info(
            "udp.route_without_segmentation",
            peer=address[0],
            error=errno.errorcode.get(error.errno or 0),
        )

    def _count(self, error: OSError, datagrams: int) -> None:
        if error.errno in _FULL:
            self.dropped += datagrams
        elif error.errno in _UNREACHABLE or error.errno in _CANNOT_SEGMENT:
            self.unreachable += datagrams
        else:
            self.unreachable += datagrams
            log.warning("udp.send_failed", error=errno.errorcode.get(error.errno or 0))


def raise_buffers(sock: socket.socket, size: int = BUFFER_SIZE) -> None:
    """Asks for large buffers: past the system's limit when privileged, else up to it."""
    for force, plain in ((SO_SNDBUFFORCE, socket.SO_SNDBUF), (SO_RCVBUFFORCE, socket.SO_RCVBUF)):
        try:
            sock.setsockopt(socket.SOL_SOCKET, force, size)
        except OSError:
            sock.setsockopt(socket.SOL_SOCKET, plain, size)


def can_segment() -> bool:
    """Whether this kernel cuts one send into datagrams, tried over loopback."""
    return any(
        _segments_over(family, host)
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
    )


def _segments_over(family: socket.AddressFamily, host: str) -> bool:
    try:
        with (
            socket.socket(family, socket.SOCK_DGRAM) as receiver,
            socket.socket(family, socket.SOCK_DGRAM) as sender,
        ):
            receiver.bind((host, 0))
            receiver.settimeout(1.0)
            ancillary = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", 2))]
            sender.sendmsg((b"abc",), ancillary, 0, receiver.getsockname())
            return receiver.recv(8) == b"ab" and receiver.recv(8) == b"c"
    except OSError:
        return False
