"""The compiled twins of the modules that every packet meets: the same sources, translated by Cython and a C compiler.

`wfplab build` makes them, beside the sources; here Python's import finds them.  They are used all or not at all, and
only while they were made of just these sources for just this Python.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from types import ModuleType
from typing import Final

MODULES: Final = (
    "arbitration", "callout", "calls", "calls_stream", "checksums", "coreparts", "deciding", "filterparts", "flatlist",
    "flight", "flows", "flowtracking", "indication", "injection", "ledger", "looping", "netbuffer", "octets", "origin",
    "ownership", "paths.batch", "paths.books", "paths.course", "paths.departures", "paths.endpoints", "paths.held",
    "paths.indicated", "paths.injector", "paths.netlink_packets", "paths.netlink_verdicts", "paths.network",
    "paths.outbox", "paths.packets", "paths.plans", "paths.queued", "paths.routing", "paths.sending", "paths.sighted",
    "paths.steps", "paths.transport", "splice", "stream", "stream_engine", "stream_flow", "stream_stage",
)  # fmt: skip
"""Those that have a twin, by their names in this package; types are declared beside them (.pxd)."""
BY_POINTERS: Final = ("paths.netlink_heads", "spans")
"""Those whose functions compiled modules have in C, declared beside them; who is not compiled uses them as they are."""
PURE: Final = "WFPLAB_PURE"
"""The variable of the environment that keeps twins from being used."""
SUFFIX: Final = EXTENSION_SUFFIXES[0]
"""Of compiled modules; it names the Python and the processor."""
FOLDER: Final = os.path.join(os.path.dirname(__file__), "_compiled")
"""Where twins lie, in a folder for each state of the sources."""

in_use = False
why_not = "not built: wfplab build"
"""While not in use: the reason, in words."""


def source(name: str) -> str:
    """The path of a module's source."""
    return os.path.join(os.path.dirname(__file__), *name.split(".")) + ".py"


def compiled_source(name: str) -> str:
    """The path of what a module's twin is made of: the same source, but for a few that have one of their own."""
    own = source(name).removesuffix("py") + "pyx"
    return own if os.path.isfile(own) else source(name)


def home() -> str:
    """The folder for twins of the sources as they are now; it is complete when it is there."""
    from hashlib import sha256

    found = sha256(SUFFIX.encode())
    for name in (*MODULES, *BY_POINTERS):
        path = source(name)
        for part in (path, path.removesuffix("py") + "pyx", path.removesuffix("py") + "pxd"):
            try:
                with open(part, "rb") as text:
                    octets = text.read()
            except FileNotFoundError:
                octets = b""
            found.update(b"%d " % len(octets))
            found.update(octets)
    return os.path.join(FOLDER, found.hexdigest()[:24])


class TwinFinder:
    """Finds twins for Python's import, in one folder."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """A twin's, or None for any other module."""
        package, _, module = name.partition(".")
        if package != __package__ or module not in MODULES:
            return None
        where = os.path.join(self._folder, module + SUFFIX)
        made = ModuleSpec(name, ExtensionFileLoader(name, where), origin=where)
        made.has_location = True
        return made


def use() -> None:
    """Have the twins imported from now on, if they are there; before any of the modules was."""
    global in_use, why_not
    if os.environ.get(PURE):
        why_not = f"{PURE} is set"
    elif os.path.isdir(FOLDER):
        folder = home()
        if os.path.isdir(folder):
            sys.meta_path.insert(0, TwinFinder(folder))
            in_use = True
        else:
            why_not = "the sources have changed since it was built: wfplab build"


def told() -> str:
    """Which of both is in use, in words."""
    return "compiled" if in_use else f"pure Python ({why_not})"
