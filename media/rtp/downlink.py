"""One track as one viewer sees it: its own source, sequence numbers, keys and reports.

A `Downlink` holds no packet. What it sent lies in the track's cache, and it remembers in `_Run`s
how its own numbers relate to those of the cache: one run for as long as frames follow each other.
"""

import secrets
from collections import deque
from dataclasses import dataclass, field
from typing import Final, Protocol

from media.rtp.layout import HEADER, MARKER, RTP_VERSION, Group, Slot
from media.rtp.nack import NackSuppressor
from media.rtp.packet import nearest
from media.rtp.packet_cache import Cut, PacketCache
from media.rtp.rtcp import Goodbye, ReportBlock, SenderReport, SourceDescription
from media.rtp.udp import Address, DatagramSink

MAX_ANSWERS_AT_ONCE: Final = 256
"""Retransmissions for one NACK; a viewer that lost more is better served by the next keyframe."""

MAX_RUNS: Final = 512

NTP_EPOCH: Final = 2_208_988_800
"""Seconds from 1900 to 1970."""

_MASK = 0xFFFFFFFF


class Protector(Protocol):
    """What of `media.webrtc.srtp.RtpProtector` a downlink uses."""

    @property
    def overhead(self) -> int: ...

    def seal(
        self, slots: tuple[Slot, ...], index: int, payload_type: int, timestamp: int
    ) -> None: ...

    def protect(self, header: bytes, payload: bytes, index: int) -> bytes: ...


class Crypto(Protocol):
    """What of `media.webrtc.srtp.SrtpSession` a downlink uses."""

    def sender(self, ssrc: int) -> Protector: ...

    def protect_rtcp(self, packet: bytes) -> bytes: ...


class Path(Protocol):
    """Where the viewer can be reached: None until a candidate pair is nominated."""

    @property
    def address(self) -> Address | None: ...


class StreamClock(Protocol):
    """What of `media.stream.Stream` gives RTCP its time."""

    clock_origin: float
    wall_origin: float


class Home(Protocol):
    """The fan-out that a downlink belongs to, as the downlink sees it."""

    def remove(self, downlink: "Downlink") -> None: ...


@dataclass(frozen=True, slots=True)
class Rtx:
    """The negotiated retransmission stream (RFC 4588)."""

    ssrc: int
    payload_type: int


@dataclass(slots=True)
class DownlinkStats:
    """Counters since the start. `packets` and `bytes` (of payload) are without retransmissions;
    `loss` 0..1 since the last report, `jitter` and `round_trip` in seconds."""

    packets: int = 0
    bytes: int = 0
    retransmitted: int = 0
    retransmitted_bytes: int = 0
    nacks: int = 0
    nacked: int = 0
    picture_losses: int = 0
    reports: int = 0
    loss: float = 0.0
    lost: int = 0
    jitter: float = 0.0
    round_trip: float | None = None


@dataclass(slots=True)
class _Run:
    """From `start` on, packet `index` is the cache's packet `index - shift`, its timestamp moved by
    `offset`."""

    start: int
    shift: int
    offset: int
    cache: PacketCache


@dataclass(slots=True)
class _Resend:
    """What only a viewer who lost packets needs."""

    suppressor: NackSuppressor = field(default_factory=NackSuppressor)
    protector: Protector | None = None
    index: int = 0


