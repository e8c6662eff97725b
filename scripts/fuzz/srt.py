"""Coverage-guided fuzzing of both ends of SRT.

The first byte of an input chooses the door: stream ids, key material, datagrams to a listener, a
conclusion whose cookie is right, packets of an established caller (kind, time, length, body), and
datagrams to a caller. Any error, a timer that is due for ever, and an answer out of proportion are
findings.
"""

import random
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, Protocol

from configs.kernel.errors import PeerError
from media.srt.admission import Address, ConnectionRequested
from media.srt.caller import CallerConfig, CallerConnection
from media.srt.crypto import KeyRing
from media.srt.errors import SrtRefused
from media.srt.handshake import (
    CONCLUSION,
    INDUCTION,
    LIVE,
    Capabilities,
    ExtensionType,
    Handshake,
    encode_text,
    extension_flags,
)
from media.srt.listener import Listener
from media.srt.packets import (
    Acknowledgement,
    ControlPacket,
    ControlType,
    DataPacket,
    pack_losses,
    pack_range,
    parse,
)
from media.srt.streamid import parse_stream_id
from scripts.fuzz import guided

CALLER: Final[Address] = ("192.0.2.7", 4000)
PASSPHRASE: Final = "fuzzing-passphrase"
SEQUENCE: Final = 0x7FFF_FFF0
_KINDS: Final = tuple(ControlType)
_CAPABILITIES: Final = Capabilities(0x010501, LIVE, 120, 120).serialize()


class Timed(Protocol):
    def next_timer(self) -> float | None: ...

    def handle_timer(self, *, now: float) -> None: ...


def entropy() -> Callable[[int], bytes]:
    return random.Random(1).randbytes


def catch_up(machine: Timed, now: float) -> None:
    """What is due is done in a few calls, or never would be."""
    for _ in range(20):
        deadline = machine.next_timer()
        if deadline is None or deadline > now:
            return
        machine.handle_timer(now=now)
    raise AssertionError("a timer that is due for ever")


def handshake(listener: Listener, body: Handshake) -> list[bytes]:
    packet = ControlPacket(ControlType.HANDSHAKE, 0, 0, body=body.serialize())
    listener.receive_datagram(packet.serialize(), CALLER, now=1.0)
    return [data for data, _ in listener.datagrams_to_send()]


def cookie(listener: Listener) -> int:
    answer = parse(handshake(listener, Handshake(4, INDUCTION, 7))[0])
    assert isinstance(answer, ControlPacket)
    return Handshake.parse(answer.body).cookie


def conclusion(cookie: int, extra: dict[ExtensionType, bytes]) -> Handshake:
    extensions = {ExtensionType.HSREQ: _CAPABILITIES, **extra}
    flags = extension_flags(extensions)
    return Handshake(5, CONCLUSION, 7, cookie, SEQUENCE, flags=flags, extensions=extensions)


def established() -> tuple[Listener, int]:
    """A listener with one caller, both of them encrypting, that has been sent some packets."""
    listener = Listener(entropy=entropy())
    material = KeyRing(PASSPHRASE, entropy=entropy()).generate(16)
    handshake(listener, conclusion(cookie(listener), {ExtensionType.KMREQ: material}))
    event = listener.next_event()
    assert isinstance(event, ConnectionRequested)
    assert listener.authorize(event.request, PASSPHRASE, now=1.0)
    connection = listener.accept(event.request, now=1.0)
    for _ in range(20):
        listener.send(connection, bytes(100), now=1.0)
    assert list(listener.datagrams_to_send())
    return listener, connection


def pieces(data: bytes) -> Iterator[bytes]:
    """Datagrams behind their lengths in one byte."""
    while data:
        yield data[1 : 1 + data[0]]
        data = data[1 + data[0] :]


def fuzz_stream_id(data: bytes) -> None:
    with suppress(SrtRefused):
        assert parse_stream_id(data.decode("utf-8", "replace")).room


def fuzz_key_material(data: bytes) -> None:
    ring = KeyRing(PASSPHRASE, entropy=entropy())
    ring.generate(16)
    with suppress(PeerError):
        ring.load(data)
    assert ring.encrypt(1, b"payload")


def fuzz_listener(data: bytes) -> None:
    listener = Listener(entropy=entropy())
    for number, datagram in enumerate(pieces(data)):
        now = 1.0 + number
        listener.receive_datagram(datagram, CALLER, now=now)
        catch_up(listener, now)
        assert len(list(listener.datagrams_to_send())) <= 2


