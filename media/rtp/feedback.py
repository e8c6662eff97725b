"""What a viewer's RTCP asks for, given to the downlinks it is about."""

from collections.abc import Iterable

from media.rtp.downlink import Downlink, StreamClock
from media.rtp.rtcp import (
    FullIntraRequest,
    Nack,
    PictureLoss,
    ReceiverReport,
    Remb,
    ReportBlock,
    SenderReport,
    parse_compound,
)


class ViewerFeedback:
    """All downlinks of one viewer by their sources. `estimate` is the newest REMB in bits a
    second."""

    def __init__(self, downlinks: Iterable[Downlink], *, clock: StreamClock) -> None:
        self._downlinks = {downlink.ssrc: downlink for downlink in downlinks}
        self._clock = clock
        self.estimate: int | None = None
        self.estimated_at = 0.0

    def receive(self, compound: bytes, *, now: float) -> None:
        """A decrypted RTCP datagram; raises `RtcpError`. What is about others' sources is
        ignored."""
        for packet in parse_compound(compound):
            match packet:
                case Nack():
                    downlink = self._downlinks.get(packet.ssrc)
                    if downlink is not None:
                        downlink.on_nack(packet.lost, now=now)
                case PictureLoss():
                    self._picture_lost(packet.ssrc, now)
                case FullIntraRequest():
                    for ssrc in {ssrc for ssrc, _ in packet.requests}:
                        self._picture_lost(ssrc, now)
                case SenderReport() | ReceiverReport():
                    self._reported(packet.blocks, now)
                case Remb():
                    self.estimate = packet.bitrate
                    self.estimated_at = now
                case _:
                    pass

    def _picture_lost(self, ssrc: int, now: float) -> None:
        downlink = self._downlinks.get(ssrc)
        if downlink is not None:
            downlink.on_picture_loss(now=now)

    def _reported(self, blocks: tuple[ReportBlock, ...], now: float) -> None:
        for block in blocks:
            downlink = self._downlinks.get(block.ssrc)
            if downlink is not None:
                downlink.on_report(block, now=now, clock=self._clock)
