"""Whole streams in virtual time, of every shape a publisher may have, under the eyes of a strict
checker at each change of a playlist."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from random import Random

import pytest
from hypothesis import HealthCheck, Phase as HypothesisPhase, given, settings, strategies as st

from media.stream import AUDIO, VIDEO, Phase, Stream
from media.units import CLOCK_RATE, AccessUnit
from tests.support.clock import FakeClock
from tests.support.hls import ROOM, in_milliseconds, pictures, sound
from tests.support.hls_boxes import Run, continuous, runs, timescale_of
from tests.support.hls_playlist import (
    MediaPlaylist,
    check_media,
    check_update,
    merge,
    parse_media,
    parse_multivariant,
)
from transcoder.hls.playlist import Skip
from transcoder.hls.presentation import HlsConfig, Presentation
from transcoder.hls.service import HlsService

CONFIG = HlsConfig(window_s=16.0)


@dataclass
class Viewer:
    """Reads one rendition at each of its changes and checks what it gets."""

    presentation: Presentation
    name: str
    longest_unit: float
    version: int = -1
    playlist: MediaPlaylist | None = None
    fragments: list[Run] = field(default_factory=list)
    seen: tuple[int, int] = (0, -1)
    scale: int = 0

    def look(self) -> None:
        rendition = self.presentation.outputs[self.name].rendition
        if rendition.version == self.version or not self.presentation.ready:
            return
        self.version = rendition.version
        text = self.presentation.media(self.name, Skip.NOTHING).body.decode()
        playlist = parse_media(text)
        others = len(self.presentation.outputs) - 1
        check_media(playlist, others=others, longest_unit=self.longest_unit)
        if self.playlist is not None:
            check_update(self.playlist, playlist)
        delta = parse_media(self.presentation.media(self.name, Skip.SEGMENTS).body.decode())
        assert merge(playlist, delta) == [one.identity() for one in playlist.segments]
        self.playlist = playlist
        self._read_parts(playlist)

    def _read_parts(self, playlist: MediaPlaylist) -> None:
        rendition = self.presentation.outputs[self.name].rendition
        for listed in playlist.segments:
            if (listed.msn, len(listed.parts)) <= self.seen:
                continue
            segment = rendition.segment(listed.msn)
            assert segment is not None
            initialization = rendition.initialization(segment.initialization)
            assert initialization is not None
            self.scale = timescale_of(initialization)
            fragments = []
            for index, part in enumerate(listed.parts):
                [run] = runs(bytes(segment.part(index)))
                length = (run.end - run.time) / self.scale
                assert abs(length - part.duration) < 1e-5
                assert part.independent == run.keyframes[0]
                fragments.append(run)
            if listed.uri:
                data = segment.data()
                joined = b"".join(bytes(segment.part(n)) for n in range(len(listed.parts)))
                assert data == joined
                self.seen = (listed.msn, len(listed.parts))
                if listed.discontinuity:
                    self.fragments.clear()
                self.fragments = self.fragments[-1:] + fragments
                assert continuous(self.fragments)


@dataclass
class Source:
    """A publisher: what it sends, and how badly."""

    fps: Fraction
    interval: float
    scene_cuts: bool
    jitter_ms: int
    delay_ms: int
    audio_lead_ms: int
    drift_ppm: int
    seed: int

    def units(self, start: float, seconds: float) -> Iterator[AccessUnit]:
        """In order of arrival; times on the stream's clock, in milliseconds as RTMP has them."""
        random = Random(self.seed)
        units = [*self._pictures(random, start, seconds), *self._sounds(random, start, seconds)]
        lead = self.audio_lead_ms * 90
        yield from sorted(units, key=lambda unit: unit.dts + (lead if unit.track == AUDIO else 0))

    def _pictures(self, random: Random, start: float, seconds: float) -> Iterator[AccessUnit]:
        number, keyframe_at, last = 0, -1e9, -1
        while (at := float(number / self.fps)) < seconds:
            keyframe = at - keyframe_at >= self.interval - 1e-6
            if self.scene_cuts and random.random() < 0.01:
                keyframe = True
            if keyframe:
                keyframe_at = at
            wobble = random.randint(-self.jitter_ms, self.jitter_ms) / 1000
            dts = max(round((start + at + max(0.0, wobble)) * CLOCK_RATE), last + 90)
            last = dts
            payload = b"\0\0\0\2\x65p" if keyframe else b"\0\0\0\2\x41p"
            yield in_milliseconds(
                AccessUnit(VIDEO, dts + self.delay_ms * 90, dts, keyframe, payload)
            )
            number += 1

    def _sounds(self, random: Random, start: float, seconds: float) -> Iterator[AccessUnit]:
        number = 0
        pace = 1 + self.drift_ppm / 1e6
        while (at := number * 1024 / 48000 * pace) < seconds:
            wobble = random.randint(0, self.jitter_ms) / 1000
            time = round((start + at + wobble) * CLOCK_RATE)
            yield in_milliseconds(AccessUnit(AUDIO, time, time, True, b"sound"))
            number += 1


def live(config: HlsConfig = CONFIG) -> tuple[HlsService, Stream]:
    clock = FakeClock()
    service = HlsService(clock, config)
    stream = Stream(ROOM, clock_origin=clock.monotonic(), wall_origin=clock.wall())
    service.stream_started(stream)
    return service, stream


