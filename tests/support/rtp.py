"""Builders and the other end of RTP: a viewer that decrypts, asks again for what it misses, and
puts the frames together."""

import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from media.codecs import h264
from media.codecs.nal import join_length_prefixed
from media.rtp.downlink import Downlink, Rtx
from media.rtp.fanout import TrackFanout
from media.rtp.packet import RtpPacket, is_rtcp, nearest
from media.rtp.rtcp import Nack
from media.rtp.udp import Address
from media.stream import VIDEO
from media.units import AccessUnit, Track
from media.webrtc.srtp import SrtpKeys, SrtpProfile, SrtpSession

SPS = bytes.fromhex("6742c01fd9005005bb011000000300100000030320f1832480")
PPS = bytes.fromhex("68cb83cb20")
ADDRESS: Address = ("192.0.2.7", 40_000)


def h264_track() -> Track:
    return h264.track(VIDEO, h264.AvcConfig((SPS,), (PPS,)))


def unit(
    *nals: bytes, pts: int = 0, keyframe: bool = False, track: Track | None = None
) -> AccessUnit:
    track_id = VIDEO if track is None else track.id
    return AccessUnit(track_id, pts, pts, keyframe, join_length_prefixed(nals))


def picture(number: int, *, size: int = 3000, every: int = 30) -> AccessUnit:
    """The n-th picture of a stream of 30 a second with a keyframe `every` so many."""
    keyframe = number % every == 0
    body = random.Random(number).randbytes(size - 1)
    nal = (b"\x65" if keyframe else b"\x41") + body
    return unit(nal, pts=number * 3000, keyframe=keyframe)


def nals(number: int, *, size: int = 3000, every: int = 30) -> list[bytes]:
    """What a viewer must have of `picture(number)`."""
    payload = picture(number, size=size, every=every).payload
    sets = [SPS, PPS] if number % every == 0 else []
    return [*sets, payload[4:]]


def keys(profile: SrtpProfile, seed: int) -> SrtpKeys:
    source = random.Random(seed)
    return SrtpKeys(source.randbytes(profile.key_length), source.randbytes(profile.salt_length))


def session_pair(
    profile: SrtpProfile = SrtpProfile.AEAD_AES_128_GCM,
) -> tuple[SrtpSession, SrtpSession]:
    """The server's session and its viewer's."""
    ours, theirs = keys(profile, 1), keys(profile, 2)
    return (
        SrtpSession(profile, local=ours, remote=theirs),
        SrtpSession(profile, local=theirs, remote=ours),
    )


@dataclass
class ViewerPath:
    address: Address | None = ADDRESS


@dataclass
class Clock:
    clock_origin: float = 100.0
    wall_origin: float = 1_800_000_000.0


@dataclass
class RecordingSink:
    """Keeps every datagram; `lose` says which ones the network loses."""

    lose: Callable[[int], bool] = lambda number: False
    datagrams: list[bytes] = field(default_factory=list)
    calls: int = 0
    sent: int = 0

    def send(self, address: Address, data: bytes | memoryview) -> None:
        self.calls += 1
        self._keep(bytes(data))

    def send_segments(self, address: Address, data: memoryview, segment: int) -> None:
        self.calls += 1
        for at in range(0, len(data), segment):
            self._keep(bytes(data[at : at + segment]))

    def take(self) -> list[bytes]:
        taken, self.datagrams = self.datagrams, []
        return taken

    def _keep(self, datagram: bytes) -> None:
        if not self.lose(self.sent):
            self.datagrams.append(datagram)
        self.sent += 1


class Viewer:
    """A server's downlink, and the browser's end of it."""

    def __init__(
        self,
        *,
        profile: SrtpProfile = SrtpProfile.AEAD_AES_128_GCM,
        rtx: bool = True,
        sequence: int = 100,
        timestamp: int = 0,
        payload_type: int = 96,
        clock_rate: int = 90_000,
        lose: Callable[[int], bool] = lambda number: False,
    ) -> None:
        server, self.session = session_pair(profile)
        self.server = server
        self.path = ViewerPath()
        self.sink = RecordingSink(lose)
        self.rtx = Rtx(0x2222, 97) if rtx else None
        self.downlink = Downlink(
            ssrc=0x1111,
            payload_type=payload_type,
            clock_rate=clock_rate,
            crypto=server,
            path=self.path,
            sink=self.sink,
            rtx=self.rtx,
            sequence=sequence,
            timestamp=timestamp,
        )
        self.packets: dict[int, RtpPacket] = {}
        self.duplicates = 0
        self.control: list[bytes] = []
        self._first = sequence
        self._newest = sequence - 1

    def receive(self) -> list[RtpPacket]:
        """Takes what has arrived, retransmissions unwrapped, and gives the new packets."""
        fresh = []
        for datagram in self.sink.take():
            if is_rtcp(datagram):
                self.control.append(self.session.unprotect_rtcp(datagram))
                continue
            packet = RtpPacket.parse(self.session.unprotect_rtp(datagram))
            if self.rtx is not None and packet.ssrc == self.rtx.ssrc:
                packet = unwrap_rtx(packet, ssrc=0x1111, payload_type=96)
            index = nearest(max(self._newest, self._first), packet.sequence)
            if index in self.packets:
                self.duplicates += 1
                continue
            self.packets[index] = packet
            self._newest = max(self._newest, index)
            fresh.append(packet)
        return fresh

    def missing(self) -> list[int]:
        """Sequence numbers between the first and the newest that have not come."""
        return [n & 0xFFFF for n in range(self._first, self._newest) if n not in self.packets]

    def ask_again(self, *, now: float) -> int:
        """Sends a NACK for what is missing; gives how many that are."""
        missing = self.missing()
        if missing:
            nack = Nack(1, 0x1111, tuple(missing))
            self.downlink.on_nack(nack.lost, now=now)
        return len(missing)

    def ordered(self) -> list[RtpPacket]:
        return [self.packets[index] for index in sorted(self.packets)]

    def pictures(self) -> list[list[bytes]]:
        """The NAL units of each whole picture, in the order of the sequence numbers."""
        return [depacketize_h264(p.payload for p in frame) for frame in frames(self.ordered())]


