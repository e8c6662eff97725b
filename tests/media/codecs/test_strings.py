import pytest

from media.codecs import aac, av1
from media.codecs.strings import codec_string
from media.errors import InvalidBitstream
from media.stream import AUDIO, VIDEO
from media.units import Codec, Track
from tests.support.bitstreams import (
    AvcSequence,
    HevcSequence,
    av1_sequence,
    avc_track,
    hevc_track,
    opus_track,
)


def av1_track(sequence: bytes) -> Track:
    return av1.track(VIDEO, av1.Av1Config(av1.Obu(1, sequence)).serialize())


@pytest.mark.parametrize(
    ("track", "expected"),
    [
        (avc_track(AvcSequence(profile=100, level=31)), "avc1.64001f"),
        (avc_track(AvcSequence(profile=66, constraints=0xC0, level=13)), "avc1.42c00d"),
        (hevc_track(), "hvc1.1.6.L93.90"),
        (
            hevc_track(
                HevcSequence(
                    profile=4,
                    compatibility=0x08000000,
                    constraints=0x9E0800000000,
                    tier=1,
                    level=60,
                )
            ),
            "hvc1.4.10.H60.9E.8",
        ),
        (hevc_track(HevcSequence(constraints=0)), "hvc1.1.6.L93"),
        (av1_track(av1_sequence()), "av01.0.05M.08"),
        (av1_track(av1_sequence(ten_bit=True, level=13, tier=1)), "av01.0.13H.10"),
        (aac.track(AUDIO, bytes.fromhex("1190")), "mp4a.40.2"),
        (aac.track(AUDIO, bytes.fromhex("2b920800")), "mp4a.40.5"),
        (aac.track(AUDIO, bytes.fromhex("eb8a0800")), "mp4a.40.29"),
        (opus_track(), "opus"),
    ],
)
def test_codec_strings(track: Track, expected: str) -> None:
    assert codec_string(track) == expected


@pytest.mark.parametrize("codec", [Codec.H264, Codec.HEVC, Codec.AV1, Codec.AAC])
def test_a_broken_config_has_none(codec: Codec) -> None:
    with pytest.raises(InvalidBitstream):
        codec_string(Track(VIDEO, codec, b"\x00"))
