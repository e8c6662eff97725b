"""The parameter sets of an HEVC track, as they come among the pictures or in front of them."""

from collections.abc import Iterable
from typing import Final

from media.codecs import hevc
from media.codecs.hevc import HvcConfig
from media.units import Track, TrackId

_PARAMETERS: Final = frozenset({hevc.NAL_VPS, hevc.NAL_SPS, hevc.NAL_PPS})
_MESSAGES: Final = frozenset({hevc.NAL_SEI_PREFIX, hevc.NAL_SEI_SUFFIX})


class HevcSets:
    def __init__(self, track_id: TrackId, config: bytes | None) -> None:
        self._id = track_id
        self._config: HvcConfig | None = HvcConfig.parse(config) if config else None
        self._track = hevc.track(track_id, self._config) if self._config else None
        self._sets: dict[int, dict[int, bytes]] = {kind: {} for kind in _PARAMETERS}
        self._seen: frozenset[bytes] = frozenset()
        if self._config:
            self._sets = _by_id((*self._config.vps, *self._config.sps, *self._config.pps))

    def track(self) -> Track | None:
        return self._track

    def sort(self, nals: Iterable[bytes]) -> tuple[list[bytes], bool]:
        kept: list[bytes] = []
        parameters: list[bytes] = []
        picture = keyframe = False
        for nal in nals:
            if len(nal) < 2 or hevc.layer_id(nal):
                continue
            kind = hevc.nal_type(nal)
            if hevc.is_slice(kind):
                kept.append(nal)
                picture = True
                keyframe = keyframe or hevc.is_irap(kind)
            elif kind in _MESSAGES:
                kept.append(nal)
            elif kind in _PARAMETERS:
                parameters.append(nal)
        if parameters:
            self._learn(parameters)
        return (kept, keyframe) if picture else ([], False)

    def _learn(self, nals: list[bytes]) -> None:
        """Encoders repeat their parameter sets; only what is new is looked into."""
        seen = frozenset(nals)
        if seen == self._seen and self._track is not None:
            return
        new = _by_id(nals)
        old = self._sets
        if any(old[hevc.NAL_SPS].get(key) != nal for key, nal in new[hevc.NAL_SPS].items()):
            # Another sequence: what came before, perhaps under other ids, is of no use now.
            sets = {kind: new[kind] or old[kind] for kind in _PARAMETERS}
        else:
            sets = {kind: old[kind] | new[kind] for kind in _PARAMETERS}
        if all(sets.values()):
            vps, sps, pps = (
                tuple(nal for _, nal in sorted(sets[kind].items()))
                for kind in (hevc.NAL_VPS, hevc.NAL_SPS, hevc.NAL_PPS)
            )
            known = HvcConfig(vps, sps, pps)
            if known != self._config:
                self._track, self._config = hevc.track(self._id, known), known
        self._sets = sets
        self._seen = seen


def _by_id(nals: Iterable[bytes]) -> dict[int, dict[int, bytes]]:
    sets: dict[int, dict[int, bytes]] = {kind: {} for kind in _PARAMETERS}
    for nal in nals:
        kind = hevc.nal_type(nal)
        number = hevc.parse_sps(nal).id if kind == hevc.NAL_SPS else hevc.parameter_set_id(nal)
        sets[kind][number] = nal
    return sets
