"""A reader of fragmented MP4 that knows nothing of the writer under test."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from struct import unpack_from


@dataclass(frozen=True)
class Run:
    """One `moof` with its `mdat`."""

    sequence: int
    time: int
    durations: tuple[int, ...]
    offsets: tuple[int, ...]
    keyframes: tuple[bool, ...]
    samples: tuple[bytes, ...]

    @property
    def end(self) -> int:
        return self.time + sum(self.durations)


def boxes(data: bytes) -> list[tuple[str, bytes]]:
    found = []
    at = 0
    while at < len(data):
        size, name = unpack_from(">I4s", data, at)
        assert size >= 8
        assert at + size <= len(data)
        found.append((name.decode("latin-1"), data[at + 8 : at + size]))
        at += size
    return found


def child(data: bytes, *path: str) -> bytes:
    for name in path:
        data = next(content for kind, content in boxes(data) if kind == name)
    return data


def timescale_of(initialization: bytes) -> int:
    mdhd = child(initialization, "moov", "trak", "mdia", "mdhd")
    scale: int = unpack_from(">I", mdhd, 12)[0]
    return scale


def runs(data: bytes) -> list[Run]:
    """The fragments of a part or a segment, checked as CMAF wants them."""
    found = []
    top = boxes(data)
    assert [name for name, _ in top] == ["moof", "mdat"] * (len(top) // 2)
    for (_, moof), (_, mdat) in zip(top[::2], top[1::2], strict=True):
        assert [name for name, _ in boxes(moof)] == ["mfhd", "traf"]
        traf = child(moof, "traf")
        assert [name for name, _ in boxes(traf)] == ["tfhd", "tfdt", "trun"]
        found.append(_run(moof, mdat))
    return found


def _run(moof: bytes, mdat: bytes) -> Run:
    tfhd, tfdt, trun = (child(moof, "traf", name) for name in ("tfhd", "tfdt", "trun"))
    flags = unpack_from(">I", tfhd)[0] & 0xFFFFFF
    assert flags & 0x020000, "default-base-is-moof"
    at = 8
    duration = default = 0
    if flags & 0x08:
        duration = unpack_from(">I", tfhd, at)[0]
        at += 4
    if flags & 0x20:
        default = unpack_from(">I", tfhd, at)[0]
    assert tfdt[0] == 1
    version, flags = trun[0], unpack_from(">I", trun)[0] & 0xFFFFFF
    assert version == 1
    count, offset = unpack_from(">Ii", trun, 4)
    assert offset == len(moof) + 8 + 8, "the data begins after the header of mdat"
    at = 12
    durations, offsets, keyframes, samples = [], [], [], []
    data = 0
    for _ in range(count):
        values = {}
        for flag, form in ((0x100, ">I"), (0x200, ">I"), (0x400, ">I"), (0x800, ">i")):
            if flags & flag:
                values[flag] = unpack_from(form, trun, at)[0]
                at += 4
        durations.append(values.get(0x100, duration))
        offsets.append(values.get(0x800, 0))
        keyframes.append(not values.get(0x400, default) & 0x10000)
        samples.append(mdat[data : data + values[0x200]])
        data += values[0x200]
    assert at == len(trun)
    assert data == len(mdat)
    assert all(length > 0 for length in durations)
    return Run(
        unpack_from(">I", child(moof, "mfhd"), 4)[0],
        unpack_from(">Q", tfdt, 4)[0],
        tuple(durations),
        tuple(offsets),
        tuple(keyframes),
        tuple(samples),
    )


def continuous(fragments: Sequence[Run]) -> bool:
    """Each begins where the one before it ends, numbered without a hole."""
    return all(
        after.time == before.end and after.sequence == before.sequence + 1
        for before, after in pairwise(fragments)
    )
