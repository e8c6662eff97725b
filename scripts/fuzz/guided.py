"""Runs a fuzz target under atheris, with only the parsers under test instrumented.

Each other file of this folder is a target: what strangers can send, through one of our doors.
Atheris is not among the dependencies (`pip install atheris`). From the repository's root, for five
minutes, with a folder that keeps what was found to reach new code:

    python -m scripts.fuzz.rtmp -max_total_time=300 .fuzz/rtmp

(or `codecs`, `mpegts`, `srt`, `webrtc`; all options are libFuzzer's). A finding is an error that
the target does not expect: libFuzzer writes the input down as `crash-…` in the current folder and
stops; `python -m scripts.fuzz.rtmp crash-…` runs that input again.
"""

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import FunctionType


def run(fuzz: Callable[[bytes], None], seeds: Iterable[bytes], *, packages: Sequence[str]) -> None:
    """Never returns. The first folder on the command line is the corpus; seeds go there. Modules
    in `packages` give the coverage that guides."""
    paths = [Path(argument) for argument in sys.argv[1:] if not argument.startswith("-")]
    if paths and not paths[0].is_file():
        paths[0].mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds):
            (paths[0] / f"seed-{number}").write_bytes(seed)
    atheris = importlib.import_module("atheris")
    for function in _functions(packages):
        atheris.instrument_func(function)
    atheris.Setup(sys.argv, fuzz)
    atheris.Fuzz()


def _functions(packages: Sequence[str]) -> Iterator[FunctionType]:
    inside = tuple(f"{package}." for package in packages)
    for name, module in list(sys.modules.items()):
        if not name.startswith(inside):
            continue
        for value in vars(module).values():
            if getattr(value, "__module__", None) != name:
                continue
            members = vars(value).values() if inspect.isclass(value) else (value,)
            for member in members:
                plain = getattr(member, "__func__", getattr(member, "fget", member))
                if isinstance(plain, FunctionType) and plain.__module__ == name:
                    yield plain
