"""The C programs of the bench: load generators and baselines, compiled when first needed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final, Self

from netns.errors import MissingFeature

SOURCES: Final = Path(__file__).parent / "c"
LIBRARIES: Final = {"nfq_verdict": ("-lnetfilter_queue",)}


class Programs:
    """Compiled programs in a folder of their own, which goes when this is closed."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="wfplab-bench-")
        self._made: dict[str, str] = {}

    def path(self, name: str) -> str:
        """The program compiled from `name`.c.

        Raises MissingFeature: no compiler, or it found fault (no header of a library, most likely).
        """
        if name not in self._made:
            compiler = shutil.which("gcc") or shutil.which("cc")
            if compiler is None:
                raise MissingFeature("a C compiler", detail="gcc and cc are not installed")
            program = f"{self._folder.name}/{name}"
            argv = [compiler, "-O2", "-Wall", "-o", program, str(SOURCES / f"{name}.c"), *LIBRARIES.get(name, ())]
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            if done.returncode:
                raise MissingFeature(f"what {name}.c needs", detail=done.stderr.strip())
            self._made[name] = program
        return self._made[name]

    def close(self) -> None:
        """Remove them."""
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
