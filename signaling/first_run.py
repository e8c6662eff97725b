"""The first start: an admin, a room to try, and a file that says how to get at them.

The file is the only place where the password and the key can be read. On later starts it stays as
long as its key still fits, with its addresses brought up to date; somebody who has noted what it
says may delete it, and it is not made again unless `reissue` asks for it (`--demo` needs a key).
"""

import asyncio
import contextlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import structlog

from signaling.accounts import Accounts
from signaling.addresses import Addresses
from signaling.entities import Role, Room
from signaling.errors import NotFound
from signaling.rooms import KeyedRoom, Rooms
from signaling.stream_keys import stream_key_fits

log = structlog.get_logger(__name__)

ROOM: Final = "demo"
ADMIN: Final = "admin"
FILE_NAME: Final = "first-run.json"


@dataclass(frozen=True, slots=True)
class FirstAdmin:
    """`password` is empty when it was set at an earlier start and is not known any more."""

    username: str
    password: str


@dataclass(frozen=True, slots=True)
class FirstRun:
    """The contents of the file; the last six are full addresses."""

    admin: FirstAdmin
    room: str
    stream_key: str
    http: str
    rtmp: str
    srt: str
    whip: str
    whep: str
    hls: str


async def ensure_first_run(
    accounts: Accounts, rooms: Rooms, addresses: Addresses, data_dir: Path, *, reissue: bool = False
) -> FirstRun | None:
    """What a newcomer needs, written to DATA_DIR/first-run.json (mode 0600); None when this is no
    first start and the file is gone or its key no longer fits."""
    path = data_dir / FILE_NAME
    kept = await asyncio.to_thread(_read, path)
    first = not await accounts.has_admin()
    admin = await _new_admin(accounts) if first else _known_admin(kept)
    keyed = await _keyed_room(rooms, kept, issue=first or reissue)
    if keyed is None:
        return None
    run = _describe(admin, keyed, addresses)
    if run != kept:
        await asyncio.to_thread(_write, path, run)
        log.info("first_run.written", path=str(path))
    return run


async def _new_admin(accounts: Accounts) -> FirstAdmin:
    password = secrets.token_urlsafe(15)
    await accounts.add(ADMIN, password, Role.ADMIN)
    return FirstAdmin(ADMIN, password)


def _known_admin(kept: FirstRun | None) -> FirstAdmin:
    return kept.admin if kept else FirstAdmin(ADMIN, "")


async def _keyed_room(rooms: Rooms, kept: FirstRun | None, *, issue: bool) -> KeyedRoom | None:
    room = await _find(rooms)
    if room is None:
        return await rooms.open(ROOM, "Demo", owner=None) if issue else None
    if kept is not None and stream_key_fits(kept.stream_key, room.stream_key_hash):
        return KeyedRoom(room, kept.stream_key)
    return await rooms.reissue_key(room) if issue else None


async def _find(rooms: Rooms) -> Room | None:
    try:
        return await rooms.get(ROOM)
    except NotFound:
        return None


def _describe(admin: FirstAdmin, keyed: KeyedRoom, addresses: Addresses) -> FirstRun:
    slug, key = keyed.room.slug, keyed.stream_key
    return FirstRun(
        admin=admin,
        room=slug,
        stream_key=key,
        http=addresses.http,
        rtmp=addresses.rtmp(slug, key),
        srt=addresses.srt(keyed.room, key),
        whip=addresses.whip(slug),
        whep=addresses.whep(slug),
        hls=addresses.hls(slug),
    )


def _read(path: Path) -> FirstRun | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=FirstRun)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _write(path: Path, run: FirstRun) -> None:
    """Whole or not at all, and never readable to others, not even for a moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    body = msgspec.json.format(msgspec.json.encode(run), indent=2) + b"\n"
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)
        raise
