"""The set-up of a checkout, on a small one whose only dependency lies beside it: no network."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.vitrine import ROOT

PINNED = """\
import sysconfig, pathlib
print((pathlib.Path(sysconfig.get_path("purelib")) / "pinned.py").read_text())
"""


def wheel(folder: Path, version: str) -> Path:
    file = folder / f"pinned-{version}-py3-none-any.whl"
    info = f"pinned-{version}.dist-info"
    metadata = ("Metadata-Version: 2.1", "Name: pinned", f"Version: {version}", "")
    kind = ("Wheel-Version: 1.0", "Root-Is-Purelib: true", "Tag: py3-none-any", "")
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("pinned.py", f"version = {version!r}")
        archive.writestr(f"{info}/METADATA", "\n".join(metadata))
        archive.writestr(f"{info}/WHEEL", "\n".join(kind))
        archive.writestr(f"{info}/RECORD", "")
    return file


class Checkout:
    """A folder with our set-up, whose pages are current already."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "scripts").mkdir(parents=True)
        shutil.copy(ROOT / "scripts" / "setup.sh", root / "scripts")
        (root / "constraints.txt").touch()
        (root / "package.json").write_text("{}")
        self.pin("1.0")
        vendor = root / "signaling" / "web" / "vendor"
        vendor.mkdir(parents=True)
        (vendor / "hls.min.mjs").touch()
        self.run('stamp "$vendor/stamp.txt" "$(checksum_of "$root/package.json")"')

    def pin(self, version: str) -> None:
        address = wheel(self.root.parent, version).as_uri()
        (self.root / "pyproject.toml").write_text(
            f'[project]\ndependencies = ["pinned @ {address}"]\n'
            "[project.optional-dependencies]\ntest = []\n"
        )

    def start(self, command: str, **environ: str) -> subprocess.Popen[str]:
        script = f'set -euo pipefail; source "{self.root}/scripts/setup.sh"; {command}'
        kept = {k: v for k, v in os.environ.items() if k != "VITRINE_PYTHON"}
        return subprocess.Popen(
            ["bash", "-c", script],
            env={**kept, "VITRINE_PYTHON": sys.executable, **environ},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, command: str = 'setup ""', **environ: str) -> tuple[int, str]:
        """Exit status, and what it said."""
        process = self.start(command, **environ)
        said = process.communicate(timeout=50)[1]
        return process.returncode, said

    def installed(self) -> str:
        python = self.root / ".venv" / "bin" / "python"
        return subprocess.check_output([python, "-c", PINNED], text=True).strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "a folder")


@pytest.mark.external
def test_it_installs_once_and_again_when_the_pins_change(checkout: Checkout) -> None:
    first = checkout.run()
    second = checkout.run(PATH="/usr/bin:/bin", PIP_NO_INDEX="1")
    checkout.pin("2.0")
    third = checkout.run()

    assert first[0] == 0
    assert "Making the Python environment" in first[1]
    assert second == (0, "")
    assert third[0] == 0
    assert "Making the Python environment" not in third[1]
    assert checkout.installed() == "version = '2.0'"


@pytest.mark.external
def test_what_was_cut_off_is_made_anew(checkout: Checkout) -> None:
    checkout.run()
    checkout.pin("2.0")
    cut_off = checkout.run("stamp() { exit 9; }; setup ''")

    status, said = checkout.run()

    assert cut_off[0] == 9
    assert status == 0
    assert "Making the Python environment" in said


@pytest.mark.external
def test_what_failed_is_not_taken_for_done(checkout: Checkout) -> None:
    checkout.run()
    checkout.pin("2.0")
    gone = checkout.root.parent / "pinned-2.0-py3-none-any.whl"
    gone.unlink()
    failed = checkout.run('setup "" || exit 3')
    checkout.pin("2.0")

    status, _ = checkout.run()

    assert failed[0] == 3
    assert status == 0
    assert checkout.installed() == "version = '2.0'"


@pytest.mark.external
def test_a_moved_checkout_gets_an_environment_of_its_own(checkout: Checkout) -> None:
    checkout.run()
    moved = checkout.root.with_name("elsewhere")
    shutil.move(checkout.root, moved)
    checkout.root = moved

    status, said = checkout.run()

    assert status == 0
    assert "Making the Python environment" in said
    assert (moved / ".venv" / "bin" / "pip").read_text().count(str(moved)) >= 1


@pytest.mark.external
def test_two_at_once_make_one(checkout: Checkout) -> None:
    both = [checkout.start('setup ""') for _ in range(2)]
    said = [process.communicate(timeout=50)[1] for process in both]

    assert [process.returncode for process in both] == [0, 0]
    assert "".join(said).count("Making the Python environment") == 1


def test_an_unfit_interpreter_is_named(checkout: Checkout) -> None:
    status, said = checkout.run(VITRINE_PYTHON="/no such/python")

    assert status == 1
    assert said == "VITRINE_PYTHON is /no such/python, and no Python 3.11 or newer.\n"


def test_all_that_is_missing_is_said_at_once(checkout: Checkout, tmp_path: Path) -> None:
    shutil.rmtree(checkout.root / "signaling")
    few = tmp_path / "bin"
    few.mkdir()
    for name in ("bash", "basename", "cat", "cut", "dirname", "flock", "id", "sha256sum"):
        (few / name).symlink_to(shutil.which(name) or name)

    status, said = checkout.run(
        "setup test no-such-program:its-package", PATH=str(few), VITRINE_PYTHON=""
    )

    assert status == 1
    assert said == (
        "Missing programs; on Debian they come with: its-package python3 python3-venv npm\n"
    )
