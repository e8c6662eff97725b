"""One stream's packager: listens to the stream, and makes presentations of it.

Theory of operation. A presentation has a fixed set of tracks and picture codec, since players can
follow other parameters (a discontinuity and a new initialization segment) but no other set:

    WAITING ──(tracks settled, half a second measured)──► PACKAGING ──(the stream ends)──► ended
       ▲                                                      │
       └────────(another set of tracks or picture codec)──────┘

While WAITING, units are kept from the newest keyframes on, so that nothing is lost. A presentation
that is left gets EXT-X-ENDLIST and can still be fetched; the index then names the next one.
A source whose sound is not AAC is waited for until the codec worker gives AAC, at most
`WORKER_WAIT`; then the picture goes alone.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

import structlog

from media.codecs.strings import codec_string
from media.errors import InvalidBitstream
from media.stream import AUDIO, AUDIO_AAC, VIDEO, Notice, Phase, Stream
from media.units import CLOCK_RATE, AccessUnit, Codec, Kind, Track, TrackId
from transcoder.hls import cmaf
from transcoder.hls.doorbell import Doorbell
from transcoder.hls.presentation import HlsConfig, Presentation, frame_rate

log = structlog.get_logger(__name__)

WORKER_WAIT: Final = 3 * CLOCK_RATE
LONG_INTERVAL: Final = 4.0
LONG_INTERVAL_NOTICE: Final = "long_keyframe_interval"
MOST_PENDING: Final = 32 << 20
LONGEST_PENDING: Final = 15 * CLOCK_RATE
_AAC: Final = frozenset({Codec.AAC})


class Packager:
    """A `StreamSink`. `presentation` is the newest; `left` is called with each that has ended."""

    def __init__(
        self,
        stream: Stream,
        config: HlsConfig,
        *,
        new_id: Callable[[], str],
        left: Callable[[Presentation], None],
    ) -> None:
        self._stream = stream
        self._config = config
        self._new_id = new_id
        self._left = left
        self._pending: deque[AccessUnit] = deque()
        self._pending_bytes = 0
        self._pictures: tuple[int, int] | None = None
        self._rejected: dict[TrackId, Track] = {}
        self._warned = False
        self.presentation: Presentation | None = None
        self.begun = Doorbell()

    # Called by the stream

    def on_track(self, track: Track) -> None:
        if not self._is_usable(track):
            return
        self._review()
        current = self.presentation
        if current is None or track != self._wanted(track.kind):
            return
        try:
            followed = current.announce(track)
        except InvalidBitstream:
            followed = False
        if not followed:
            self._leave()

    def on_track_removed(self, track: TrackId) -> None:
        self._review()

    def on_unit(self, unit: AccessUnit) -> None:
        if self.presentation is None:
            self._wait(unit)
            return
        self.presentation.receive(unit)
        if unit.keyframe and unit.track == VIDEO:
            self._watch_interval(self.presentation.keyframe_interval)

    def on_gap(self) -> None:
        self._forget()
        if self.presentation is not None:
            self.presentation.interrupt()

    def on_reordering(self, track: TrackId) -> None:
        """B-frames stay: whoever plays HLS can show them."""

    def on_phase(self, phase: Phase) -> None:
        if phase is Phase.ENDED:
            self._leave()
            self._forget()
            self.begun.ring()

    # Which tracks there are

    def _is_usable(self, track: Track) -> bool:
        """Whether a player can be told of the track: a broken configuration makes it not exist."""
        try:
            cmaf.initialization(track)
            codec_string(track)
        except InvalidBitstream as error:
            self._rejected[track.id] = track
            room = self._stream.room
            log.info("hls.track_refused", room=room, track=track.id, reason=str(error))
            self._review()
            return False
        self._rejected.pop(track.id, None)
        return True

    def _wanted(self, kind: Kind) -> Track | None:
        if kind is Kind.VIDEO:
            track = self._stream.track(VIDEO)
        else:
            track = self._stream.pick((AUDIO, _AAC), (AUDIO_AAC, _AAC))
        return track if track is not None and track.id not in self._rejected else None

    def _review(self) -> None:
        """Leaves the presentation when the source has come to have another set of tracks."""
        current = self.presentation
        if current is None:
            return
        picture = self._wanted(Kind.VIDEO)
        sounds = self._wanted(Kind.AUDIO) is not None
        if current.has_sound and self._stream.track(AUDIO) is not None:
            sounds = True  # another codec, or the worker is away for a moment: silence until then
        source = self._wanted(Kind.AUDIO)
        current.listen(source.id if source else None)
        same = (picture.codec if picture else None) == current.picture_codec
        if not same or sounds != current.has_sound:
            self._leave()

    def _leave(self) -> None:
        current, self.presentation = self.presentation, None
        if current is None:
            return
        self._forget()
        for unit in current.finish():
            self._keep(unit)
        log.info("hls.ended", room=self._stream.room, presentation=current.id)
        self._left(current)

    # Waiting for enough to begin with

    def _wait(self, unit: AccessUnit) -> None:
        self._keep(unit)
        if not self._stream.settled or not self._pending:
            return
        picture, sound = self._wanted(Kind.VIDEO), self._wanted(Kind.AUDIO)
        first = self._pending[0].dts
        owed = sound is None and self._stream.track(AUDIO) is not None
        if owed and unit.dts - first < WORKER_WAIT:
            return
        if picture is None and sound is None:
            return
        if picture is not None and not self._has_measured():
            return
        self._begin(picture, sound)

    def _has_measured(self) -> bool:
        """Whether the pictures kept last for a part, which is when the first could be published."""
        if self._pictures is None:
            return False
        first, last = self._pictures
        return last - first >= self._config.part_s * CLOCK_RATE

    def _begin(self, picture: Track | None, sound: Track | None) -> None:
        rate = frame_rate(self._pending, picture, VIDEO) if picture is not None else 0.0
        try:
            self.presentation = Presentation(
                self._new_id(),
                self._config,
                wall_origin=self._stream.wall_origin,
                picture=picture,
                sound=sound,
                frame_rate=rate,
            )
        except InvalidBitstream as error:
            log.info("hls.track_refused", room=self._stream.room, reason=str(error))
            return
        log.info(
            "hls.started",
            room=self._stream.room,
            presentation=self.presentation.id,
            picture=picture.codec if picture else None,
            sound=sound.id if sound else None,
            frame_rate=round(rate, 3),
        )
        pending = [*self._pending]
        self._forget()
        for unit in pending:
            self.presentation.receive(unit)
        self.begun.ring()

    def _keep(self, unit: AccessUnit) -> None:
        if unit.track == VIDEO and unit.keyframe and self._pending_bytes > MOST_PENDING // 2:
            self._forget()
        if unit.track == VIDEO:
            if self._pictures is None and not unit.keyframe:
                return
            self._pictures = (self._pictures or (unit.dts, 0))[0], unit.dts
        self._pending.append(unit)
        self._pending_bytes += len(unit.payload)
        too_long = unit.dts - self._pending[0].dts > LONGEST_PENDING
        if self._pending_bytes > MOST_PENDING or too_long:
            self._forget()

    def _forget(self) -> None:
        self._pending.clear()
        self._pending_bytes = 0
        self._pictures = None

    # What the publisher should know

    def _watch_interval(self, interval: float) -> None:
        if interval > LONG_INTERVAL:
            self._warned = True
            self._stream.notify(
                Notice(
                    LONG_INTERVAL_NOTICE,
                    f"Keyframes come {round(interval)} s apart, so viewers start late; set the "
                    "encoder's keyframe interval to 2 s.",
                )
            )
        elif self._warned and interval:
            self._warned = False
            self._stream.clear_notice(LONG_INTERVAL_NOTICE)
