"""A reader and checker of playlists that knows nothing of the code under test."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"\n]*"|[^",\s]+)(?:,|$)')
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def attributes(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _ATTRIBUTE.match(text, at)
        assert match, f"no attribute list: {text!r}"
        assert match[1] not in found, f"{match[1]} twice"
        found[match[1]] = match[2]
        at = match.end()
    return found


def _unquoted(text: str) -> str:
    assert text[0] == text[-1] == '"'
    return text[1:-1]


@dataclass
class PartLine:
    uri: str
    duration: float
    independent: bool


@dataclass
class SegmentLines:
    msn: int
    uri: str = ""
    duration: float = 0.0
    map: str = ""
    discontinuity: bool = False
    date: float = 0.0
    parts: list[PartLine] = field(default_factory=list)

    @property
    def length(self) -> float:
        return self.duration or sum(part.duration for part in self.parts)

    def identity(self) -> tuple[object, ...]:
        return self.msn, self.uri, self.duration, self.map, self.discontinuity, self.date


@dataclass
class MediaPlaylist:
    tags: dict[str, str]
    control: dict[str, str]
    segments: list[SegmentLines]
    """The last one may be open: without a URI."""
    skipped: int
    hint: str | None
    reports: dict[str, tuple[int, int]]
    ended: bool

    @property
    def target(self) -> int:
        return int(self.tags["EXT-X-TARGETDURATION"])

    @property
    def part_target(self) -> float:
        return float(attributes(self.tags["EXT-X-PART-INF"])["PART-TARGET"])

    @property
    def media_sequence(self) -> int:
        return int(self.tags["EXT-X-MEDIA-SEQUENCE"])

    @property
    def discontinuity_sequence(self) -> int:
        return int(self.tags["EXT-X-DISCONTINUITY-SEQUENCE"])

    @property
    def closed(self) -> list[SegmentLines]:
        return [segment for segment in self.segments if segment.uri]

    @property
    def last(self) -> tuple[int, int]:
        newest = self.segments[-1]
        return newest.msn, len(newest.parts) - 1


_HEADER = (
    "EXT-X-VERSION",
    "EXT-X-TARGETDURATION",
    "EXT-X-SERVER-CONTROL",
    "EXT-X-PART-INF",
    "EXT-X-MEDIA-SEQUENCE",
    "EXT-X-DISCONTINUITY-SEQUENCE",
    "EXT-X-INDEPENDENT-SEGMENTS",
)


def parse_media(text: str) -> MediaPlaylist:  # noqa: C901, PLR0912, PLR0915 - a tag each
    """Fails on anything that a media playlist of ours should not have."""
    assert text.endswith("\n")
    lines = text[:-1].split("\n")
    assert lines[0] == "#EXTM3U"
    tags: dict[str, str] = {}
    segments: list[SegmentLines] = []
    reports: dict[str, tuple[int, int]] = {}
    skipped, hint, ended, map_uri = 0, None, False, ""
    current: SegmentLines | None = None

    def opened() -> SegmentLines:
        nonlocal current
        if current is None:
            number = int(tags["EXT-X-MEDIA-SEQUENCE"]) + skipped + len(segments)
            current = SegmentLines(number, map=map_uri)
        return current

    for line in lines[1:]:
        assert line == line.strip()
        assert line
        name, _, value = line.removeprefix("#").partition(":")
        if not line.startswith("#"):
            segment = opened()
            assert segment.duration, "a URI without EXTINF"
            segment.uri = line
            segments.append(segment)
            current = None
        elif name in _HEADER:
            assert name not in tags, f"{name} twice"
            assert not segments
            assert current is None, f"{name} after a segment"
            tags[name] = value
        elif name == "EXT-X-SKIP":
            assert not skipped
            assert not segments
            found = attributes(value)
            skipped = int(found["SKIPPED-SEGMENTS"])
            assert skipped > 0
            tags[name] = value
        elif name == "EXT-X-DISCONTINUITY":
            assert current is None, "not the first tag of its segment"
            opened().discontinuity = True
        elif name == "EXT-X-MAP":
            assert not opened().parts
            map_uri = opened().map = _unquoted(attributes(value)["URI"])
        elif name == "EXT-X-PROGRAM-DATE-TIME":
            assert not opened().parts
            assert _DATE.fullmatch(value)
            opened().date = datetime.fromisoformat(value).timestamp()
        elif name == "EXT-X-PART":
            found = attributes(value)
            assert found.keys() <= {"DURATION", "URI", "INDEPENDENT"}
            independent = found.get("INDEPENDENT")
            assert independent in (None, "YES")
            part = PartLine(
                _unquoted(found["URI"]), float(found["DURATION"]), independent is not None
            )
            opened().parts.append(part)
        elif name == "EXTINF":
            assert value.endswith(",")
            opened().duration = float(value[:-1])
        elif name == "EXT-X-PRELOAD-HINT":
            assert hint is None
            found = attributes(value)
            assert found["TYPE"] == "PART"
            hint = _unquoted(found["URI"])
        elif name == "EXT-X-RENDITION-REPORT":
            found = attributes(value)
            uri = _unquoted(found["URI"])
            assert not uri.startswith("/")
            assert "://" not in uri
            reports[uri] = int(found["LAST-MSN"]), int(found["LAST-PART"])
        elif name == "EXT-X-ENDLIST":
            assert not ended
            ended = True
        else:
            raise AssertionError(f"a tag that we do not write: {line}")
    if current is not None:
        assert current.parts, "tags without a segment"
        segments.append(current)
    control = attributes(tags["EXT-X-SERVER-CONTROL"])
    return MediaPlaylist(tags, control, segments, skipped, hint, reports, ended)


def check_media(playlist: MediaPlaylist, *, others: int = 0, longest_unit: float = 0.0) -> None:
    """Sections 3.1 to 3.9 of the conformance facts, as far as one playlist tells.

    `longest_unit` in seconds: how long one picture of the source may stay, which is what part
    lengths that break the rule are excused by.
    """
    target, part_target = playlist.target, playlist.part_target
    control = playlist.control
    ranges = "RECENTLY-REMOVED-DATERANGES" in playlist.tags.get("EXT-X-SKIP", "")
    assert int(playlist.tags["EXT-X-VERSION"]) >= (10 if ranges else 9)
    assert control["CAN-BLOCK-RELOAD"] == "YES"
    assert float(control["PART-HOLD-BACK"]) >= 3 * part_target - 1e-9
    assert float(control["HOLD-BACK"]) >= 3 * target
    assert float(control["CAN-SKIP-UNTIL"]) >= 6 * target
    assert playlist.segments
    assert playlist.segments[0].map, "the first segment needs its EXT-X-MAP"
    assert all(segment.date for segment in playlist.segments)
    assert all(segment.uri for segment in playlist.segments[:-1])
    assert all(round(segment.duration) <= target for segment in playlist.closed)
    for segment in playlist.segments:
        check_parts(segment, part_target, longest_unit)
    for before, after in pairwise(playlist.segments):
        distance = after.date - before.date - before.length
        if after.discontinuity:
            assert distance > -0.2, "wall time goes back"
        else:
            assert abs(distance) < 0.003
    _check_part_reach(playlist)
    assert len(playlist.reports) == others
    if playlist.ended:
        assert playlist.hint is None
        assert playlist.segments[-1].uri
    else:
        newest = playlist.segments[-1]
        msn, part = (newest.msn + 1, 0) if newest.uri else (newest.msn, len(newest.parts))
        assert playlist.hint is not None
        assert playlist.hint.endswith(f"/{msn}.{part}.m4s")


def check_parts(segment: SegmentLines, part_target: float, longest_unit: float) -> None:
    if not segment.parts:
        return
    last = len(segment.parts) - 1
    for index, part in enumerate(segment.parts):
        assert part.duration <= max(part_target, longest_unit) + 1e-5
        is_final = index == last and bool(segment.uri)
        if not is_final and not part.independent:
            excused = part.duration + longest_unit > part_target
            assert part.duration >= 0.85 * part_target - 1e-5 or excused
        assert part.uri.endswith(f"/{segment.msn}.{index}.m4s")
    if segment.uri:
        total = sum(part.duration for part in segment.parts)
        assert abs(total - segment.duration) < 1e-5 * (len(segment.parts) + 1)


def _check_part_reach(playlist: MediaPlaylist) -> None:
    """Parts are listed for whole segments, up to three target durations back, and no further than
    the segment that this cuts through."""
    behind = 0.0
    for segment in reversed(playlist.segments):
        if behind < 3 * playlist.target - 1e-3:
            assert segment.parts, f"parts of {segment.msn} are missing"
        elif behind > 3 * playlist.target + 1e-3:
            assert not segment.parts, f"parts of {segment.msn} stay too long"
        behind += segment.length


def check_update(before: MediaPlaylist, after: MediaPlaylist) -> None:
    """What a server may change between two full playlists (6.2.1, 6.2.2)."""
    for tag in ("EXT-X-TARGETDURATION", "EXT-X-PART-INF", "EXT-X-SERVER-CONTROL"):
        assert before.tags[tag] == after.tags[tag]
    gone = after.media_sequence - before.media_sequence
    assert gone >= 0
    removed = before.segments[:gone]
    tags_gone = sum(segment.discontinuity for segment in removed)
    assert after.discontinuity_sequence == before.discontinuity_sequence + tags_gone
    if removed:
        assert sum(segment.length for segment in after.segments) >= 3 * after.target
    for old, new in zip(before.segments[gone:], after.segments, strict=False):
        if old.uri:
            assert old.identity() == new.identity()
        if new.parts:
            assert new.parts[: len(old.parts)] == old.parts
    assert after.last >= before.last or after.ended


def merge(before: MediaPlaylist, delta: MediaPlaylist) -> list[tuple[object, ...]]:
    """The segments of a delta update put together with those of the playlist before it."""
    known = {segment.msn: segment for segment in before.segments}
    first = delta.media_sequence
    kept = [known[msn] for msn in range(first, first + delta.skipped)]
    return [segment.identity() for segment in (*kept, *delta.segments)]


def parse_multivariant(text: str) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The attributes of EXT-X-MEDIA and of EXT-X-STREAM-INF, the latter with `URI`."""
    assert text.startswith("#EXTM3U\n#EXT-X-VERSION:")
    media, variants = [], []
    lines = iter(text[:-1].split("\n"))
    for line in lines:
        name, _, value = line.removeprefix("#").partition(":")
        if name == "EXT-X-MEDIA":
            media.append(attributes(value))
        elif name == "EXT-X-STREAM-INF":
            variants.append({**attributes(value), "URI": next(lines)})
        else:
            assert name in ("EXTM3U", "EXT-X-VERSION", "EXT-X-INDEPENDENT-SEGMENTS")
    assert variants
    for variant in variants:
        assert int(variant["BANDWIDTH"]) >= int(variant["AVERAGE-BANDWIDTH"]) > 0
        assert variant["CODECS"]
    return media, variants
