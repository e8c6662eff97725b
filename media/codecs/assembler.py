"""Makes the payload of `media.units` out of the NAL units or OBUs of one picture.

It is the one place where parameter sets are picked out of a stream, whichever protocol brought
them: in a record of their own (RTMP) or among the pictures (MPEG-TS, RTP).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from media.codecs import av1
from media.codecs.avc_sets import AvcSets
from media.codecs.hevc_sets import HevcSets
from media.codecs.nal import join_length_prefixed
from media.errors import UnsupportedCodec
from media.units import Codec, Track, TrackId


@dataclass(frozen=True, slots=True)
class Assembled:
    """One picture. `track` is given with the first picture, and with every picture that needs
    other parameters than the one before: announce it before the picture."""

    payload: bytes
    keyframe: bool
    track: Track | None


class ParameterSets(Protocol):
    """What is known of a video track so far."""

    def sort(self, nals: Iterable[bytes]) -> tuple[list[bytes], bool]:
        """Keeps the parameter sets; gives what belongs to the picture, and whether a decoder
        can start with it. An empty list: nothing of a picture is there."""

    def track(self) -> Track | None:
        """None as long as something is missing. The same object until something changes."""


class VideoAssembler:
    """Assembles the pictures of one track. `config` is the avcC, hvcC or av1C record that came
    beforehand, if one did. Raises InvalidBitstream for parameter sets that cannot be read, and
    keeps those it had."""

    def __init__(self, track_id: TrackId, codec: Codec, config: bytes | None = None) -> None:
        self._sets: AvcSets | HevcSets | _Av1Sets
        match codec:
            case Codec.H264:
                self._sets = AvcSets(track_id, config)
            case Codec.HEVC:
                self._sets = HevcSets(track_id, config)
            case Codec.AV1:
                self._sets = _Av1Sets(track_id, config)
            case _:
                raise UnsupportedCodec(f"{codec} is no video")
        self._join = b"".join if codec is Codec.AV1 else join_length_prefixed
        self._announced: Track | None = None

    @property
    def track(self) -> Track | None:
        """The track as known by now, announced or not."""
        return self._sets.track()

    def assemble(self, nals: Iterable[bytes]) -> Assembled | None:
        """All NAL units of one picture, without start codes or lengths; for AV1 the OBUs of one
        temporal unit, each alone or several joined. None: no picture in it, or no parameter
        sets yet."""
        kept, keyframe = self._sets.sort(nals)
        track = self._sets.track()
        if not kept or track is None:
            return None
        changed = track if track != self._announced else None
        self._announced = track
        return Assembled(self._join(kept), keyframe, changed)


class _Av1Sets:
    def __init__(self, track_id: TrackId, config: bytes | None) -> None:
        self._id = track_id
        self._track = av1.track(track_id, config) if config else None
        self._header = av1.Av1Config.parse(config).sequence_header if config else None
        self._still = False

    def track(self) -> Track | None:
        return self._track

    def sort(self, nals: Iterable[bytes]) -> tuple[list[bytes], bool]:
        obus = [obu for chunk in nals for obu in av1.split_obus(chunk)]
        for obu in obus:
            if obu.type == av1.OBU_SEQUENCE_HEADER and obu != self._header:
                self._track = av1.track(self._id, av1.Av1Config(obu).serialize())
                self._header = obu
                self._still = av1.parse_sequence_header(obu.payload).reduced_still_picture
        if not any(obu.type in (av1.OBU_FRAME, av1.OBU_FRAME_HEADER) for obu in obus):
            return [], False
        keyframe = av1.is_keyframe(obus, reduced_still_picture=self._still)
        return [av1.join_obus(obus)], keyframe
