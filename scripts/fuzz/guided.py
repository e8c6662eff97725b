"""Runs a fuzz target under atheris, with only our own parsers instrumented."""

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Final

_PACKAGES: Final = ("media.codecs", "media.mpegts")


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    for value in vars(module).values():
        if getattr(value, "__module__", None) != module.__name__:
            continue
        if isinstance(value, FunctionType):
            yield value
        elif inspect.isclass(value):
            for member in vars(value).values():
                plain = getattr(member, "__func__", getattr(member, "fget", member))
                if isinstance(plain, FunctionType) and plain.__module__ == module.__name__:
                    yield plain


def run(fuzz: Callable[[bytes], None], seeds: Iterable[bytes]) -> None:
    """Never returns. The first folder on the command line is the corpus; seeds go there."""
    folders = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    if folders:
        folder = Path(folders[0])
        folder.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds):
            (folder / f"seed-{number}").write_bytes(seed)
    atheris = importlib.import_module("atheris")
    for name, module in list(sys.modules.items()):
        if name.startswith(_PACKAGES):
            for function in _functions(module):
                atheris.instrument_func(function)
    atheris.Setup(sys.argv, fuzz)
    atheris.Fuzz()
