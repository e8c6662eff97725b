import pytest
from hypothesis import given, strategies as st

from media.codecs import aac
from media.codecs.aac import AudioConfig, adts_header, split_adts
from media.codecs.bits import BitWriter
from media.errors import InvalidBitstream
from media.stream import AUDIO

LC = AudioConfig(2, 48000, 2)

configs = st.builds(
    AudioConfig,
    object_type=st.sampled_from([1, 2, 3, 4, 23]),
    sample_rate=st.sampled_from([7350, 22050, 44100, 48000, 96000]) | st.integers(1, 0xFFFFFF),
    channels=st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8]),
    extension_rate=st.just(0) | st.sampled_from([44100, 48000]) | st.integers(1, 0xFFFFFF),
    frame_samples=st.sampled_from([960, 1024]),
)


@given(configs)
def test_config_reads_back(config: AudioConfig) -> None:
    assert AudioConfig.parse(config.serialize()) == config


@pytest.mark.parametrize(
    ("asc", "expected", "signalled"),
    [
        ("1190", AudioConfig(2, 48000, 2), 2),
        ("1388", AudioConfig(2, 22050, 1), 2),
        ("123856e500", AudioConfig(2, 44100, 8), 2),
        # HE-AAC, told in front
        ("2b920800", AudioConfig(2, 22050, 2, 44100), 5),
        # HE-AAC, told behind
        ("139056e5a0", AudioConfig(2, 22050, 2, 44100), 5),
        # HE-AAC v2, told in front and behind
        ("eb8a0800", AudioConfig(2, 22050, 1, 44100, parametric_stereo=True), 29),
        ("138856e5a54880", AudioConfig(2, 22050, 1, 44100, parametric_stereo=True), 29),
        # a rate of its own, 50000 Hz
        ("178061a810", AudioConfig(2, 50000, 2), 2),
    ],
)
def test_reads_known_configs(asc: str, expected: AudioConfig, signalled: int) -> None:
    config = AudioConfig.parse(bytes.fromhex(asc))

    assert config == expected
    assert config.signalled_object_type == signalled


def test_object_types_beyond_30_are_read_and_refused() -> None:
    """42 is xHE-AAC, whose frames are no AAC."""
    with pytest.raises(InvalidBitstream, match="42"):
        AudioConfig.parse(b"\xf9\x46\x40\x00")


def test_channels_of_a_program_config() -> None:
    bits = BitWriter()
    for value, count in ((2, 5), (3, 4), (0, 4), (0, 3)):
        bits.write(value, count)
    # element tag, profile, rate; 1 front pair + 1 front single, 0 side, 1 back pair, 1 low effect
    for value, count in ((0, 4), (1, 2), (3, 4), (2, 4), (0, 4), (1, 4), (1, 2), (0, 3), (0, 4)):
        bits.write(value, count)
    bits.write(0, 3)
    for pair in (0, 1, 1):
        bits.write(pair, 1)
        bits.write(0, 4)
    bits.write(0, 4)
    asc = bits.serialize() + b"\x00"

    assert AudioConfig.parse(asc) == AudioConfig(2, 48000, 6)
    assert aac.track(AUDIO, asc).channels == 6


def test_output_of_parametric_stereo() -> None:
    config = AudioConfig.parse(bytes.fromhex("eb8a0800"))

    assert (config.output_rate, config.output_channels) == (44100, 2)


def test_track_counts_at_the_cores_rate() -> None:
    track = aac.track(AUDIO, bytes.fromhex("2b920800"))

    assert (track.sample_rate, track.channels) == (22050, 2)


@pytest.mark.parametrize("asc", ["", "10", "1780", "11f8", "1e90"])
def test_refuses_broken_configs(asc: str) -> None:
    with pytest.raises(InvalidBitstream):
        AudioConfig.parse(bytes.fromhex(asc))


