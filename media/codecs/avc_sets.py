"""The parameter sets of an H.264 track, as they come among the pictures or in front of them."""

from collections.abc import Iterable
from typing import Final

from media.codecs import h264
from media.codecs.bits import BitReader
from media.codecs.h264 import AvcConfig
from media.codecs.nal import rbsp
from media.errors import InvalidBitstream
from media.units import Track, TrackId

_PARAMETERS: Final = frozenset({h264.NAL_SPS, h264.NAL_PPS, h264.NAL_SPS_EXTENSION})
_PICTURE: Final = frozenset({1, 2, 3, 4, h264.NAL_IDR, h264.NAL_SEI, 19})
"""What is kept: the base picture's slices, auxiliary ones, and messages. Delimiters, filler,
end codes and the enhancement layers of SVC and MVC are not."""
_SLICES: Final = frozenset({1, 2, h264.NAL_IDR})

_RECOVERY_POINT: Final = 6


class AvcSets:
    def __init__(self, track_id: TrackId, config: bytes | None) -> None:
        self._id = track_id
        self._config: AvcConfig | None = AvcConfig.parse(config) if config else None
        self._track = h264.track(track_id, self._config) if self._config else None
        self._sps: dict[int, bytes] = {}
        self._pps: dict[int, bytes] = {}
        self._seen: frozenset[bytes] = frozenset()
        if self._config:
            self._sps = {h264.parse_sps(nal).id: nal for nal in self._config.sps}
            self._pps = {h264.pps_ids(nal)[0]: nal for nal in self._config.pps}

    def track(self) -> Track | None:
        return self._track

    def sort(self, nals: Iterable[bytes]) -> tuple[list[bytes], bool]:
        kept: list[bytes] = []
        parameters: list[bytes] = []
        picture = idr = recovery = False
        for nal in nals:
            kind = h264.nal_type(nal)
            if kind in _PICTURE:
                kept.append(nal)
                picture = picture or kind in _SLICES
                idr = idr or kind == h264.NAL_IDR
                recovery = recovery or (kind == h264.NAL_SEI and _is_recovery_point(nal))
            elif kind in _PARAMETERS:
                parameters.append(nal)
        if parameters:
            self._learn(parameters)
        if not picture:
            return [], False
        return kept, idr or (recovery and _is_intra(kept))

    def _learn(self, nals: list[bytes]) -> None:
        """Encoders repeat their parameter sets; only what is new is looked into."""
        seen = frozenset(nals)
        if seen == self._seen and self._track is not None:
            return
        sps = {h264.parse_sps(n).id: n for n in nals if h264.nal_type(n) == h264.NAL_SPS}
        pps = {h264.pps_ids(n)[0]: n for n in nals if h264.nal_type(n) == h264.NAL_PPS}
        extensions = tuple(n for n in nals if h264.nal_type(n) == h264.NAL_SPS_EXTENSION)
        if any(self._sps.get(key) != nal for key, nal in sps.items()):
            # Another sequence: what came before, perhaps under other ids, is of no use now.
            # A picture parameter set that is missing here may still follow alone.
            pps = pps or self._pps
        else:
            sps, pps = self._sps, self._pps | pps
        if sps and pps:
            known = AvcConfig(_in_order(sps), _in_order(pps), extensions)
            if known != self._config:
                self._track, self._config = h264.track(self._id, known), known
        self._sps, self._pps = sps, pps
        self._seen = seen


def _in_order(sets: dict[int, bytes]) -> tuple[bytes, ...]:
    return tuple(sets[key] for key in sorted(sets))


def _is_recovery_point(nal: bytes) -> bool:
    """Whether a message says that decoding can start here at once: recovery_frame_cnt 0 (D.1.8).

    Open groups of pictures start so, without an IDR picture."""
    data, position = rbsp(nal[1:512]), 0
    while position + 2 < len(data):
        kind, position = _read_sei_number(data, position)
        size, position = _read_sei_number(data, position)
        if kind == _RECOVERY_POINT:
            return position < len(data) and bool(data[position] & 0x80)
        position += size
    return False


def _read_sei_number(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    while position < len(data):
        value += data[position]
        position += 1
        if data[position - 1] != 0xFF:
            break
    return value, position


def _is_intra(nals: Iterable[bytes]) -> bool:
    """Whether all slices are I slices (slice_type 2 or 7)."""
    for nal in nals:
        if h264.nal_type(nal) not in _SLICES:
            continue
        try:
            bits = BitReader(rbsp(nal[1:16]))
            bits.ue()
            slice_type = bits.ue(9)
        except InvalidBitstream:
            return False
        if slice_type % 5 != 2:
            return False
    return True