def unwrap_rtx(packet: RtpPacket, *, ssrc: int, payload_type: int) -> RtpPacket:
    return RtpPacket(
        payload_type,
        int.from_bytes(packet.payload[:2], "big"),
        packet.timestamp,
        ssrc,
        packet.payload[2:],
        packet.marker,
    )


def steps(viewer: Viewer) -> list[int]:
    times = [packet.timestamp for packet in viewer.ordered()]
    return [(b - a) & 0xFFFFFFFF for a, b in itertools.pairwise(times)]


def frames(packets: Iterable[RtpPacket]) -> list[list[RtpPacket]]:
    """Packets by timestamp; a frame must end with the marker."""
    grouped: list[list[RtpPacket]] = []
    for packet in packets:
        if not grouped or grouped[-1][0].timestamp != packet.timestamp:
            grouped.append([])
        grouped[-1].append(packet)
    for frame in grouped:
        assert [packet.marker for packet in frame] == [False] * (len(frame) - 1) + [True]
    return grouped


def depacketize_h264(payloads: Iterable[bytes]) -> list[bytes]:
    """RFC 6184: single NAL units, STAP-A, FU-A."""
    nals: list[bytes] = []
    partial: bytearray | None = None
    for payload in payloads:
        kind = payload[0] & 0x1F
        if kind == 24:
            nals.extend(_aggregated(payload[1:]))
        elif kind == 28:
            if payload[1] & 0x80:
                assert partial is None
                partial = bytearray((payload[0] & 0xE0 | payload[1] & 0x1F,))
            assert partial is not None
            partial += payload[2:]
            if payload[1] & 0x40:
                nals.append(bytes(partial))
                partial = None
        else:
            assert 1 <= kind <= 23
            nals.append(payload)
    assert partial is None
    return nals


def depacketize_hevc(payloads: Iterable[bytes]) -> list[bytes]:
    """RFC 7798: single NAL units, AP, FU."""
    nals: list[bytes] = []
    partial: bytearray | None = None
    for payload in payloads:
        kind = payload[0] >> 1 & 0x3F
        if kind == 48:
            nals.extend(_aggregated(payload[2:]))
        elif kind == 49:
            if payload[2] & 0x80:
                assert partial is None
                first = payload[0] & 0x81 | (payload[2] & 0x3F) << 1
                partial = bytearray((first, payload[1]))
            assert partial is not None
            partial += payload[3:]
            if payload[2] & 0x40:
                nals.append(bytes(partial))
                partial = None
        else:
            nals.append(payload)
    assert partial is None
    return nals


def depacketize_av1(payloads: Iterable[bytes]) -> list[bytes]:
    """OBUs without size fields (RTP payload format for AV1, section 4.4)."""
    obus: list[bytes] = []
    partial = b""
    for payload in payloads:
        continues, continued = payload[0] & 0x80, payload[0] & 0x40
        count = payload[0] >> 4 & 3
        pieces: list[bytes] = []
        at = 1
        while at < len(payload):
            length = len(payload) - at
            if count == 0 or len(pieces) < count - 1:
                length, at = _leb128(payload, at)
            pieces.append(payload[at : at + length])
            at += length
        assert at == len(payload)
        assert count in (0, len(pieces))
        assert bool(continues) == bool(partial)
        for number, piece in enumerate(pieces):
            partial += piece
            if number < len(pieces) - 1 or not continued:
                obus.append(partial)
                partial = b""
    assert not partial
    return obus


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at


def _aggregated(data: bytes) -> list[bytes]:
    nals = []
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 2], "big")
        nals.append(data[at + 2 : at + 2 + length])
        at += 2 + length
    assert at == len(data)
    return nals


class Deferred:
    """An event loop's `call_soon`, turned by hand."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []
        self.turns = 0

    def __call__(self, call: Callable[[], None]) -> None:
        self.calls.append(call)

    def run(self) -> None:
        while self.calls:
            self.turn()

    def turn(self) -> None:
        self.turns += 1
        self.calls.pop(0)()


def video(defer: Deferred | None = None, *, turn: int = 1024) -> TrackFanout:
    return TrackFanout(h264_track(), defer=defer or Deferred(), turn=turn)


def catch_up(fanout: TrackFanout, *, now: float) -> float:
    """Fires the fan-out's timer until nobody is behind; gives the time then."""
    for _ in range(10_000):
        due = fanout.next_timer()
        if due is None:
            return now
        now = max(now, due)
        fanout.handle_timer(now=now)
    raise AssertionError("never caught up")