@given(st.binary(max_size=40))
def test_garbage_configs_are_refused_or_read(asc: bytes) -> None:
    try:
        config = AudioConfig.parse(asc)
    except InvalidBitstream:
        return
    assert config.sample_rate > 0
    assert config.channels > 0


def adts(raw: bytes, config: AudioConfig = LC) -> bytes:
    return adts_header(config, len(raw)) + raw


def with_crc(blocks: list[bytes]) -> bytes:
    """An ADTS frame with a CRC, and positions if there are several blocks."""
    if len(blocks) == 1:
        body = b"\xcc\xcc" + blocks[0]
    else:
        positions, at = b"", 0
        for block in blocks[:-1]:
            at += len(block) + 2
            positions += at.to_bytes(2, "big")
        body = positions + b"\xcc\xcc" + b"".join(block + b"\xdd\xdd" for block in blocks)
    header = bytearray(adts_header(LC, len(body)))
    header[1] &= 0xFE
    header[6] |= len(blocks) - 1
    return bytes(header) + body


raws = st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=6)


@given(raws, st.sampled_from([7350, 44100, 48000]), st.sampled_from([1, 2, 3, 4, 5, 6, 8]))
def test_splits_what_it_frames(blocks: list[bytes], rate: int, channels: int) -> None:
    config = AudioConfig(2, rate, channels)
    data = b"".join(adts(raw, config) for raw in blocks)

    assert split_adts(data) == ([(config, raw) for raw in blocks], b"")


@given(raws, st.data())
def test_keeps_an_unfinished_frame_for_the_next_piece(
    blocks: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(adts(raw) for raw in blocks)
    cut = data.draw(st.integers(0, len(stream)))

    first, rest = split_adts(stream[:cut])
    second, end = split_adts(rest + stream[cut:])

    assert [raw for _, raw in first + second] == blocks
    assert end == b""


def test_frames_with_a_crc() -> None:
    assert split_adts(with_crc([b"abc"])) == ([(LC, b"abc")], b"")


def test_several_blocks_in_a_frame_are_cut_by_their_positions() -> None:
    frames, rest = split_adts(with_crc([b"abc", b"defg", b"hi"]))

    assert [raw for _, raw in frames] == [b"abc", b"defg", b"hi"]
    assert rest == b""


def test_several_blocks_without_positions_are_passed_over() -> None:
    frame = bytearray(adts(b"abcdef"))
    frame[6] |= 1

    assert split_adts(bytes(frame) + adts(b"next")) == ([(LC, b"next")], b"")


def test_positions_that_run_backwards_are_passed_over() -> None:
    frame = bytearray(with_crc([b"abc", b"defg"]))
    frame[7:9] = b"\x7f\xf0"

    assert split_adts(bytes(frame) + adts(b"next")) == ([(LC, b"next")], b"")


def test_garbage_between_frames_is_passed_over() -> None:
    data = b"\xff\x00 no frame \xff\xf1\xff" + adts(b"one") + adts(b"two")

    assert [raw for _, raw in split_adts(data)[0]] == [b"one", b"two"]


def test_channels_left_to_the_frame() -> None:
    """Configuration 0 without a program config is two single channels (bilingual broadcasts)."""
    frame = bytearray(adts(b"\x00abc"))
    frame[2] &= 0xFE
    frame[3] &= 0x3F

    assert split_adts(bytes(frame))[0] == [(LC, b"\x00abc")]


@given(st.binary(max_size=400))
def test_garbage_gives_little_and_keeps_little(data: bytes) -> None:
    frames, rest = split_adts(data)

    assert sum(len(raw) for _, raw in frames) + len(rest) <= len(data)


@pytest.mark.parametrize(
    ("config", "size"),
    [
        (AudioConfig(23, 48000, 2), 10),
        (AudioConfig(2, 50000, 2), 10),
        (AudioConfig(2, 48000, 7), 10),
        (LC, 8185),
    ],
)
def test_refuses_what_adts_cannot_say(config: AudioConfig, size: int) -> None:
    with pytest.raises(InvalidBitstream):
        adts_header(config, size)
