"""The sockets behind one port number: answers leave from where the question came to."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from media.webrtc.ice import Path
from media.webrtc.udp_port import EVERYWHERE, UdpPort
from tests.support.webrtc import until

Received = list[tuple[bytes, Path]]


@pytest.fixture
def received() -> Received:
    return []


@pytest.fixture
def client() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)
        yield sock


async def opened(received: Received, host: str) -> UdpPort:
    port = UdpPort(asyncio.get_running_loop(), lambda data, path: received.append((data, path)))
    port.open(host, 0)
    return port


async def test_each_address_answers_for_itself(received: Received, client: socket.socket) -> None:
    port = await opened(received, "0.0.0.0")
    assert port.also_at("127.0.0.1")
    assert port.also_at("127.0.0.2")
    assert port.also_at("127.0.0.2")

    for local, host in (("127.0.0.1",) * 2, ("127.0.0.2",) * 2, (EVERYWHERE, "127.0.0.3")):
        client.sendto(b"question", (host, port.number))
        await until(lambda: bool(received))
        data, path = received.pop()
        assert data == b"question"
        assert path == Path("127.0.0.1", client.getsockname()[1], local=local)
        sock = port.socket_of(path)
        assert sock is not None
        sock.sender.send(path.address, b"answer")
        answer, source = client.recvfrom(100)
        assert answer == b"answer"
        if local:
            assert source == (host, port.number)
    port.close()


async def test_an_address_of_another_machine_has_no_socket(received: Received) -> None:
    port = await opened(received, "0.0.0.0")

    assert not port.also_at("203.0.113.9")
    assert not port.also_at("live.example.invalid")

    port.close()


async def test_nobody_else_gets_the_port(received: Received) -> None:
    port = await opened(received, "0.0.0.0")
    port.also_at("127.0.0.1")

    for host in ("127.0.0.1", "0.0.0.0", "127.0.0.9"):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as intruder:
            intruder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with pytest.raises(OSError, match="in use"):
                intruder.bind((host, port.number))
    port.close()


async def test_ipv4_peers_of_an_ipv6_socket_are_called_by_their_own_address(
    received: Received, client: socket.socket
) -> None:
    port = await opened(received, "::")

    client.sendto(b"question", ("127.0.0.1", port.number))
    await until(lambda: bool(received))
    _, path = received.pop()

    assert path.host == "127.0.0.1"
    sock = port.socket_of(path)
    assert sock is not None
    sock.sender.send(path.address, b"answer")
    assert client.recv(100) == b"answer"

    assert port.also_at("::1")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as six:
        six.settimeout(5)
        six.sendto(b"question", ("::1", port.number))
        await until(lambda: bool(received))
        _, path = received.pop()
        assert (path.host, path.local) == ("::1", "::1")
        sock = port.socket_of(path)
        assert sock is not None
        sock.sender.send(path.address, b"answer")
        answer, source = six.recvfrom(100)
        assert (answer, source[:2]) == (b"answer", ("::1", port.number))
    port.close()
