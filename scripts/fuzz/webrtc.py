"""Coverage-guided fuzzing of what strangers can send to the WebRTC port and to WHEP.

Any error but PeerError is a finding; libFuzzer writes the input down and stops. Checks are signed
and control packets encrypted before they are handed in, so that the fuzzer gets behind the locks.
"""

import asyncio
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

from OpenSSL import SSL

from configs.kernel.clock import SystemClock
from configs.kernel.errors import PeerError
from media.rtp.udp import Address, DatagramSink
from media.stream import Stream
from media.webrtc import stun
from media.webrtc.answer import Candidate, Source, write_answer
from media.webrtc.broadcast import Broadcast
from media.webrtc.certificate import Certificate, Fingerprint
from media.webrtc.dtls import DtlsServer, server_context
from media.webrtc.ice import Credentials, IceAgent, Path, ufrag_of
from media.webrtc.negotiation import negotiate
from media.webrtc.peer import Peer
from media.webrtc.sdp import parse_fragment, parse_offer
from media.webrtc.srtp import (
    SrtpProfile,
    SrtpSession,
    keying_material_length,
    split_keying_material,
)
from media.webrtc.stun import Attribute, MessageClass
from media.webrtc.tcp import Deframer
from media.webrtc.viewer import Viewer
from scripts.bench.clip import clip
from scripts.fuzz import guided
from tests.support.offers import BROWSERS, CHROME

LOCAL: Final = Credentials("serverufrag", "serverpasswordserverpassword")
REMOTE: Final = "clnt"
PATHS: Final = tuple(Path("192.0.2.1", port) for port in range(1, 5))
CERTIFICATE: Final = Certificate.generate(now=datetime.now(UTC))
CONTEXT: Final = server_context(CERTIFICATE)


class Nothing:
    """A `DatagramSink` and a transport that lead nowhere."""

    def send(self, address: Address, data: bytes | memoryview) -> None:
        pass

    def send_segments(self, address: Address, data: memoryview, segment: int) -> None:
        pass

    def sink(self, path: Path) -> tuple[Address, DatagramSink]:
        return (path.host, path.port), self


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def offers(data: bytes) -> None:
    offer = parse_offer(_text(data))
    agreement = negotiate(offer, [clip().video])
    answer = write_answer(
        offer,
        agreement,
        local=LOCAL,
        fingerprint=CERTIFICATE.fingerprint,
        candidates=[Candidate("192.0.2.1", 8189)],
        sources=[Source(n, n + 10, "name", "stream") for n, _ in enumerate(agreement.legs, 1)],
        session_id=1,
    )
    assert answer.count("\r\nm=") == len(offer.sections)
    assert all(leg.payload_type < 128 for leg in agreement.legs)


def messages(data: bytes) -> None:
    message = stun.parse(data)
    ufrag_of(message)
    assert not message.is_authentic(b"never") or message.integrity_at is not None
    assert len(message.attributes) <= stun.MAX_ATTRIBUTES


def checks(data: bytes) -> None:
    """Attributes of the fuzzer's choice in checks that are well signed, from several paths."""
    ice = IceAgent(LOCAL, REMOTE, now=0.0)
    now = 0.0
    while data:
        size = data[0]
        body, data = data[1 : 1 + size], data[1 + size :]
        attributes = [(Attribute.USERNAME, f"{LOCAL.ufrag}:{REMOTE}".encode())]
        while len(body) >= 3:
            (kind, length) = struct.unpack_from("!HB", body)
            attributes.append((kind, body[3 : 3 + length]))
            body = body[3 + length :]
        message = stun.build(
            MessageClass.REQUEST,
            bytes(8) + struct.pack("!I", size),
            attributes,
            password=LOCAL.password.encode(),
        )
        if len(message) <= stun.MAX_SIZE:
            path = PATHS[size % len(PATHS)]
            ice.receive(stun.parse(message), path, now=now)
            for to, answer in ice.data_to_send():
                assert to == path
                stun.parse(answer)
        now += size % 16
        ice.handle_timer(now=now)
    assert ice.selected is None or ice.knows(ice.selected)


def handshakes(data: bytes) -> None:
    server = DtlsServer(CONTEXT, [CERTIFICATE.fingerprint], now=0.0)
    while data:
        size = int.from_bytes(data[:2], "big") % 1500
        server.receive_datagram(data[2 : 2 + size], now=0.0)
        assert all(len(datagram) <= 1200 for datagram in server.data_to_send())
        data = data[2 + size :]


def frames(data: bytes) -> None:
    cut = [d for at in range(0, len(data), 7) for d in Deframer().receive(data[at : at + 7])]
    assert sum(map(len, cut)) <= len(data)


