"""Which of the H.264 payload types on offer a stream can be sent with (RFC 6184 §8.1, RFC 7742).

A profile is compared by what it means, not by its digits: ``42c01f`` of an encoder and ``42e01f``
of a browser are both Constrained Baseline.
"""

from collections.abc import Sequence
from enum import Enum, auto
from typing import Final

from media.webrtc.sdp import Format

DEFAULT_LEVEL_ID: Final = "420010"


class Profile(Enum):
    CONSTRAINED_BASELINE = auto()
    BASELINE = auto()
    MAIN = auto()
    EXTENDED = auto()
    CONSTRAINED_HIGH = auto()
    HIGH = auto()
    OTHER = auto()


# profile_idc, mask and value of profile_iop (RFC 6184 table 5).
_PATTERNS: Final = (
    (0x42, 0x4F, 0x40, Profile.CONSTRAINED_BASELINE),
    (0x4D, 0x8F, 0x80, Profile.CONSTRAINED_BASELINE),
    (0x58, 0xCF, 0xC0, Profile.CONSTRAINED_BASELINE),
    (0x42, 0x4F, 0x00, Profile.BASELINE),
    (0x58, 0xCF, 0x80, Profile.BASELINE),
    (0x4D, 0xAF, 0x00, Profile.MAIN),
    (0x58, 0xCF, 0x00, Profile.EXTENDED),
    (0x64, 0xFF, 0x0C, Profile.CONSTRAINED_HIGH),
    (0x64, 0xFF, 0x00, Profile.HIGH),
)

# Who decodes what, best first. The last resorts promise less than is sent, and are still right:
# a browser offers only Constrained Baseline when it does not know what its decoder can do, and
# refusing it the stream that it would have shown helps nobody.
_PREFERENCES: Final = {
    Profile.CONSTRAINED_BASELINE: (
        Profile.CONSTRAINED_BASELINE,
        Profile.BASELINE,
        Profile.MAIN,
        Profile.CONSTRAINED_HIGH,
        Profile.HIGH,
    ),
    Profile.BASELINE: (
        Profile.BASELINE,
        Profile.CONSTRAINED_BASELINE,
        Profile.MAIN,
        Profile.HIGH,
    ),
    Profile.MAIN: (
        Profile.MAIN,
        Profile.HIGH,
        Profile.CONSTRAINED_HIGH,
        Profile.CONSTRAINED_BASELINE,
        Profile.BASELINE,
    ),
    Profile.CONSTRAINED_HIGH: (
        Profile.CONSTRAINED_HIGH,
        Profile.HIGH,
        Profile.MAIN,
        Profile.CONSTRAINED_BASELINE,
        Profile.BASELINE,
    ),
    Profile.HIGH: (
        Profile.HIGH,
        Profile.CONSTRAINED_HIGH,
        Profile.MAIN,
        Profile.CONSTRAINED_BASELINE,
        Profile.BASELINE,
    ),
}


def profile_of(level_id: str) -> Profile:
    """The profile that a profile-level-id of six hex digits names."""
    try:
        value = int(level_id, 16)
    except ValueError:
        return Profile.OTHER
    if len(level_id) != 6:
        return Profile.OTHER
    idc, iop = value >> 16, value >> 8 & 0xFF
    for wanted_idc, mask, wanted, profile in _PATTERNS:
        if idc == wanted_idc and iop & mask == wanted:
            return profile
    return Profile.OTHER


def best_match(formats: Sequence[Format], level_id: str) -> Format | None:
    """The payload type to send a stream of this profile-level-id with; None when no H.264 is on
    offer that takes fragmented NAL units (packetization mode 1)."""
    offered = [f for f in formats if f.encoding == "h264" and f.clock_rate == 90_000]
    # A client that names no mode at all takes fragments, too; one that insists on 0 does not.
    usable = [f for f in offered if f.parameters.get("packetization-mode") == "1"] or [
        f for f in offered if "packetization-mode" not in f.parameters
    ]
    order = _PREFERENCES.get(profile_of(level_id), _PREFERENCES[Profile.HIGH])
    ranked = [
        (order.index(profile), position)
        for position, f in enumerate(usable)
        if (profile := profile_of(f.parameters.get("profile-level-id", DEFAULT_LEVEL_ID))) in order
    ]
    return usable[min(ranked)[1]] if ranked else None


def negotiated_level_id(offered: Format, own: str) -> str:
    """The answer's profile-level-id: the stream's own, as far as the offer lets us say it."""
    theirs = offered.parameters.get("profile-level-id", DEFAULT_LEVEL_ID).lower()
    own = own.lower()
    same_profile = profile_of(theirs) is profile_of(own)
    any_level = offered.parameters.get("level-asymmetry-allowed") == "1"
    fits = any_level or int(own[4:], 16) <= int(theirs[4:], 16)
    if same_profile:
        return own if fits else theirs
    # Another profile was agreed upon: its digits, with the level of the stream.
    return theirs[:4] + own[4:] if fits else theirs
