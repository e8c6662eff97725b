"""Decides what of a viewer's offer we send (RFC 8829 §5.3, RFC 9143): at most one picture and one
sound, in one BUNDLE, with the stream's own codec where the offer has it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from configs.kernel.errors import PeerError
from media.units import Codec, Track
from media.webrtc.certificate import Fingerprint
from media.webrtc.h264_profile import best_match, negotiated_level_id
from media.webrtc.ice import Credentials
from media.webrtc.sdp import Format, Offer, Section

VIDEO_FEEDBACK: Final = ("ccm fir", "goog-remb", "nack", "nack pli")
"""What we act upon; nothing else is agreed to."""

OPUS_PARAMETERS: Final = "minptime=10;useinbandfec=1;stereo=1;sprop-stereo=1"
REENCODED_PROFILE: Final = "42e01f"
"""What the re-encoded rendition is promised to be while it does not exist yet."""

_ENCODINGS: Final = {Codec.H264: "h264", Codec.HEVC: "h265", Codec.AV1: "av1"}


@dataclass(frozen=True, slots=True)
class Leg:
    """One accepted m-line: `index` counts the offer's m-lines, `parameters` is our fmtp."""

    index: int
    codec: Codec
    payload_type: int
    rtx_payload_type: int | None
    parameters: str
    feedback: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Agreement:
    """What will be sent, and whom the transport has to expect; `mid` is the bundle's own."""

    video: Leg | None
    audio: Leg | None
    remote: Credentials
    fingerprints: tuple[Fingerprint, ...]
    mid: str | None

    @property
    def legs(self) -> tuple[Leg, ...]:
        return tuple(leg for leg in (self.video, self.audio) if leg is not None)


def negotiate(offer: Offer, video_tracks: Sequence[Track]) -> Agreement:
    """Chooses payload types for the first of `video_tracks` that the offer can take, best first.

    When it can take none of them it will get the re-encoded rendition, so H.264 is agreed upon.
    Raises `PeerError` with code ``offer_unacceptable`` when the offer asks for something that we do
    not do, and ``no_common_codec`` when it has no codec that we could send.
    """
    sections = [s for s in offer.sections if s.is_media and s.direction != "inactive"]
    if any(section.direction == "sendonly" for section in sections):
        raise _unacceptable("this endpoint only sends; offer recvonly or sendrecv media")
    for kind in ("video", "audio"):
        if sum(section.kind == kind for section in sections) > 1:
            raise _unacceptable(f"more than one {kind} m-line; offer one")
    if not sections:
        raise _unacceptable("nothing to send: no audio or video m-line to receive with")

    video = audio = None
    for index, section in enumerate(offer.sections):
        if section not in sections:
            continue
        if section.kind == "video":
            video = _video_leg(index, section, video_tracks)
        else:
            audio = _audio_leg(index, section)
    accepted = [offer.sections[leg.index] for leg in (video, audio) if leg is not None]
    if not accepted:
        raise PeerError("no codec in common: offer Opus", code="no_common_codec")
    return _agreement(offer, accepted, video, audio)


def _agreement(
    offer: Offer, accepted: Sequence[Section], video: Leg | None, audio: Leg | None
) -> Agreement:
    if len(accepted) > 1 and not all(section.mid in offer.bundle for section in accepted):
        raise _unacceptable("all media must be in one BUNDLE group")
    if not all(section.rtcp_mux for section in accepted):
        raise _unacceptable("rtcp-mux is required")
    # In a bundle the transport's attributes may stand in its first section alone.
    tagged = next((s for s in offer.sections if s.mid in offer.bundle[:1]), accepted[0])
    transport = tagged if tagged.ufrag is not None and tagged.fingerprints else accepted[0]
    if transport.ufrag is None or transport.password is None:
        raise PeerError("session description: no ICE credentials", code="sdp_malformed")
    if not transport.fingerprints:
        raise _unacceptable("no certificate fingerprint of sha-256, sha-384 or sha-512")
    if transport.setup not in ("actpass", "active"):
        raise _unacceptable("a=setup must leave the passive role to the server")
    return Agreement(
        video,
        audio,
        Credentials(transport.ufrag, transport.password),
        transport.fingerprints,
        accepted[0].mid,
    )


def _video_leg(index: int, section: Section, tracks: Sequence[Track]) -> Leg:
    for track in tracks:
        if track.codec is Codec.H264:
            wanted = track.config[1:4].hex()
            chosen = best_match(section.formats, wanted)
            if chosen is not None:
                return _h264_leg(index, section, chosen, wanted)
        else:
            chosen = _by_profile(section.formats, track)
            if chosen is not None:
                parameters = ";".join(f"{k}={v}" for k, v in chosen.parameters.items())
                return _leg(index, section, chosen, track.codec, parameters)
    chosen = best_match(section.formats, REENCODED_PROFILE)
    if chosen is None:
        raise PeerError(
            "no video codec in common: offer H264 with packetization-mode=1",
            code="no_common_codec",
        )
    return _h264_leg(index, section, chosen, REENCODED_PROFILE)


def _h264_leg(index: int, section: Section, chosen: Format, wanted: str) -> Leg:
    level_id = negotiated_level_id(chosen, wanted)
    parameters = f"level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={level_id}"
    return _leg(index, section, chosen, Codec.H264, parameters)


def _by_profile(formats: Sequence[Format], track: Track) -> Format | None:
    """A format of a codec whose profile is one number in the decoder's configuration record."""
    if track.codec is Codec.HEVC and len(track.config) > 1:
        name, profile = "profile-id", track.config[1] & 0x1F
        default = "1"
    elif track.codec is Codec.AV1 and len(track.config) > 1:
        name, profile = "profile", track.config[1] >> 5
        default = "0"
    else:
        return None
    for offered in formats:
        if (
            offered.encoding == _ENCODINGS[track.codec]
            and offered.parameters.get(name, default) == str(profile)
            and offered.parameters.get("tx-mode", "SRST").upper() == "SRST"
        ):
            return offered
    return None


def _audio_leg(index: int, section: Section) -> Leg | None:
    for offered in section.formats:
        if offered.encoding == "opus" and (offered.clock_rate, offered.channels) == (48_000, 2):
            return Leg(index, Codec.OPUS, offered.payload_type, None, OPUS_PARAMETERS, ())
    return None


def _leg(index: int, section: Section, chosen: Format, codec: Codec, parameters: str) -> Leg:
    feedback = tuple(value for value in VIDEO_FEEDBACK if value in chosen.feedback)
    rtx = None
    if "nack" in feedback:
        wanted = str(chosen.payload_type)
        rtx = next(
            (
                f.payload_type
                for f in section.formats
                if f.encoding == "rtx" and f.parameters.get("apt") == wanted
            ),
            None,
        )
    return Leg(index, codec, chosen.payload_type, rtx, parameters, feedback)


def _unacceptable(what: str) -> PeerError:
    return PeerError(what, code="offer_unacceptable")
