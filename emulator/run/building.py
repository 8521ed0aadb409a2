"""`wfplab build`: Cython translates the modules that every packet meets, a C compiler makes twins of them.

They lie in a folder of their own beside the sources, which comes into place when it is complete.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TextIO

from emulator import compiled
from netns.errors import LabError, MissingFeature

_FLAGS: Final = ("-O2", "-DNDEBUG", "-fPIC", "-fno-plt", "-shared", "-fno-strict-aliasing", "-fwrapv", "-w")
_DIRECTIVES: Final = ("annotation_typing=False", "infer_types=False")


def run(out: TextIO) -> int:
    """Make the twins unless they are there, and say so; 0.  Raises as `build`."""
    started = time.monotonic()
    made = build()
    if made:
        out.write(f"{len(compiled.MODULES)} modules compiled ({time.monotonic() - started:.0f} s)\n")
    else:
        out.write("the compiled modules are up to date\n")
    return 0


def build() -> bool:
    """Make the twins of the sources as they are; False when they are there already.  Older ones are removed.

    Raises MissingFeature (no compiler, no Cython), LabError (one of them found fault; or no permission to write).
    """
    home = Path(compiled.home())
    if home.is_dir():
        return False
    compiler = _compiler()
    try:
        home.parent.mkdir(exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix="making-", dir=home.parent))
    except OSError as error:
        raise LabError(f"compiled modules cannot be written: {error}") from error
    try:
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
            list(threads.map(lambda name: _make(name, making, compiler), compiled.MODULES))
        for text in making.glob("*.c"):
            text.unlink()
        making.chmod(0o755)
        try:
            making.rename(home)
        except OSError as error:  # somebody else was quicker
            if not home.is_dir():
                raise LabError(f"compiled modules cannot be put into place: {error}") from error
            return False
    finally:
        shutil.rmtree(making, ignore_errors=True)
    for older in home.parent.iterdir():
        if older != home and not older.name.startswith("making-"):
            shutil.rmtree(older, ignore_errors=True)
    return True


def _compiler() -> str:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise MissingFeature("a C compiler", detail="gcc and cc are not installed; everything runs without, but slower")
    headers = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if not headers.exists():
        raise MissingFeature("Python's headers", detail=f"there is no {headers}")
    try:
        import Cython  # noqa: F401
    except ImportError as error:
        raise MissingFeature("Cython", detail="pip install 'wfplab[build]'") from error
    return compiler


def _make(name: str, folder: Path, compiler: str) -> None:
    package = Path(compiled.__file__).parent
    text = folder / f"{name}.c"
    directives = [word for directive in _DIRECTIVES for word in ("-X", directive)]
    # From the folder above the package, so that what is declared elsewhere in it is found.
    where = os.path.relpath(compiled.compiled_source(name), package.parent)
    module = f"{package.name}.{name}"
    _run([sys.executable, "-m", "cython", "-3", *directives, "--module-name", module, "-o", str(text), where], package)
    include = f"-I{sysconfig.get_paths()['include']}"
    _run([compiler, *_FLAGS, include, str(text), "-o", str(folder / (name + compiled.SUFFIX))], package)


def _run(argv: list[str], package: Path) -> None:
    done = subprocess.run(argv, cwd=package.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{Path(argv[0]).name} found fault:\n{done.stdout}{done.stderr}".rstrip())
