"""A server behind a relay with bad weather, as a program to be run in a network namespace.

Prints ``ready PORT``, takes one publisher, and prints its figures as JSON when it has gone.
"""

import asyncio
import json
import sys
from dataclasses import asdict

from media.srt.listener import ListenerConfig
from media.srt.port import PublisherFigures
from media.stream import VIDEO
from tests.support.bad_wire import BadWire, UdpRelay, Weather
from tests.support.srt_server import ROOM, SrtHouse, srt_house


async def watch(house: SrtHouse) -> PublisherFigures:
    """The figures of the first publisher, taken last while it was still there."""
    figures: PublisherFigures | None = None
    async with asyncio.timeout(90):
        while figures is None or house.server.connections:
            await asyncio.sleep(0.02)
            figures = house.server.publishers().get(ROOM, figures)
    return figures


async def main(host: str, weather: Weather) -> None:
    async with srt_house(ListenerConfig(latency_s=0.8)) as house:
        up, down = BadWire(weather, seed=1), BadWire(weather, seed=2)
        relay = UdpRelay(("127.0.0.1", house.port), up, down, host=host)
        print(f"ready {await relay.start()}", flush=True)  # noqa: T201
        figures = await watch(house)
        pictures = sum(unit.track == VIDEO for unit in house.units)
        await relay.close()
    print(json.dumps({"pictures": pictures, **asdict(figures)}), flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Weather(loss=float(sys.argv[2]), delay=float(sys.argv[3]))))
