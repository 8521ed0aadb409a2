"""A lab of two hosts, made and removed, against the same by `ip -batch`.

Both make two namespaces, a cable between them and the addresses of both families, and take all away again.  Ours
also notes who owns it, keeps a process in each namespace, and removes what dead owners left.
"""

from __future__ import annotations

import os
import subprocess
import time
from typing import Final

from emulator.bench.clock import Profiled
from emulator.bench.place import Place
from emulator.bench.row import Reading, Result, Row, Skipped
from netns.lab import Lab
from netns.process import find_program

ADDRESSES: Final = (("10.9.9.1/24", "fd09:9::1/64"), ("10.9.9.2/24", "fd09:9::2/64"))


def up_and_down(times: int) -> None:
    """Make and remove a lab so many times."""
    for _ in range(times):
        with Lab() as lab:
            for host in ("a", "b"):
                lab.namespace(host)
            lab.link("a", "b", addresses=ADDRESSES)


def ours(times: int) -> Reading:
    """Labs of ours."""
    before = time.perf_counter()
    up_and_down(times)
    return Reading((time.perf_counter() - before) / times * 1e3)


def theirs(times: int) -> Reading:
    """The same by `ip -batch`: one process for the whole, and one in each namespace."""
    before = time.perf_counter()
    for _ in range(times):
        names = [f"wfpbench-{os.getpid()}-{host}" for host in "ab"]
        try:
            _batch([], f"netns add {names[0]}", f"netns add {names[1]}",
                   f"link add eth0 netns {names[0]} type veth peer name eth0 netns {names[1]}")  # fmt: skip
            for name, addresses in zip(names, ADDRESSES, strict=True):
                lines = [f"address add {address} dev eth0 nodad" for address in addresses]
                _batch(["-n", name], "link set lo up", "link set eth0 up", *lines)
        finally:
            _batch(["-force"], *(f"netns del {name}" for name in names))
    return Reading((time.perf_counter() - before) / times * 1e3)


def _batch(where: list[str], *lines: str) -> None:
    text = "".join(f"{line}\n" for line in lines)
    argv = [find_program("ip"), *where, "-batch", "-"]
    subprocess.run(argv, input=text, text=True, check=True, capture_output=True)


def limit(result: Result) -> str:
    """Where the time of ours goes."""
    profiled = Profiled()
    profiled.begin()
    up_and_down(3)
    return f"profile of the thread that makes it: {profiled.told()}"


def rows(place: Place, *, quick: bool) -> list[Row | Skipped]:
    """The row of labs."""
    times = 3 if quick else 6
    return [
        Row(
            "lab-two-hosts", "ip -batch", "ms up and down", 2, lambda: ours(times), lambda: theirs(times),
            at_most=True, rounds=5 if quick else 15, limit=limit,
        )
    ]  # fmt: skip
