"""Datagrams over loopback: cut by the kernel or by us, the receiver sees the same."""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from media.rtp.udp import BUFFER_SIZE, Address, UdpSender, can_segment

needs_segmentation = pytest.mark.skipif(
    not can_segment(), reason="this kernel has no UDP segmentation"
)


class WithoutOffload(socket.socket):
    """A socket whose route has no checksum offload: the kernel refuses to cut."""

    def sendmsg(self, *args: object, **kwargs: object) -> int:
        raise OSError(errno.EIO, "no offload")


class Full(socket.socket):
    def sendto(self, *args: object) -> int:
        raise BlockingIOError(errno.EAGAIN, "full")

    def sendmsg(self, *args: object, **kwargs: object) -> int:
        raise OSError(errno.ENOBUFS, "full")


class Unreachable(socket.socket):
    def sendto(self, *args: object) -> int:
        raise PermissionError(errno.EPERM, "filtered")


@contextmanager
def udp(
    kind: type[socket.socket] = socket.socket, host: str = "127.0.0.1"
) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with kind(family, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        sock.settimeout(2.0)
        yield sock


def address_of(sock: socket.socket) -> Address:
    address: Address = sock.getsockname()
    return address


def receive(sock: socket.socket, count: int) -> list[bytes]:
    return [sock.recv(2000) for _ in range(count)]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("segmentation", [None, False])
def test_a_group_arrives_as_its_datagrams(host: str, segmentation: bool | None) -> None:
    data = bytes(range(250)) * 10
    with udp(host=host) as receiver, udp(host=host) as sock:
        sender = UdpSender(sock, segmentation=segmentation)

        sender.send_segments(address_of(receiver), memoryview(data), 600)
        sender.send(address_of(receiver), b"single")

        datagrams = receive(receiver, 6)
        assert datagrams == [data[at : at + 600] for at in range(0, 2500, 600)] + [b"single"]
        assert sender.dropped == sender.unreachable == 0


def test_a_route_without_offload_gets_plain_datagrams_from_then_on() -> None:
    with udp() as receiver, udp(WithoutOffload) as sock:
        sender = UdpSender(sock, segmentation=True)

        for _ in range(2):
            sender.send_segments(address_of(receiver), memoryview(b"aabbc"), 2)

        assert receive(receiver, 6) == [b"aa", b"bb", b"c"] * 2
        assert sender.segmentation


def test_segmentation_is_given_up_when_many_routes_refuse_it() -> None:
    with udp() as receiver, udp(WithoutOffload) as sock:
        sender = UdpSender(sock, segmentation=True)

        for last in range(1, 255):
            sender.send_segments((f"127.0.1.{last}", 9), memoryview(b"aab"), 2)
            sender.send_segments((f"127.0.2.{last}", 9), memoryview(b"aab"), 2)
        sender.send_segments(address_of(receiver), memoryview(b"aabbc"), 2)

        assert receive(receiver, 3) == [b"aa", b"bb", b"c"]
        assert not sender.segmentation


@needs_segmentation
def test_more_segments_than_the_kernel_takes_are_sent_one_by_one() -> None:
    data = bytes(range(200)) * 2
    with udp() as receiver, udp() as sock:
        UdpSender(sock).send_segments(address_of(receiver), memoryview(data), 2)

        assert b"".join(receive(receiver, 200)) == data


def test_a_full_socket_drops_and_counts() -> None:
    with udp() as receiver, udp(Full) as sock:
        sender = UdpSender(sock, segmentation=True)

        sender.send(address_of(receiver), b"x")
        sender.send_segments(address_of(receiver), memoryview(b"aabbc"), 2)

        assert sender.dropped == 4
        assert sender.unreachable == 0


def test_a_filtered_peer_is_counted_and_left_alone() -> None:
    with udp() as receiver, udp(Unreachable) as sock:
        sender = UdpSender(sock, segmentation=False)

        sender.send(address_of(receiver), b"x")
        sender.send_segments(address_of(receiver), memoryview(b"aabbc"), 2)

        assert sender.unreachable == 4
        assert sender.dropped == 0


def test_a_closed_port_does_not_disturb_the_next_one() -> None:
    with udp() as gone:
        closed = address_of(gone)
    with udp() as receiver, udp() as sock:
        sender = UdpSender(sock)

        for _ in range(3):
            sender.send_segments(closed, memoryview(b"aabbc"), 2)
            sender.send(closed, b"x")
        sender.send(address_of(receiver), b"here")

        assert receive(receiver, 1) == [b"here"]


def test_a_datagram_too_large_for_udp_is_counted() -> None:
    with udp() as receiver, udp() as sock:
        sender = UdpSender(sock)

        sender.send(address_of(receiver), bytes(70_000))

        assert sender.unreachable == 1


def test_buffers_are_raised() -> None:
    with udp() as sock:
        before = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)

        UdpSender(sock)

        after = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        assert before < after <= 2 * BUFFER_SIZE