class Session:
    """One connected viewer of a live stream that lives for the whole run."""

    def __init__(self) -> None:
        loop = asyncio.new_event_loop()
        clock = SystemClock()
        self.stream = Stream("fuzz", clock_origin=clock.monotonic(), wall_origin=clock.wall())
        broadcast = Broadcast(self.stream, clock=clock, loop=loop)
        self.stream.attach(broadcast)
        source = clip()
        self.stream.set_track(source.video)
        self.stream.set_track(source.audio)
        for unit in source.units:
            self.stream.push(unit)
        agreement = negotiate(parse_offer(CHROME), [source.video])
        self.viewer = Viewer(
            "session",
            peer=Peer(
                IceAgent(LOCAL, REMOTE, now=clock.monotonic()), CONTEXT, [CERTIFICATE.fingerprint]
            ),
            agreement=agreement,
            sources=[Source(1, 2, "name", "s"), Source(3, 4, "name", "s")],
            broadcast=broadcast,
            transport=Nothing(),
            clock=clock,
            loop=loop,
            on_connected=lambda _: None,
            on_closed=lambda _: None,
        )
        check = stun.build(
            MessageClass.REQUEST,
            bytes(12),
            [
                (Attribute.USERNAME, f"{LOCAL.ufrag}:{REMOTE}".encode()),
                (Attribute.USE_CANDIDATE, b""),
            ],
            password=LOCAL.password.encode(),
        )
        assert self.viewer.receive_check(stun.parse(check), PATHS[0])
        self.srtp = self._handshake()
        assert self.viewer.connected

    def control(self, data: bytes) -> None:
        """An authentic control packet of the fuzzer's content."""
        if len(data) >= 8:
            self.viewer.receive_datagram(self.srtp.protect_rtcp(data), PATHS[0])
        assert not self.viewer.closed

    def datagram(self, data: bytes) -> None:
        """Anything at all, from the viewer's own address."""
        self.viewer.receive_datagram(data, PATHS[0])
        assert not self.viewer.closed

    def _handshake(self) -> SrtpSession:
        context = SSL.Context(SSL.DTLS_CLIENT_METHOD)
        context.use_privatekey(CERTIFICATE.key)
        context.use_certificate(CERTIFICATE.certificate)
        context.set_tlsext_use_srtp(b"SRTP_AEAD_AES_128_GCM")
        client = SSL.Connection(context)
        client.set_connect_state()
        replies: list[bytes] = []
        # The peer's answers leave through the transport; read them before they go nowhere.
        peer = self.viewer.peer
        for _ in range(8):
            try:
                client.do_handshake()
            except SSL.WantReadError:
                pass
            else:
                break
            peer.receive_datagram(client.bio_read(1 << 16), PATHS[0], now=0.0)
            replies = [data for _, data in peer.data_to_send()]
            for reply in replies:
                client.bio_write(reply)
        self.viewer.receive_datagram(b"\xff", PATHS[0])  # Lets the viewer see what happened.
        profile = SrtpProfile.AEAD_AES_128_GCM
        material = client.export_keying_material(
            b"EXTRACTOR-dtls_srtp", keying_material_length(profile)
        )
        ours, theirs = split_keying_material(profile, material)
        return SrtpSession(profile, local=ours, remote=theirs)


SESSION: Final = Session()
TARGETS: Final[tuple[Callable[[bytes], object], ...]] = (
    offers,
    lambda data: parse_fragment(_text(data)),
    lambda data: Fingerprint.parse(_text(data)),
    messages,
    checks,
    handshakes,
    frames,
    SESSION.control,
    SESSION.datagram,
)


def fuzz(data: bytes) -> None:
    """The first byte chooses the target."""
    if not data:
        return
    try:
        TARGETS[data[0] % len(TARGETS)](data[1:])
    except PeerError:
        return


def seeds() -> Iterator[bytes]:
    for text in BROWSERS.values():
        yield bytes([0]) + text.encode()
    yield (bytes([1]) + b"a=ice-ufrag:abcd\r\na=ice-pwd:aaaaaaaaaaaaaaaaaaaaaaaa\r\na=mid:0\r\n")
    yield bytes([2]) + b"sha-256 " + CERTIFICATE.fingerprint.value.encode()
    check = stun.build(MessageClass.REQUEST, bytes(12), [(6, b"a:b")], password=b"x")
    yield bytes([3]) + check
    yield bytes([4]) + bytes([7]) + struct.pack("!HB", 0x24, 4) + bytes(4) + bytes([3, 0, 0x25, 0])
    yield bytes([5]) + struct.pack("!H", 20) + bytes.fromhex("16feff0000000000000000") + bytes(9)
    yield bytes([6]) + b"\x00\x03abc\x00\x00"
    yield (
        bytes([7])
        + struct.pack("!BBHI", 0x80, 201, 1, 1)
        + struct.pack("!BBHIIHH", 0x81, 205, 3, 1, 1, 5, 3)
    )
    yield bytes([7]) + struct.pack("!BBHII", 0x81, 206, 2, 1, 1)
    yield bytes([8]) + bytes.fromhex("17fefd0001000000000001000a") + bytes(10)


if __name__ == "__main__":
    guided.run(fuzz, seeds(), packages=("media.webrtc", "media.rtp"))
