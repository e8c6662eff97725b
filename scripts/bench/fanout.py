"""What one packet to one viewer costs, of the server's CPU time.

    python -m scripts.bench.fanout [--viewers 1 10 100 400] [--seconds 2] [--rounds 3] [--profile]

Sends seconds of a live stream (video of 2.5 Mbit/s in 30 frames a second with a keyframe every two
seconds, Opus of 128 kbit/s in 50 packets a second) as fast as they go to viewers on loopback that a
child process drains, and reads this process's user and system time. The floor sends the same bytes
without packet headers and encryption being made; `aiortc` builds, protects and sends packets with
the parts that its own sender is made of (objects for packets, pylibsrtp, one `sendto` each).
On loopback the kernel's receive work runs inside our system calls, so it counts as ours, here as
in every figure of the same kind.
"""

import argparse
import cProfile
import os
import pstats
import random
import resource
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from aiortc.rtp import RtpPacket as AiortcPacket
from pylibsrtp import Policy, Session

from media.codecs import h264, opus
from media.codecs.nal import join_length_prefixed
from media.rtp.downlink import Downlink
from media.rtp.fanout import TrackFanout
from media.rtp.layout import SendBuffer
from media.rtp.packetizer import H264Cutter
from media.rtp.udp import Address, UdpSender
from media.stream import AUDIO_OPUS, VIDEO
from media.units import AccessUnit, Track
from media.webrtc.srtp import SrtpKeys, SrtpProfile, SrtpSession

FRAME_RATE: Final = 30
BITRATE: Final = 2_500_000
KEYFRAME_EVERY: Final = 60
KEYFRAME_SIZE: Final = 4
OPUS_RATE: Final = 50
OPUS_BYTES: Final = 320

SPS: Final = bytes.fromhex("6742c01fd9005005bb011000000300100000030320f1832480")
PPS: Final = bytes.fromhex("68cb83cb20")


@dataclass(frozen=True, slots=True)
class ViewerPath:
    address: Address | None


@dataclass(frozen=True, slots=True)
class Media:
    """Units of a stream in the order of their times, and its tracks."""

    units: tuple[AccessUnit, ...]
    video: Track
    audio: Track


def make_media(seconds: int) -> Media:
    source = random.Random(1)
    delta = BITRATE // 8 * KEYFRAME_EVERY // FRAME_RATE // (KEYFRAME_EVERY - 1 + KEYFRAME_SIZE)
    units = []
    for frame in range(seconds * FRAME_RATE):
        keyframe = frame % KEYFRAME_EVERY == 0
        size = delta * KEYFRAME_SIZE if keyframe else delta
        nal = (b"\x65" if keyframe else b"\x41") + source.randbytes(size - 5)
        ticks = frame * 90_000 // FRAME_RATE
        units.append(AccessUnit(VIDEO, ticks, ticks, keyframe, join_length_prefixed([nal])))
    for packet in range(seconds * OPUS_RATE):
        ticks = packet * 90_000 // OPUS_RATE
        payload = b"\xfc" + source.randbytes(OPUS_BYTES - 1)
        units.append(AccessUnit(AUDIO_OPUS, ticks, ticks, True, payload))
    units.sort(key=lambda unit: unit.dts)
    audio = opus.track(AUDIO_OPUS, opus.OpusConfig(channels=2).serialize())
    return Media(tuple(units), h264.track(VIDEO, h264.AvcConfig((SPS,), (PPS,))), audio)


@contextmanager
def drained_viewers(count: int) -> Iterator[list[Address]]:
    """Addresses of `count` sockets that a child process reads empty."""
    sockets = []
    for _ in range(count):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        sockets.append(sock)
    addresses: list[Address] = [sock.getsockname() for sock in sockets]
    child = os.fork()
    if child == 0:
        drain(sockets)
    for sock in sockets:
        sock.close()
    try:
        yield addresses
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def drain(sockets: list[socket.socket]) -> None:
    selector = selectors.EpollSelector()
    for sock in sockets:
        selector.register(sock, selectors.EVENT_READ)
    by_number = {sock.fileno(): sock for sock in sockets}
    buffer = bytearray(2048)
    while True:
        for key, _ in selector.select():
            sock = by_number[key.fd]
            try:
                while True:
                    sock.recv_into(buffer)
            except BlockingIOError:
                continue


def session(profile: SrtpProfile) -> SrtpSession:
    def keys() -> SrtpKeys:
        return SrtpKeys(os.urandom(profile.key_length), os.urandom(profile.salt_length))

    return SrtpSession(profile, local=keys(), remote=keys())


@contextmanager
def sending_socket() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock


Work = Callable[[], int]
"""Sends everything once and returns how many packets that were."""


def fan_out(
    media: Media, addresses: list[Address], sender: UdpSender, profile: SrtpProfile
) -> Work:
    """The product's own path."""
    queue: list[Callable[[], None]] = []
    video = TrackFanout(media.video, defer=queue.append)
    audio = TrackFanout(media.audio, defer=queue.append)
    downlinks = []
    for number, address in enumerate(addresses):
        crypto = session(profile)
        path = ViewerPath(address)
        for fanout, rate, kind in ((video, 90_000, 96), (audio, 48_000, 111)):
            downlink = Downlink(
                ssrc=2 * number + kind,
                payload_type=kind,
                clock_rate=rate,
                crypto=crypto,
                path=path,
                sink=sender,
            )
            fanout.add(downlink, now=0.0)
            downlinks.append(downlink)

    def work() -> int:
        before = sum(downlink.stats.packets for downlink in downlinks)
        for unit in media.units:
            (video if unit.track == VIDEO else audio).on_unit(unit)
            while queue:
                queue.pop()()
        return sum(downlink.stats.packets for downlink in downlinks) - before

    return work


