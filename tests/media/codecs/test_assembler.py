from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from media.codecs import av1, h264, hevc
from media.codecs.assembler import VideoAssembler
from media.errors import InvalidBitstream, UnsupportedCodec
from media.stream import VIDEO
from media.units import Codec
from tests.support.bitstreams import (
    AV1_INTER_FRAME,
    AV1_KEY_FRAME,
    AVC_AUD,
    AVC_RECOVERY_POINT,
    HEVC_AUD,
    HEVC_VPS,
    AvcSequence,
    HevcSequence,
    av1_sequence,
    avc_config,
    avc_pps,
    avc_slice,
    avc_track,
    hevc_pps,
    hevc_slice,
    hevc_track,
    payload,
)

SPS, PPS = AvcSequence().nal(), avc_pps()
SMALL = AvcSequence(width=640, height=360)
SEI = b"\x06\x05\x04abcd\x80"
FILLER = b"\x0c\xff\xff\x80"


def test_takes_out_what_is_no_picture_and_announces_the_track() -> None:
    assembler = VideoAssembler(VIDEO, Codec.H264)
    idr = avc_slice(idr=True)

    first = assembler.assemble([AVC_AUD, SPS, PPS, SEI, idr, FILLER, b"\x0b"])
    second = assembler.assemble([AVC_AUD, avc_slice()])

    assert first is not None
    assert first.payload == payload(SEI, idr)
    assert first.keyframe
    assert first.track == avc_track()
    assert second is not None
    assert (second.keyframe, second.track) == (False, None)


def test_nothing_comes_before_parameter_sets() -> None:
    assembler = VideoAssembler(VIDEO, Codec.H264)

    assert assembler.assemble([avc_slice()]) is None
    assert assembler.assemble([SPS]) is None
    assert assembler.assemble([avc_slice(idr=True)]) is None
    assert assembler.track is None
    assert assembler.assemble([PPS, avc_slice(idr=True)]) is not None


def test_parameter_sets_may_come_beforehand() -> None:
    assembler = VideoAssembler(VIDEO, Codec.H264, avc_config().serialize())

    assembled = assembler.assemble([avc_slice(idr=True)])

    assert assembled is not None
    assert assembled.track == avc_track() == assembler.track


@pytest.mark.parametrize("nals", [[], [AVC_AUD], [SEI], [SPS, PPS], [b""], [b"\x78aggregate"]])
def test_without_a_slice_there_is_no_picture(nals: list[bytes]) -> None:
    assert VideoAssembler(VIDEO, Codec.H264, avc_config().serialize()).assemble(nals) is None


def test_repeated_parameter_sets_announce_nothing() -> None:
    assembler = VideoAssembler(VIDEO, Codec.H264, avc_config().serialize())
    assembler.assemble([SPS, PPS, avc_slice(idr=True)])

    again = assembler.assemble([SPS, PPS, avc_slice(idr=True)])

    assert again is not None
    assert again.track is None


def test_another_size_is_another_track() -> None:
    assembler = VideoAssembler(VIDEO, Codec.H264, avc_config().serialize())
    assembler.assemble([avc_slice(idr=True)])

    assembler.assemble([SMALL.nal(), PPS])
    changed = assembler.assemble([avc_slice(idr=True)])

    assert changed is not None
    assert changed.track == avc_track(SMALL)


def test_a_new_sequence_under_another_id_replaces_the_old_one() -> None:
    assembler = VideoAssembler(VIDEO, Codec.H264, avc_config().serialize())
    renamed = replace(SMALL, id=1)

    changed = assembler.assemble([renamed.nal(), avc_pps(1, 1), avc_slice(idr=True)])

    assert changed is not None
    assert changed.track == h264.track(VIDEO, h264.AvcConfig((renamed.nal(),), (avc_pps(1, 1),)))


def test_a_further_picture_parameter_set_joins_the_known_ones() -> None:
    assembler = VideoAssembler(VIDEO, Codec.H264, avc_config().serialize())

    changed = assembler.assemble([avc_pps(1), avc_slice()])

    assert changed is not None
    assert changed.track is not None
    assert h264.AvcConfig.parse(changed.track.config).pps == (avc_pps(), avc_pps(1))


def test_broken_parameter_sets_leave_the_known_ones() -> None:
    assembler = VideoAssembler(VIDEO, Codec.H264, avc_config().serialize())

    for broken in ([SPS[:5], PPS], [SPS, b"\x68"], [SMALL.nal(), b"\x68\xee" + bytes(5000)]):
        with pytest.raises(InvalidBitstream):
            assembler.assemble([*broken, avc_slice(idr=True)])

    good = assembler.assemble([avc_slice(idr=True)])
    assert good is not None
    assert good.track == avc_track()


