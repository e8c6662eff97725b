"""How to reach one viewer, and how the transports offer themselves to viewers."""

from typing import Protocol

from media.rtp.udp import Address, DatagramSink
from media.webrtc.ice import Path


class Send(Protocol):
    def __call__(self, address: Address, data: bytes | memoryview) -> None: ...


class SendSegments(Protocol):
    def __call__(self, address: Address, data: memoryview, segment: int) -> None: ...


class Transport(Protocol):
    """What carries datagrams, UDP and TCP alike."""

    def sink(self, path: Path) -> tuple[Address, DatagramSink] | None:
        """How to send to a path; None when it is a TCP connection that is gone."""
        ...


def _send_nothing(address: Address, data: bytes | memoryview) -> None:
    pass


def _send_no_segments(address: Address, data: memoryview, segment: int) -> None:
    pass


class Route:
    """A viewer's nominated path, in the two shapes that a downlink wants: where, and by what.

    Its methods are those of the transport in use, bound anew when another path is nominated, so
    that a packet takes no detour through this object.
    """

    __slots__ = ("address", "send", "send_segments")

    address: Address | None
    send: Send
    send_segments: SendSegments

    def __init__(self) -> None:
        self.lead_nowhere()

    def lead_to(self, address: Address, sink: DatagramSink) -> None:
        self.address = address
        self.send = sink.send
        self.send_segments = sink.send_segments

    def lead_nowhere(self) -> None:
        self.address = None
        self.send = _send_nothing
        self.send_segments = _send_no_segments