def push(
    service: HlsService, stream: Stream, units: Iterator[AccessUnit], viewers: dict[str, Viewer]
) -> None:
    longest = 0.0
    last = 0
    for unit in units:
        if unit.track == VIDEO:
            longest = max(longest, (unit.dts - last) / CLOCK_RATE if last else 0.0)
            last = unit.dts
        stream.push(unit)
        presentation = service.presentation(ROOM)
        if presentation is None:
            continue
        for name in presentation.outputs:
            viewer = viewers.setdefault(name, Viewer(presentation, name, 0.0))
            viewer.longest_unit = max(viewer.longest_unit, longest + 0.002)
            viewer.look()


sources = st.builds(
    Source,
    fps=st.sampled_from([*map(Fraction, (5, 15, 24, 25, 30, 50, 60)), Fraction(30000, 1001)]),
    interval=st.sampled_from([0.5, 1.0, 1.9, 2.0, 3.3, 5.0, 8.0]),
    scene_cuts=st.booleans(),
    jitter_ms=st.sampled_from([0, 0, 3, 12]),
    delay_ms=st.sampled_from([0, 67, 100]),
    audio_lead_ms=st.integers(-700, 900),
    drift_ppm=st.sampled_from([0, 80, -200]),
    seed=st.integers(0, 9999),
)


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[HypothesisPhase.explicit, HypothesisPhase.generate],  # a smaller stream is no clearer
)
@given(first=sources, second=sources, pause=st.floats(0.05, 9.0), length=st.integers(20, 45))
def test_every_shape_of_stream_gives_conforming_playlists(
    first: Source, second: Source, pause: float, length: int
) -> None:
    service, stream = live()
    viewers: dict[str, Viewer] = {}
    stream.set_track(pictures(gop=30).track)
    stream.set_track(sound(frames=50).track)

    push(service, stream, first.units(0.2, length), viewers)
    stream.enter(Phase.GRACE)
    stream.gap()
    stream.enter(Phase.LIVE)
    push(service, stream, second.units(1.5 + length + pause, length), viewers)
    presentation = service.presentation(ROOM)
    stream.enter(Phase.ENDED)

    assert presentation is not None
    for viewer in viewers.values():
        viewer.look()
        assert viewer.playlist is not None
        assert viewer.playlist.ended
        assert (
            viewer.playlist.discontinuity_sequence
            + sum(segment.discontinuity for segment in viewer.playlist.segments)
            == 1
        )
    parse_multivariant(presentation.index().body.decode())


@pytest.mark.parametrize("fps", [24, 25, 30, 60])
def test_even_streams_keep_every_length_without_excuse(fps: int) -> None:
    source = Source(Fraction(fps), 2.0, False, 0, 0, 0, 0, 1)
    service, stream = live()
    stream.set_track(pictures(gop=30).track)
    stream.set_track(sound(frames=50).track)
    viewers: dict[str, Viewer] = {}
    push(service, stream, source.units(0.0, 40), viewers)

    for name, viewer in viewers.items():
        viewer.longest_unit = 0.0
        viewer.version = -1
        viewer.look()
        assert viewer.playlist is not None
        closed = [one for one in viewer.playlist.closed if one.parts]
        assert {len(segment.parts) for segment in closed} == {4}, name
        assert all(abs(segment.duration - 2.0) < 0.022 for segment in closed)


def test_sound_is_cut_where_the_picture_is() -> None:
    source = Source(Fraction(30), 2.0, False, 3, 0, 200, 80, 1)
    service, stream = live()
    stream.set_track(pictures(gop=30).track)
    stream.set_track(sound(frames=50).track)
    push(service, stream, source.units(0.0, 40), {})

    presentation = service.presentation(ROOM)
    assert presentation is not None
    starts = {
        name: {one.msn: one.start for one in output.rendition.listed}
        for name, output in presentation.outputs.items()
    }
    common = starts["video"].keys() & starts["audio"].keys()
    assert len(common) >= 9
    assert all(abs(starts["video"][msn] - starts["audio"][msn]) < 0.035 for msn in common)


def test_timestamps_do_not_drift_in_many_minutes_of_milliseconds() -> None:
    source = Source(Fraction(30000, 1001), 2.0, False, 0, 0, 0, 80, 1)
    service, stream = live()
    stream.set_track(pictures(gop=30).track)
    stream.set_track(sound(frames=50).track)
    last = {}
    for unit in source.units(0.0, 1200):
        last[unit.track] = unit.dts / CLOCK_RATE
        stream.push(unit)

    presentation = service.presentation(ROOM)
    assert presentation is not None
    for name, track in (("video", VIDEO), ("audio", AUDIO)):
        rendition = presentation.outputs[name].rendition
        assert abs(rendition.edge - last[track]) < 0.6
        newest = rendition.segment(rendition.last[0])
        assert newest is not None
        [run] = runs(bytes(newest.part(0)))
        scale = 90_000 if name == "video" else 48_000
        assert abs(run.time / scale - newest.start) < 0.001
        unlisted = rendition.listed[0].start
        assert rendition.edge - unlisted < 6 * rendition.target_duration + 4.1
    # what is held is what may be asked for, not all of it
    assert presentation.size < 5_000_000
