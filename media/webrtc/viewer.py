"""One viewer: wires its transport to the tracks of a broadcast.

What it takes it gives back in `close`: the timer, its places in the fan-outs and in the broadcast,
and, through `on_closed`, whatever its owner registered for it. Every way out leads through there.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from configs.kernel.clock import Clock
from media.rtp.downlink import Downlink, DownlinkStats, Rtx
from media.rtp.fanout import TrackFanout
from media.rtp.rtcp import (
    FullIntraRequest,
    Nack,
    PictureLoss,
    ReceiverReport,
    Remb,
    ReportBlock,
    RtcpPacket,
    SenderReport,
)
from media.units import CLOCK_RATE, Codec, Kind
from media.webrtc import stun
from media.webrtc.alarm import Alarm
from media.webrtc.answer import Source
from media.webrtc.broadcast import Broadcast
from media.webrtc.ice import Path
from media.webrtc.negotiation import Agreement
from media.webrtc.peer import ControlReceived, PathChanged, Peer, PeerClosed, Ready
from media.webrtc.route import Route, Transport
from media.webrtc.srtp import SrtpProfile, SrtpSession

log = structlog.get_logger(__name__)

REPORT_INTERVAL: Final = 1.5
"""Seconds between two sender reports of a source."""

OPUS_RATE: Final = 48_000


@dataclass(frozen=True, slots=True)
class ViewerStats:
    """A moment's figures: `age` in seconds, `bitrate_estimate` the viewer's, in bits a second."""

    session: str
    room: str
    remote: str
    profile: SrtpProfile | None
    age: float
    bitrate_estimate: int | None
    video: DownlinkStats | None
    audio: DownlinkStats | None


@dataclass(slots=True)
class _Outlet:
    """One leg that can send: its downlink, and the fan-out that it was last placed in."""

    codec: Codec
    downlink: Downlink
    fanout: TrackFanout | None = None


class Viewer:
    """Begins with an agreement, sends once its peer is ready, and until it is closed.

    `on_connected` is called when the handshake is done, `on_closed` as the very last.
    """

    def __init__(
        self,
        session: str,
        *,
        peer: Peer,
        agreement: Agreement,
        sources: Sequence[Source],
        broadcast: Broadcast,
        transport: Transport,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        on_connected: Callable[["Viewer"], None],
        on_closed: Callable[["Viewer"], None],
    ) -> None:
        self.session = session
        self.peer = peer
        self.agreement = agreement
        self.broadcast = broadcast
        self.room = broadcast.stream.room
        self.started_at = clock.monotonic()
        self.closed = False
        self.bitrate_estimate: int | None = None
        self._sources = tuple(sources)
        self._transport = transport
        self._clock = clock
        self._alarm = Alarm(loop, clock, self._handle_timer)
        self._on_connected = on_connected
        self._on_closed = on_closed
        self._route = Route()
        self._outlets: tuple[_Outlet, ...] = ()
        self._report_at: float | None = None
        broadcast.join(self)
        self._alarm.set(peer.next_timer())

    # What the endpoint calls

    @property
    def connected(self) -> bool:
        """Whether the handshake is done."""
        return self.peer.connected

    def receive_check(self, message: stun.Message, path: Path) -> bool:
        """A STUN message that names this viewer; True when it was really from it."""
        authentic = self.peer.receive_check(message, path, now=self._clock.monotonic())
        self._advance()
        return authentic

    def receive_datagram(self, data: bytes, path: Path) -> None:
        self.peer.receive_datagram(data, path, now=self._clock.monotonic())
        self._advance()

    def path_lost(self, path: Path) -> None:
        self.peer.path_lost(path)
        self._advance()

    # What the broadcast calls

    def tracks_changed(self) -> None:
        for outlet in self._outlets:
            fanout = self.broadcast.fanout_for(outlet.codec.kind, outlet.codec)
            if fanout is not outlet.fanout:
                self.broadcast.place(outlet.downlink, fanout, outlet.fanout)
                outlet.fanout = fanout
            if fanout is None and self._is_left_behind(outlet.codec):
                self.close("codec_changed", "the picture goes on in another codec")
                return

    def stream_ended(self) -> None:
        self.close("stream_ended")

    # The way out

    def close(self, code: str, reason: str = "") -> None:
        """Sends no more from here on, says goodbye, and gives everything back."""
        if self.closed:
            return
        self.closed = True
        now = self._clock.monotonic()
        for outlet in self._outlets:
            self.broadcast.place(outlet.downlink, None, outlet.fanout)
            outlet.downlink.send_goodbye(now=now, clock=self.broadcast.stream)
        self.peer.close()
        self._flush()
        self._alarm.cancel()
        self._route.lead_nowhere()
        self._outlets = ()
        self.broadcast.leave(self)
        self._on_closed(self)
        log.info(
            "whep.viewer_left",
            room=self.room,
            session=self.session[:6],
            code=code,
            reason=reason,
            seconds=round(now - self.started_at, 1),
        )

    def stats(self) -> ViewerStats:
        by_kind = {outlet.codec.kind: outlet.downlink.stats for outlet in self._outlets}
        path = self.peer.ice.selected
        return ViewerStats(
            self.session,
            self.room,
            f"{path.host}:{path.port}" if path is not None else "",
            self.peer.profile,
            self._clock.monotonic() - self.started_at,
            self.bitrate_estimate,
            by_kind.get(Kind.VIDEO),
            by_kind.get(Kind.AUDIO),
        )

    # Inside

    def _advance(self) -> None:
        """Sends what the peer has to say, and acts upon what it found out."""
        self._flush()
        while (event := self.peer.next_event()) is not None:
            match event:
                case Ready(session):
                    self._start(session)
                case PathChanged(path):
                    self._lead_to(path)
                case ControlReceived(packets):
                    self._control(packets)
                case PeerClosed(code, reason):
                    # Without consent nothing more may be sent (RFC 7675 §5.1), not even goodbye.
                    self._route.lead_nowhere()
                    self.close(code, reason)
        if not self.closed:
            self._alarm.set(self.peer.next_timer())

    def _flush(self) -> None:
        for path, data in self.peer.data_to_send():
            reached = self._transport.sink(path)
            if reached is not None:
                address, sink = reached
                sink.send(address, data)

    def _lead_to(self, path: Path | None) -> None:
        reached = self._transport.sink(path) if path is not None else None
        if reached is None:
            self._route.lead_nowhere()
        else:
            self._route.lead_to(*reached)

    def _start(self, session: SrtpSession) -> None:
        self._on_connected(self)
        self._outlets = tuple(
            _Outlet(
                leg.codec,
                Downlink(
                    ssrc=source.ssrc,
                    payload_type=leg.payload_type,
                    clock_rate=OPUS_RATE if leg.codec is Codec.OPUS else CLOCK_RATE,
                    crypto=session,
                    path=self._route,
                    sink=self._route,
                    rtx=Rtx(source.rtx_ssrc, leg.rtx_payload_type)
                    if leg.rtx_payload_type is not None and source.rtx_ssrc is not None
                    else None,
                    cname=source.cname,
                ),
            )
            for leg, source in zip(self.agreement.legs, self._sources, strict=True)
        )
        path = self.peer.ice.selected
        log.info(
            "whep.viewer_joined",
            room=self.room,
            session=self.session[:6],
            peer=f"{path.host}:{path.port}" if path is not None else "",
            transport=path.transport if path is not None else "",
            srtp=session.profile.name,
            milliseconds=round((self._clock.monotonic() - self.started_at) * 1000),
        )
        self.tracks_changed()
        self._report()

    def _report(self) -> None:
        now = self._clock.monotonic()
        for outlet in self._outlets:
            outlet.downlink.send_report(now=now, clock=self.broadcast.stream)
        self._report_at = now + REPORT_INTERVAL
        self._alarm.set(self._report_at)

    def _handle_timer(self) -> None:
        now = self._clock.monotonic()
        if self._report_at is not None and self._report_at <= now:
            self._report()
        deadline = self.peer.next_timer()
        if deadline is not None and deadline <= now:
            self.peer.handle_timer(now=now)
        self._advance()
        if not self.closed:
            self._alarm.set(self._report_at)

    def _control(self, packets: Sequence[RtcpPacket]) -> None:
        for packet in packets:
            match packet:
                case ReceiverReport(blocks=blocks) | SenderReport(blocks=blocks):
                    self._reports(blocks)
                case Nack(ssrc=ssrc, lost=lost):
                    outlet = self._outlet(ssrc)
                    if outlet is not None:
                        outlet.downlink.on_nack(lost, now=self._clock.monotonic())
                case PictureLoss(ssrc=ssrc):
                    self._picture_lost(ssrc)
                case FullIntraRequest(requests=requests):
                    for ssrc, _ in requests:
                        self._picture_lost(ssrc)
                case Remb(bitrate=bitrate):
                    self.bitrate_estimate = bitrate
                case _:
                    # A goodbye of the viewer's own source says nothing of ours: it goes with the
                    # closing of a track, and the session has DTLS and HTTP to end it.
                    pass

    def _reports(self, blocks: Sequence[ReportBlock]) -> None:
        now = self._clock.monotonic()
        for block in blocks:
            outlet = self._outlet(block.ssrc)
            if outlet is not None:
                outlet.downlink.on_report(block, now=now, clock=self.broadcast.stream)

    def _picture_lost(self, ssrc: int) -> None:
        outlet = self._outlet(ssrc)
        if outlet is not None and outlet.fanout is not None:
            outlet.downlink.stats.picture_losses += 1
            self.broadcast.restart(outlet.downlink, outlet.fanout)

    def _is_left_behind(self, codec: Codec) -> bool:
        """Whether the picture will not come back in what was agreed upon: HEVC or AV1 gave way to
        H.264. The viewer has to offer anew. (The other way round it waits to be re-encoded.)"""
        return codec in (Codec.HEVC, Codec.AV1) and bool(self.broadcast.video_tracks())

    def _outlet(self, ssrc: int) -> _Outlet | None:
        return next((o for o in self._outlets if o.downlink.ssrc == ssrc), None)
