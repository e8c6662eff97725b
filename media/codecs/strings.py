"""Codec strings as in HLS playlists and MediaSource (RFC 6381 and the codecs' own annexes)."""

from media.codecs import aac, h264, hevc
from media.codecs.av1 import Av1Config
from media.units import Codec, Track


def codec_string(track: Track) -> str:
    """E.g. "avc1.64001f"; raises InvalidBitstream if the track's config is broken."""
    match track.codec:
        case Codec.H264:
            return f"avc1.{h264.profile_level_id(track)}"
        case Codec.HEVC:
            return _hevc(hevc.parse_sps(hevc.HvcConfig.parse(track.config).sps[0]).profile)
        case Codec.AV1:
            head = Av1Config.parse(track.config).header
            tier = "H" if head.tier else "M"
            return f"av01.{head.profile}.{head.level_idx:02d}{tier}.{head.bit_depth:02d}"
        case Codec.AAC:
            return f"mp4a.40.{aac.AudioConfig.parse(track.config).signalled_object_type}"
        case Codec.OPUS:
            return "opus"


def _hevc(profile: hevc.ProfileTierLevel) -> str:
    """ISO/IEC 14496-15, E.3: "hvc1.1.6.L93.90"; zero bytes at the end are left out."""
    space = ("", "A", "B", "C")[profile.profile_space]
    compatibility = int(f"{profile.compatibility:032b}"[::-1], 2)
    constraints = profile.constraints.to_bytes(6, "big").rstrip(b"\x00")
    tier = "H" if profile.tier else "L"
    parts = [
        f"hvc1.{space}{profile.profile_idc}",
        f"{compatibility:X}",
        f"{tier}{profile.level_idc}",
        *(f"{byte:X}" for byte in constraints),
    ]
    return ".".join(parts)
