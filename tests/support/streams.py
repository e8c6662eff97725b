"""Builders of tracks and units with defaults, and a sink that writes down what it hears."""

from media.stream import AUDIO, VIDEO, Phase, Stream
from media.units import CLOCK_RATE, AccessUnit, Codec, Track, TrackId


def video_track(track: TrackId = VIDEO, codec: Codec = Codec.H264, config: bytes = b"v") -> Track:
    return Track(track, codec, config, width=1280, height=720, frame_rate=30.0)


def audio_track(track: TrackId = AUDIO, codec: Codec = Codec.AAC, config: bytes = b"a") -> Track:
    return Track(track, codec, config, sample_rate=48000, channels=2)


def unit(
    dts: int,
    *,
    track: TrackId = VIDEO,
    pts: int | None = None,
    keyframe: bool = False,
    payload: bytes = b"x",
) -> AccessUnit:
    return AccessUnit(track, dts if pts is None else pts, dts, keyframe, payload)


def seconds(count: float) -> int:
    """Ticks of 90 kHz."""
    return round(count * CLOCK_RATE)


class Recorder:
    """A `StreamSink` whose `heard` is the list of calls, and `units` that of units."""

    def __init__(self, stream: Stream | None = None, *, replay: bool = False) -> None:
        self.heard: list[tuple[str, object]] = []
        self.units: list[AccessUnit] = []
        if stream is not None:
            stream.attach(self, replay=replay)

    def on_track(self, track: Track) -> None:
        self.heard.append(("track", track))

    def on_track_removed(self, track: TrackId) -> None:
        self.heard.append(("removed", track))

    def on_unit(self, unit: AccessUnit) -> None:
        self.heard.append(("unit", unit))
        self.units.append(unit)

    def on_gap(self) -> None:
        self.heard.append(("gap", None))

    def on_reordering(self, track: TrackId) -> None:
        self.heard.append(("reordering", track))

    def on_phase(self, phase: Phase) -> None:
        self.heard.append(("phase", phase))

    def names(self) -> list[str]:
        return [name for name, _ in self.heard]
