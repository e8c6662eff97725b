"""A PostgreSQL of the test's own, from Debian's package: a folder, a Unix user, a free port."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.support.vitrine import free_ports

PASSWORD: Final = "pw-that-no-log-may-show"
ACCOUNT: Final = "postgres"
"""PostgreSQL does not run as root; then it runs as this user, whom Debian's package makes."""


class Postgres:
    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._data = folder / "data"
        self._log = folder / "log"
        (self.port,) = free_ports(1)
        self._databases = 0

    def url(self, database: str = "postgres", *, password: str = PASSWORD) -> str:
        return f"postgresql+asyncpg://vitrine:{password}@127.0.0.1:{self.port}/{database}"

    def initialise(self, folder: Path) -> None:
        secret = folder / "secret"
        secret.write_text(PASSWORD)
        _give(secret)
        # A language that sorts otherwise than code points do, as on servers of others.
        self._run(
            "initdb",
            f"--pgdata={self._data}",
            *("--username=vitrine", "--auth=scram-sha-256", f"--pwfile={secret}"),
            *("--encoding=UTF8", "--locale-provider=icu", "--icu-locale=en-US", "--no-sync"),
        )

    def start(self) -> None:
        options = f"-p {self.port} -h 127.0.0.1 -k '' -F"
        self._run(
            "pg_ctl", "-D", str(self._data), "-l", str(self._log), "-w", "-o", options, "start"
        )

    def stop(self) -> None:
        self._run("pg_ctl", "stop", f"--pgdata={self._data}", "--wait", "--mode=immediate")

    @property
    def pid(self) -> int:
        """Of the postmaster."""
        return int((self._data / "postmaster.pid").read_text().split()[0])

    async def new_database(self) -> str:
        """The URL of an empty one."""
        self._databases += 1
        name = f"test{self._databases}"
        engine = create_async_engine(self.url(), isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            await connection.execute(text(f"CREATE DATABASE {name}"))
        await engine.dispose()
        return self.url(name)

    def _run(self, program: str, *arguments: str) -> None:
        command: Sequence[str] = [str(self._programs / program), *arguments]
        done = subprocess.run(
            command,
            check=False,
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
            user=ACCOUNT if os.getuid() == 0 else None,
            group=ACCOUNT if os.getuid() == 0 else None,
            extra_groups=[] if os.getuid() == 0 else None,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=60,
        )
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr.decode()}")


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A running server; nothing is left of it afterwards."""
    (*_, programs) = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    folder = Path(tempfile.mkdtemp(prefix="vitrine-postgres-"))
    _give(folder)
    server = Postgres(programs, folder)
    try:
        server.initialise(folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def _give(path: Path) -> None:
    if os.getuid() == 0:
        account = pwd.getpwnam(ACCOUNT)
        os.chown(path, account.pw_uid, account.pw_gid)