def fuzz_conclusion(data: bytes) -> None:
    listener = Listener(entropy=entropy())
    token = cookie(listener)
    body = bytearray(conclusion(token, {}).serialize()[:48] + data)
    packet = ControlPacket(ControlType.HANDSHAKE, 0, 0, body=bytes(body)).serialize()
    listener.receive_datagram(packet, CALLER, now=1.0)
    while (event := listener.next_event()) is not None:
        if isinstance(event, ConnectionRequested):
            with suppress(SrtRefused):
                parse_stream_id(event.stream_id)
            if listener.authorize(event.request, None, now=1.0):
                listener.accept(event.request, now=1.0)
    catch_up(listener, 20.0)
    assert len(list(listener.datagrams_to_send())) <= 4


def fuzz_connection(data: bytes) -> None:
    listener, connection = established()
    now = 1.0
    while len(data) >= 4:
        kind, pause, step, size = data[:4]
        body, data = data[4 : 4 + size], data[4 + size :]
        now += pause * 0.001
        catch_up(listener, now)
        info = int.from_bytes(body[:4], "big")
        if kind & 0x80:
            sequence = (SEQUENCE + step - 64 + (info & 0x3FFF if kind & 0x40 else 0)) & 0x7FFF_FFFF
            packet = DataPacket(sequence, info, connection, body, kind & 3).serialize()
        else:
            subtype = 3 if kind & 0x40 else 4
            which = _KINDS[kind % len(_KINDS)]
            packet = ControlPacket(which, info, connection, step, body, subtype).serialize()
        listener.receive_datagram(packet, CALLER, now=now)
        assert len(list(listener.datagrams_to_send())) <= 200
        while listener.next_event() is not None:
            pass
    catch_up(listener, now + 20)
    assert listener.next_timer() is None or listener.stats(connection) is not None


def fuzz_caller(data: bytes) -> None:
    caller = CallerConnection(CallerConfig(stream_id="x"), now=1.0, entropy=entropy())
    own_id = struct.unpack_from(">I", next(iter(caller.data_to_send())), 16 + 24)[0]
    for number, datagram in enumerate(pieces(data)):
        now = 1.0 + number * 0.1
        head = datagram[:12].ljust(12, b"\0") + own_id.to_bytes(4, "big")
        caller.receive_datagram(head + datagram[12:], now=now)
        catch_up(caller, now)
        assert len(list(caller.data_to_send())) <= 20


_DOORS: Final = (
    fuzz_stream_id,
    fuzz_key_material,
    fuzz_listener,
    fuzz_conclusion,
    fuzz_connection,
    fuzz_caller,
)


def fuzz(data: bytes) -> None:
    if data:
        _DOORS[data[0] % len(_DOORS)](data[1:])


def seeds() -> Iterator[bytes]:
    for text in ("#!::m=publish,r=live/demo?key=k,s=%6b", "publish:a/b:u:p", "live/demo?token=k"):
        yield b"\0" + text.encode()
    material = KeyRing(PASSPHRASE).generate(32)
    yield b"\1" + material
    opening = ControlPacket(
        ControlType.HANDSHAKE, 0, 0, body=Handshake(4, INDUCTION, 7).serialize()
    ).serialize()
    yield b"\2" + bytes((len(opening),)) + opening
    extra = {ExtensionType.SID: encode_text("publish:demo:k"), ExtensionType.KMREQ: material}
    yield b"\3" + conclusion(0, extra).serialize()[48:]
    bodies = {
        ControlType.ACK: Acknowledgement(SEQUENCE + 3, True, 9, 9, 9, 9, 9, 9).serialize(),
        ControlType.NAK: pack_losses([(SEQUENCE, SEQUENCE + 9), (3, 3)]),
        ControlType.DROPREQ: pack_range(SEQUENCE, SEQUENCE + 5),
        ControlType.ACKACK: b"\0\0\0\1",
        ControlType.USER: material,
        ControlType.SHUTDOWN: b"",
    }
    steps = [
        bytes((_KINDS.index(kind) | 0x40, 9, 1, len(body))) + body for kind, body in bodies.items()
    ]
    packets = [bytes((0x81, 2, 64 + n, 20)) + bytes(20) for n in (0, 1, 4, 2, 9)]
    yield b"\4" + b"".join((*packets, *steps))
    answer = Handshake(
        5, CONCLUSION, 9, extensions={ExtensionType.HSRSP: _CAPABILITIES}
    ).serialize()
    reply = ControlPacket(ControlType.HANDSHAKE, 0, 0, body=answer).serialize()
    yield b"\5" + bytes((len(reply),)) + reply


if __name__ == "__main__":
    guided.run(fuzz, seeds(), packages=("media.srt",))
