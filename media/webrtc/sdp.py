"""Reads session descriptions that browsers send (RFC 8866, RFC 8829) into what we act upon.

Lenient where browsers differ (line ends, unknown lines and attributes, missing mids, mDNS
candidates), strict where a misreading would break the session later: ICE and DTLS parameters. All
counts are bounded. Candidates of the client are not even read: a lite agent has no use for them.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from configs.kernel.errors import PeerError
from media.webrtc.certificate import Fingerprint

MAX_SIZE: Final = 64 << 10
MAX_SECTIONS: Final = 32
MAX_FORMATS: Final = 128
MAX_LINES: Final = 4096

_LINE: Final = re.compile(r"([a-z])=(.*)")
_MEDIA: Final = re.compile(
    r"([a-z]+) ([0-9]{1,5})(?:/[0-9]{1,5})? ([A-Za-z0-9/]{1,32}) (\S.{0,1024})"
)
_UFRAG: Final = re.compile(r"[A-Za-z0-9+/=_-]{4,256}")
_PASSWORD: Final = re.compile(r"[A-Za-z0-9+/=_-]{22,256}")
_MID: Final = re.compile(r"[!#-'*+.0-9A-Z^-~-]{1,64}")
_ENCODING: Final = re.compile(r"([A-Za-z0-9._-]{1,32})/([0-9]{1,7})(?:/([0-9]{1,2}))?")
_DIRECTIONS: Final = frozenset({"sendrecv", "sendonly", "recvonly", "inactive"})
_SETUPS: Final = frozenset({"actpass", "active", "passive", "holdconn"})


@dataclass(frozen=True, slots=True)
class Format:
    """A payload type on offer. `encoding` and the keys of `parameters` are in lower case;
    `feedback` has values of ``a=rtcp-fb``, such as ``nack pli``."""

    payload_type: int
    encoding: str
    clock_rate: int
    channels: int
    parameters: Mapping[str, str]
    feedback: frozenset[str]


@dataclass(frozen=True, slots=True)
class Section:
    """One m-line with its attributes; those missing were taken from the session's. `protocol` and
    `format_list` are the m-line's own words, for an answer that refuses it."""

    kind: str
    port: int
    protocol: str
    format_list: str
    mid: str | None
    direction: str
    setup: str
    ufrag: str | None
    password: str | None
    fingerprints: tuple[Fingerprint, ...]
    rtcp_mux: bool
    rtcp_rsize: bool
    bundle_only: bool
    formats: tuple[Format, ...]

    @property
    def is_media(self) -> bool:
        """Whether it is sound or picture over SRTP, and not switched off by the client itself."""
        return (
            self.kind in ("audio", "video")
            and "RTP/SAVP" in self.protocol
            and (self.port != 0 or self.bundle_only)
        )


@dataclass(frozen=True, slots=True)
class Offer:
    """A parsed offer: its m-lines in order, and the mids of its first BUNDLE group."""

    sections: tuple[Section, ...]
    bundle: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fragment:
    """What a ``trickle-ice-sdpfrag`` (RFC 8840) says of the ICE session that it belongs to."""

    ufrag: str | None
    password: str | None


def parse_offer(text: str) -> Offer:
    """Raises `PeerError` with code ``sdp_malformed`` for what is no session description."""
    lines = _lines(text)
    if not lines or lines[0] != ("v", "0"):
        raise _malformed("it does not begin with v=0")
    session = _Attributes()
    groups: list[_Attributes] = []
    for kind, value in lines:
        if kind == "m":
            if len(groups) == MAX_SECTIONS:
                raise _malformed("too many m-lines")
            groups.append(_Attributes(value))
        elif kind == "a":
            (groups[-1] if groups else session).add(value)
    if not groups:
        raise _malformed("no m-line")
    sections = tuple(_section(group, session) for group in groups)
    mids = [section.mid for section in sections if section.mid is not None]
    if len(mids) != len(set(mids)):
        raise _malformed("a mid is given twice")
    bundle = next((v.split()[1:] for v in session.all("group") if v.split()[:1] == ["BUNDLE"]), [])
    return Offer(sections, tuple(bundle))


def parse_fragment(text: str) -> Fragment:
    """Raises `PeerError` with code ``sdp_malformed``. Candidates in it are passed over."""
    attributes = _Attributes()
    for kind, value in _lines(text):
        if kind == "a":
            attributes.add(value)
        elif kind != "m":
            raise _malformed(f"{kind}= has no place in a fragment")
    return Fragment(
        _credential(attributes.get("ice-ufrag"), _UFRAG),
        _credential(attributes.get("ice-pwd"), _PASSWORD),
    )