def floor(media: Media, addresses: list[Address], sender: UdpSender) -> Work:
    """The same bytes in the same system calls, made beforehand."""
    cutter = H264Cutter(media.video)
    buffer = SendBuffer()
    frames = []
    for unit in media.units:
        fragments = cutter.cut(unit) if unit.track == VIDEO else (unit.payload,)
        groups = buffer.lay_out(fragments, overhead=16, marker=True)
        frames.append(
            [(memoryview(bytes(g.view)), g.segment, len(g.slots)) for g in groups],
        )

    def work() -> int:
        packets = 0
        for frame in frames:
            for address in addresses:
                for view, segment, count in frame:
                    if count == 1:
                        sender.send(address, view)
                    else:
                        sender.send_segments(address, view, segment)
                    packets += count
        return packets

    return work


def aiortc_like(media: Media, addresses: list[Address], sender: UdpSender) -> Work:
    cutter = H264Cutter(media.video)
    frames = [
        (cutter.cut(unit) if unit.track == VIDEO else (unit.payload,), unit.pts)
        for unit in media.units
    ]
    sessions = [
        Session(Policy(key=os.urandom(30), ssrc_type=Policy.SSRC_ANY_OUTBOUND)) for _ in addresses
    ]
    sequence = 0

    def work() -> int:
        nonlocal sequence
        packets = 0
        for fragments, pts in frames:
            for address, srtp in zip(addresses, sessions, strict=True):
                for number, payload in enumerate(fragments):
                    packet = AiortcPacket(
                        payload_type=96,
                        sequence_number=sequence + number & 0xFFFF,
                        timestamp=pts & 0xFFFFFFFF,
                        marker=number == len(fragments) - 1,
                    )
                    packet.ssrc = 1
                    packet.payload = payload
                    sender.send(address, srtp.protect(packet.serialize()))
                packets += len(fragments)
            sequence += len(fragments)
        return packets

    return work


def cpu_time() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def microseconds_a_packet(work: Work, rounds: int) -> float:
    work()
    best = float("inf")
    for _ in range(rounds):
        start = cpu_time()
        packets = work()
        best = min(best, (cpu_time() - start) / packets * 1e6)
        time.sleep(0.05)
    return best


def rows(media: Media, addresses: list[Address], rounds: int) -> Iterator[tuple[str, float]]:
    with sending_socket() as sock:
        segmented = UdpSender(sock)
        plain = UdpSender(sock, segmentation=False)
        works: list[tuple[str, Callable[[], Work]]] = [
            ("floor, GSO", lambda: floor(media, addresses, segmented)),
            (
                "AES-128-GCM, GSO",
                lambda: fan_out(media, addresses, segmented, SrtpProfile.AEAD_AES_128_GCM),
            ),
            (
                "AES-CM-SHA1-80, GSO",
                lambda: fan_out(media, addresses, segmented, SrtpProfile.AES128_CM_SHA1_80),
            ),
            ("floor, sendto", lambda: floor(media, addresses, plain)),
            (
                "AES-128-GCM, sendto",
                lambda: fan_out(media, addresses, plain, SrtpProfile.AEAD_AES_128_GCM),
            ),
            (
                "AES-CM-SHA1-80, sendto",
                lambda: fan_out(media, addresses, plain, SrtpProfile.AES128_CM_SHA1_80),
            ),
            ("parts of aiortc, sendto", lambda: aiortc_like(media, addresses, plain)),
        ]
        for name, make in works:
            yield name, microseconds_a_packet(make(), rounds)


def report(viewers: list[int], seconds: int, rounds: int) -> None:
    media = make_media(seconds)
    table: dict[str, list[float]] = {}
    for count in viewers:
        with drained_viewers(count) as addresses:
            for name, cost in rows(media, addresses, rounds):
                table.setdefault(name, []).append(cost)
    floors = table["floor, GSO"]
    heads = "".join(f"{f'{count} viewers':>20}" for count in viewers)
    print(f"{'µs a packet (x floor)':26}{heads}")
    for name, costs in table.items():
        cells = "".join(
            f"{f'{cost:.2f} ({cost / bare:.1f})':>20}"
            for cost, bare in zip(costs, floors, strict=True)
        )
        print(f"{name:26}{cells}")


def profile(viewers: int, seconds: int) -> None:
    media = make_media(seconds)
    with drained_viewers(viewers) as addresses, sending_socket() as sock:
        work = fan_out(media, addresses, UdpSender(sock), SrtpProfile.AEAD_AES_128_GCM)
        work()
        profiler = cProfile.Profile()
        profiler.runcall(work)
    pstats.Stats(profiler, stream=sys.stdout).sort_stats("tottime").print_stats(15)


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU time of a packet to a viewer.")
    parser.add_argument("--viewers", type=int, nargs="+", default=[1, 10, 100, 400])
    parser.add_argument("--seconds", type=int, default=2, help="of media in a round")
    parser.add_argument("--rounds", type=int, default=3, help="the best one counts")
    parser.add_argument("--profile", action="store_true", help="where the time goes, by cProfile")
    arguments = parser.parse_args()
    if arguments.profile:
        profile(arguments.viewers[-1], arguments.seconds)
    else:
        report(arguments.viewers, arguments.seconds, arguments.rounds)


if __name__ == "__main__":
    main()
