"""What a viewer held is free the moment it leaves: the cycle collector comes seldom, and sees
nothing of what OpenSSL holds."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from media.webrtc.dtls import DtlsServer
from media.webrtc.viewer import Viewer
from scripts.bench.clip import Loop, clip
from tests.support.raw_viewer import RawViewer, raw_viewer
from tests.support.webrtc import site, until


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive() -> list[str]:
    return [type(o).__name__ for o in gc.get_objects() if type(o) in (Viewer, DtlsServer)]


async def has_pictures(viewer: RawViewer) -> None:
    await until(lambda: viewer.leg.media > 20)


@pytest.mark.usefixtures("without_collector")
async def test_who_leaves_is_freed_at_once(tmp_path: Path) -> None:
    async with site(tmp_path) as where:
        source = Loop(where.hub, "demo", clip())
        async with raw_viewer(where) as leaves, raw_viewer(where) as hangs_up:
            for viewer in (leaves, hangs_up):
                await viewer.connect()
                await has_pictures(viewer)
            assert sorted(alive()) == ["DtlsServer", "DtlsServer", "Viewer", "Viewer"]

            await leaves.delete()
            hangs_up.dtls.connection.shutdown()
            for datagram in hangs_up.dtls.datagrams():
                hangs_up.leg.send(datagram)

            await until(lambda: not alive())
        await source.stop()