class _Attributes:
    """The a-lines of the session or of one m-line, by name, in order."""

    def __init__(self, media: str = "") -> None:
        self.media = media
        self._values: dict[str, list[str]] = {}

    def add(self, line: str) -> None:
        name, _, value = line.partition(":")
        self._values.setdefault(name.strip().lower(), []).append(value.strip())

    def all(self, name: str) -> list[str]:
        return self._values.get(name, [])

    def get(self, name: str) -> str | None:
        values = self._values.get(name)
        return values[0] if values else None

    def has(self, name: str) -> bool:
        return name in self._values

    def one_of(self, names: frozenset[str]) -> str | None:
        return next((name for name in self._values if name in names), None)


def _lines(text: str) -> list[tuple[str, str]]:
    if len(text) > MAX_SIZE:
        raise _malformed("too long")
    lines: list[tuple[str, str]] = []
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        stripped = line.strip(" \t")
        if not stripped:
            continue
        match = _LINE.fullmatch(stripped)
        if match is None:
            raise _malformed("a line is not of the form x=...")
        lines.append((match[1], match[2].strip()))
    if len(lines) > MAX_LINES:
        raise _malformed("too many lines")
    return lines


def _section(own: _Attributes, session: _Attributes) -> Section:
    match = _MEDIA.fullmatch(own.media)
    if match is None or int(match[2]) > 0xFFFF:
        raise _malformed("an m-line cannot be read")
    kind, protocol, format_list = match[1], match[3], match[4]
    fingerprints = own.all("fingerprint") or session.all("fingerprint")
    setup = own.get("setup") or session.get("setup") or "actpass"
    if setup not in _SETUPS:
        raise _malformed("unknown a=setup")
    mid = own.get("mid")
    if mid is not None and not _MID.fullmatch(mid):
        raise _malformed("a mid is not a token")
    return Section(
        kind=kind,
        port=int(match[2]),
        protocol=protocol,
        format_list=format_list,
        mid=mid,
        direction=own.one_of(_DIRECTIONS) or session.one_of(_DIRECTIONS) or "sendrecv",
        setup=setup,
        ufrag=_credential(own.get("ice-ufrag") or session.get("ice-ufrag"), _UFRAG),
        password=_credential(own.get("ice-pwd") or session.get("ice-pwd"), _PASSWORD),
        fingerprints=tuple(
            parsed for f in fingerprints[:16] if (parsed := Fingerprint.parse(f)) is not None
        ),
        rtcp_mux=own.has("rtcp-mux") or own.has("rtcp-mux-only"),
        rtcp_rsize=own.has("rtcp-rsize"),
        bundle_only=own.has("bundle-only"),
        formats=tuple(_formats(kind, format_list, own)),
    )


def _formats(kind: str, format_list: str, own: _Attributes) -> Iterator[Format]:
    if kind not in ("audio", "video"):
        return
    words = format_list.split()
    if len(words) > MAX_FORMATS:
        raise _malformed("too many payload types")
    encodings = dict(_numbered(own.all("rtpmap")))
    parameters = dict(_numbered(own.all("fmtp")))
    feedback: dict[str, set[str]] = {}
    for line in own.all("rtcp-fb"):
        target, _, value = line.partition(" ")
        feedback.setdefault(target, set()).add(" ".join(value.split()).lower())
    for word in dict.fromkeys(words):
        if not (word.isascii() and word.isdecimal() and int(word) < 128):
            raise _malformed("a payload type is not a number below 128")
        number = int(word)
        match = _ENCODING.fullmatch(encodings.get(number, ""))
        if match is None:
            continue  # A static payload type, or nonsense: nothing that we could send.
        yield Format(
            payload_type=number,
            encoding=match[1].lower(),
            clock_rate=int(match[2]),
            channels=int(match[3] or 1),
            parameters=_parameters(parameters.get(number, "")),
            feedback=frozenset(feedback.get(word, set()) | feedback.get("*", set())),
        )


def _numbered(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Splits ``96 VP8/90000`` into its number and the rest."""
    for line in lines:
        number, _, rest = line.partition(" ")
        if number.isascii() and number.isdecimal() and len(number) <= 3:
            yield int(number), rest.strip()


def _parameters(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in text.split(";"):
        name, _, value = item.strip().partition("=")
        if name:
            found[name.strip().lower()] = value.strip()
    return found


def _credential(value: str | None, syntax: re.Pattern[str]) -> str | None:
    if value is not None and not syntax.fullmatch(value):
        raise _malformed("ICE credentials cannot be read")
    return value


def _malformed(what: str) -> PeerError:
    return PeerError(f"session description: {what}", code="sdp_malformed")