class Downlink:
    """A viewer's end of a track. Belongs to at most one `TrackFanout` at a time, which calls it.

    `clock_rate` is that of the RTP timestamps. `sequence` and `timestamp` are where they begin,
    random unless given. Nothing leaves while `path.address` is None; numbers run on.
    """

    def __init__(
        self,
        *,
        ssrc: int,
        payload_type: int,
        clock_rate: int,
        crypto: Crypto,
        path: Path,
        sink: DatagramSink,
        rtx: Rtx | None = None,
        cname: str = "vitrine",
        sequence: int | None = None,
        timestamp: int | None = None,
    ) -> None:
        self.ssrc = ssrc
        self.payload_type = payload_type
        self.clock_rate = clock_rate
        self.rtx = rtx
        self.stats = DownlinkStats()
        self.next_cut = -1
        """Which cut comes next, while it is live; this and the next two are kept by the fan-out."""
        self.home: Home | None = None
        self.restarted_at = 0.0
        self._crypto = crypto
        self._protector = crypto.sender(ssrc)
        self.overhead = self._protector.overhead
        self._path = path
        self._sink = sink
        self._cname = cname.encode()[:255]
        # The lower half, so that a first packet lost cannot make a receiver guess a wrong roll-over
        # counter (RFC 3711 section 3.3.1).
        self._index = secrets.randbelow(0x8000) if sequence is None else sequence
        self._offset = secrets.randbits(32) if timestamp is None else timestamp
        self._shift: int | None = None
        self._run_offset = 0
        self._runs: deque[_Run] = deque(maxlen=MAX_RUNS)
        self._cache: PacketCache | None = None
        self._resend: _Resend | None = None
        self._reported = (self._index, self._index)
        self._last_timestamp: int | None = None

    # What the fan-out calls

    def send(self, cut: Cut, groups: tuple[Group, ...], cache: PacketCache, timestamp: int) -> None:
        """One frame, laid out for this downlink's overhead.

        `timestamp` is on the codec's clock: the cut's own, or another for a frame that is sent at
        another time. It is moved to come after all that was sent, should it not.
        """
        last = self._last_timestamp
        if last is not None and timestamp <= last:
            timestamp = last + 1
        self._last_timestamp = timestamp
        index = self._index
        self._index = index + len(cut.fragments)
        shift = index - cut.first
        offset = timestamp - cut.timestamp
        if self._shift != shift or self._run_offset != offset or self._cache is not cache:
            self._begin_run(index, shift, offset, cache)
        address = self._path.address
        if address is None:
            return
        stats = self.stats
        stats.packets += len(cut.fragments)
        stats.bytes += cut.size
        sink = self._sink
        seal = self._protector.seal
        payload_type = self.payload_type
        wire_time = timestamp + self._offset & _MASK
        for group in groups:
            slots = group.slots
            seal(slots, index, payload_type, wire_time)
            if len(slots) == 1:
                sink.send(address, group.view)
            else:
                sink.send_segments(address, group.view, group.segment)
            index += len(slots)

    # What the viewer's reports call

    def on_nack(self, sequences: tuple[int, ...], *, now: float) -> None:
        """Sends the packets again that are still held, on the RTX stream when there is one."""
        self.stats.nacks += 1
        self.stats.nacked += len(sequences)
        resend = self._resend
        if resend is None:
            resend = self._resend = _Resend()
        address = self._path.address
        if address is None:
            return
        for sequence in sequences[:MAX_ANSWERS_AT_ONCE]:
            index = nearest(self._index - 1, sequence)
            if index < self._index and resend.suppressor.admit(
                index, now=now, round_trip=self.stats.round_trip
            ):
                self._send_again(index, resend, address)

    def on_report(self, block: ReportBlock, *, now: float, clock: StreamClock) -> None:
        """A report block about this source."""
        stats = self.stats
        stats.reports += 1
        stats.loss = block.fraction_lost / 256
        stats.lost = block.lost
        stats.jitter = block.jitter / self.clock_rate
        if block.last_report:
            arrived = ntp_time(now, clock) >> 16 & _MASK
            trip = (arrived - block.last_report - block.delay) & _MASK
            # Negative by a rounding is nought; what is longer than a minute is nonsense.
            if trip >= 0x80000000:
                trip = 0
            if trip < 60 << 16:
                stats.round_trip = trip / 65536

    def sender_report(self, *, now: float, clock: StreamClock) -> bytes:
        """A compound of sender report and name, not yet protected (RFC 3550 section 6.4.1).

        Sound and picture of a viewer tell the time by the same clock, that of the ingest.
        """
        elapsed = now - clock.clock_origin
        rtp_time = round(elapsed * self.clock_rate) + self._offset & _MASK
        stats = self.stats
        report = SenderReport(
            self.ssrc,
            ntp_time(now, clock),
            rtp_time,
            stats.packets & _MASK,
            stats.bytes & _MASK,
        )
        names = ((self.ssrc, self._cname),)
        return report.serialize() + SourceDescription(names).serialize()

    def send_report(self, *, now: float, clock: StreamClock) -> None:
        """Call every second or two, and first right after the downlink was added."""
        self._send_control(self.sender_report(now=now, clock=clock))
        # What was sent before the last report but one is too old to be asked for. Its runs would
        # keep the cache of a track alive that has long ended.
        expired, last = self._reported
        self._reported = (last, self._index)
        while len(self._runs) > 1 and self._runs[1].start <= expired:
            self._runs.popleft()

    def send_goodbye(self, *, now: float, clock: StreamClock) -> None:
        """Tells the viewer that the track ends."""
        report = self.sender_report(now=now, clock=clock)
        self._send_control(report + Goodbye((self.ssrc,)).serialize())

    # Inside

    def _begin_run(self, start: int, shift: int, offset: int, cache: PacketCache) -> None:
        self._runs.append(_Run(start, shift, offset, cache))
        self._shift = shift
        self._run_offset = offset
        self._cache = cache

    def _send_again(self, index: int, resend: _Resend, address: Address) -> None:
        run = next((run for run in reversed(self._runs) if run.start <= index), None)
        found = run.cache.packet(index - run.shift) if run is not None else None
        if run is None or found is None:
            return
        cut, number = found
        payload = cut.fragments[number]
        flags = RTP_VERSION
        if cut.marks and number == len(cut.fragments) - 1:
            flags |= MARKER
        timestamp = cut.timestamp + run.offset + self._offset & _MASK
        if self.rtx is None:
            header = _header(flags | self.payload_type, index, timestamp, self.ssrc)
            packet = self._protector.protect(header, payload, index)
        else:
            protector = resend.protector
            if protector is None:
                protector = resend.protector = self._crypto.sender(self.rtx.ssrc)
                resend.index = secrets.randbelow(0x8000)
            header = _header(flags | self.rtx.payload_type, resend.index, timestamp, self.rtx.ssrc)
            original = (index & 0xFFFF).to_bytes(2, "big")
            packet = protector.protect(header, original + payload, resend.index)
            resend.index += 1
        self.stats.retransmitted += 1
        self.stats.retransmitted_bytes += len(packet)
        self._sink.send(address, packet)

    def _send_control(self, packet: bytes) -> None:
        address = self._path.address
        if address is not None:
            self._sink.send(address, self._crypto.protect_rtcp(packet))


def ntp_time(now: float, clock: StreamClock) -> int:
    """32.32 fixed-point seconds since 1900 (RFC 3550 section 4) of a monotonic time."""
    seconds = clock.wall_origin + (now - clock.clock_origin) + NTP_EPOCH
    return int(seconds * (1 << 32)) & 0xFFFFFFFFFFFFFFFF


def _header(flags: int, index: int, timestamp: int, ssrc: int) -> bytes:
    word = flags << 80 | (index & 0xFFFF) << 64 | timestamp << 32 | ssrc
    return word.to_bytes(HEADER, "big")