def test_open_groups_of_pictures_begin_at_a_recovery_point() -> None:
    assembler = VideoAssembler(VIDEO, Codec.H264, avc_config().serialize())

    def is_keyframe(*nals: bytes) -> bool:
        assembled = assembler.assemble(nals)
        assert assembled is not None
        return assembled.keyframe

    assert is_keyframe(AVC_RECOVERY_POINT, avc_slice(intra=True))
    assert not is_keyframe(AVC_RECOVERY_POINT, avc_slice())
    assert not is_keyframe(avc_slice(intra=True))
    # Gradual refresh: the picture is whole only some frames later.
    assert not is_keyframe(b"\x06\x06\x01\x58\x80", avc_slice(intra=True))


def test_enhancement_layers_are_left_out() -> None:
    assembler = VideoAssembler(VIDEO, Codec.H264, avc_config().serialize())

    assembled = assembler.assemble(
        [b"\x6e\x40\x80\x07", avc_slice(idr=True), b"\x6f\x76\x00", b"\x74\x40\x80\x07layer"]
    )

    assert assembled is not None
    assert assembled.payload == payload(avc_slice(idr=True))


def test_hevc() -> None:
    assembler = VideoAssembler(VIDEO, Codec.HEVC)
    sequence, pps = HevcSequence(), hevc_pps()
    sei, suffix = b"\x4e\x01\x05\x01a\x80", b"\x50\x01\x84\x01a\x80"
    other_layer = bytes((1 << 1 | 0, 1 << 3 | 1, 0x80)) + b"layer"

    assert assembler.assemble([hevc_slice(19)]) is None
    key = assembler.assemble(
        [HEVC_AUD, HEVC_VPS, sequence.nal(), pps, sei, hevc_slice(21), other_layer, suffix]
    )
    more = assembler.assemble([HEVC_AUD, hevc_slice(1), b"\x4c\x01\xff\x80"])
    changed = assembler.assemble([HevcSequence(width=640).nal(), hevc_slice(19)])

    assert key is not None
    assert (key.payload, key.keyframe) == (payload(sei, hevc_slice(21), suffix), True)
    assert key.track == hevc_track()
    assert more is not None
    assert (more.payload, more.keyframe, more.track) == (payload(hevc_slice(1)), False, None)
    assert changed is not None
    assert changed.track == hevc_track(HevcSequence(width=640))


def test_hevc_keeps_what_it_had_when_a_set_is_broken() -> None:
    assembler = VideoAssembler(VIDEO, Codec.HEVC, hevc_track().config)

    with pytest.raises(InvalidBitstream):
        assembler.assemble([b"\x42\x01\x01", hevc_slice(19)])

    good = assembler.assemble([hevc_slice(19)])
    assert good is not None
    assert good.track == hevc_track()


def test_av1() -> None:
    assembler = VideoAssembler(VIDEO, Codec.AV1)
    header = av1.Obu(1, av1_sequence(640, 360))
    key, inter = av1.Obu(6, AV1_KEY_FRAME), av1.Obu(6, AV1_INTER_FRAME)

    assert assembler.assemble([inter.serialize()]) is None
    first = assembler.assemble([b"\x12\x00" + header.serialize() + key.serialize()])
    second = assembler.assemble([b"\x12\x00", inter.without_size(), b"\x78"])

    assert first is not None
    assert first.payload == header.serialize() + key.serialize()
    assert first.keyframe
    assert first.track == av1.track(VIDEO, av1.Av1Config(header).serialize())
    assert second is not None
    assert (second.payload, second.keyframe, second.track) == (inter.serialize(), False, None)


def test_sound_is_refused() -> None:
    with pytest.raises(UnsupportedCodec):
        VideoAssembler(VIDEO, Codec.OPUS)


nal_units = st.lists(
    st.binary(max_size=40)
    | st.sampled_from([SPS, PPS, SMALL.nal(), avc_slice(idr=True), hevc_slice(19), HEVC_VPS])
    | st.sampled_from([HevcSequence().nal(), hevc_pps(), av1.Obu(1, av1_sequence()).serialize()]),
    max_size=8,
)


@given(st.sampled_from([Codec.H264, Codec.HEVC, Codec.AV1]), st.lists(nal_units, max_size=5))
def test_garbage_raises_nothing_else(codec: Codec, pictures: list[list[bytes]]) -> None:
    assembler = VideoAssembler(VIDEO, codec)

    for nals in pictures:
        try:
            assembled = assembler.assemble(nals)
        except InvalidBitstream:
            continue
        assert assembled is None or assembler.track is not None


def test_hevc_layers_are_told_by_their_id() -> None:
    assert hevc.layer_id(bytes((1 << 1, 3 << 3 | 1))) == 3
