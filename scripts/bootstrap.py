"""Starts Vitrine in the foreground: `python -m scripts.bootstrap [--demo] [--config FILE]`.

Exit status 0 after SIGTERM or Ctrl-C; 2 when the settings are wrong, a port is taken or the
database cannot be had.
"""

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

import structlog
import uvloop

from configs import log as logs
from configs.kernel.errors import AppError
from configs.settings import Settings, load
from scripts.demo_process import DemoProcess
from scripts.front_door import allow_many_files
from scripts.house import open_house
from signaling.addresses import Addresses
from signaling.first_run import FILE_NAME, FirstRun

log = structlog.get_logger(__name__)


def main() -> int:
    arguments = _parse(sys.argv[1:])
    try:
        settings = load(arguments.config, os.environ)
        logs.configure(settings.server.log_format, settings.server.log_level)
        uvloop.run(run(settings, demo=arguments.demo))
    except AppError as error:
        print(f"vitrine: {error}", file=sys.stderr)
        return 2
    return 0


async def run(settings: Settings, *, demo: bool) -> None:
    """Serves until SIGTERM or SIGINT; a second signal ends the process without waiting."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked_to_stop() -> None:
        if stop.is_set():
            os._exit(1)
        stop.set()

    for name in ("redis_url", "broker_url"):
        if getattr(settings.store, name):
            log.warning("settings.not_used", key=f"store.{name}")
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop)
    data_dir = Path(settings.server.data_dir)
    files = allow_many_files()
    async with open_house(settings, data_dir, reissue=demo, files=files) as house:
        for line in describe(house.addresses, house.first_run, data_dir):
            print(line)
        if demo and house.first_run is not None:
            async with DemoProcess(house.first_run.rtmp):
                await _serve(stop)
        else:
            await _serve(stop)


async def _serve(stop: asyncio.Event) -> None:
    print("vitrine ready", flush=True)
    await stop.wait()
    log.info("server.draining")


def describe(addresses: Addresses, first_run: FirstRun | None, data_dir: Path) -> list[str]:
    """The lines that a newcomer reads; the key is not among them, since terminals are filmed."""
    room = first_run.room if first_run is not None else "ROOM"
    lines = [
        f"  rooms    {addresses.http}/",
        f"  watch    {addresses.page(room)}",
        f"  RTMP     {addresses.rtmp_server}   stream key: {room}?key=STREAM_KEY",
        f"  SRT      {addresses.srt_server}?streamid=#!::m=publish,r={room},s=STREAM_KEY",
        f"  WHEP     {addresses.whep(room)}",
        f"  HLS      {addresses.hls(room)}",
        f"  studio   {addresses.http}/studio",
    ]
    if first_run is not None:
        lines.append(f"  STREAM_KEY and the admin's password are in {data_dir / FILE_NAME}")
    return lines


def _parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="serve", description="Starts Vitrine.")
    parser.add_argument("--demo", action="store_true", help="push a moving test picture")
    parser.add_argument("--config", type=Path, help="settings, as in configs/default.toml")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
