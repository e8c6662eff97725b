"""Coverage-guided fuzzing of the codec headers.

Any error but InvalidBitstream is a finding; libFuzzer writes the input down and stops.
"""

from collections.abc import Callable
from typing import Final

from media.codecs import aac, av1, h264, hevc, opus
from media.codecs.assembler import VideoAssembler
from media.codecs.nal import split_annexb, split_length_prefixed
from media.codecs.strings import codec_string
from media.errors import InvalidBitstream
from media.mpegts.latm import LatmReader
from media.mpegts.opus_units import split_opus
from media.stream import AUDIO, VIDEO
from media.units import Codec
from scripts.fuzz import guided

_AVC_SPS: Final = "67640015acd941533c45e022000003000200000300643e28532c"
_AVC_PPS: Final = "68ebe3cb22c0"
_HEVC_VPS: Final = "40010c01ffff02200000030090000003000003003c00009598acc048"
_HEVC_SPS: Final = (
    "42010202200000030090000003000003003c0000a00a480b9c94d965662b349272bc05a02000000300200000030321"
)
_HEVC_PPS: Final = "4401c172b46240"
_START: Final = "00000001"


def _records(data: bytes) -> None:
    config = h264.AvcConfig.parse(data)
    codec_string(h264.track(VIDEO, config))


def _hevc_records(data: bytes) -> None:
    codec_string(hevc.track(VIDEO, hevc.HvcConfig.parse(data)))


def _av1_records(data: bytes) -> None:
    codec_string(av1.track(VIDEO, data))


def _aac_configs(data: bytes) -> None:
    config = aac.AudioConfig.parse(data)
    again = aac.AudioConfig.parse(config.serialize())
    assert again.sample_rate == config.sample_rate


def _opus_headers(data: bytes) -> None:
    config = opus.OpusConfig.parse(data)
    assert opus.OpusConfig.from_head(config.to_head()) == config


def _adts(data: bytes) -> None:
    frames, rest = aac.split_adts(data)
    assert sum(len(raw) for _, raw in frames) + len(rest) <= len(data)


def _latm(data: bytes) -> None:
    LatmReader().split(data)


def _pictures(codec: Codec) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        assembler = VideoAssembler(VIDEO, codec)
        nals = [data] if codec is Codec.AV1 else split_annexb(data)
        for _ in range(2):
            assembled = assembler.assemble(nals)
            if assembled is not None and assembled.track is not None:
                codec_string(assembled.track)
                VideoAssembler(VIDEO, codec, assembled.track.config)

    return run


TARGETS: Final[tuple[Callable[[bytes], object], ...]] = (
    _records,
    _hevc_records,
    _av1_records,
    _aac_configs,
    _opus_headers,
    _adts,
    _latm,
    split_opus,
    split_length_prefixed,
    opus.packet_samples,
    lambda data: aac.track(AUDIO, data),
    _pictures(Codec.H264),
    _pictures(Codec.HEVC),
    _pictures(Codec.AV1),
)


def fuzz(data: bytes) -> None:
    """The first byte chooses the parser."""
    if not data:
        return
    try:
        TARGETS[data[0] % len(TARGETS)](data[1:])
    except InvalidBitstream:
        return


def seeds() -> list[bytes]:
    avc = h264.AvcConfig((bytes.fromhex(_AVC_SPS),), (bytes.fromhex(_AVC_PPS),))
    hvc = hevc.HvcConfig(
        (bytes.fromhex(_HEVC_VPS),), (bytes.fromhex(_HEVC_SPS),), (bytes.fromhex(_HEVC_PPS),)
    )
    avc_stream = bytes.fromhex(_START.join(["", _AVC_SPS, _AVC_PPS, "6588840021ffc0"]))
    hevc_stream = bytes.fromhex(
        _START.join(["", _HEVC_VPS, _HEVC_SPS, _HEVC_PPS, "2601af0778ffe0"])
    )
    raw = b"\x21" * 30
    bodies = {
        0: avc.serialize(),
        1: hvc.serialize(),
        2: bytes.fromhex("81000c000a0a00000002a08da6ae2018"),
        3: bytes.fromhex("138856e5a54880"),
        4: opus.OpusConfig(6, 312, 48000, 0, 1, 4, 2, b"\x00\x04\x01\x02\x03\x05").serialize(),
        5: aac.adts_header(aac.AudioConfig(2, 48000, 2), len(raw)) + raw,
        6: bytes.fromhex("56e10a2000119008fe0c21212121"),
        7: b"\x7f\xe0\x05opusx",
        8: b"\x00\x00\x00\x02ab",
        9: b"\xff\x03abc",
        10: bytes.fromhex("eb8a0800"),
        11: avc_stream,
        12: hevc_stream,
        13: bytes.fromhex("12000a0a00000002a08da6ae2018") + b"\x32\x05\x10abcd",
    }
    return [bytes((target,)) + body for target, body in bodies.items()]


if __name__ == "__main__":
    guided.run(fuzz, seeds(), packages=("media.codecs", "media.mpegts"))
