"""What belongs to somebody else and must not be touched: a namespace, a process, rules, routes, a run that lives."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from typing import Self

from emulator.topology import Pair
from emulator.traffic import Datagrams
from emulator.wfptypes import AddressFamily
from netns import mountpoint
from netns.process import find_program

FAMILIES = (AddressFamily.INET, AddressFamily.INET6)


class Decoys:
    """Things beside the runs that are killed; `untouched` says what is wrong with them.

    The namespace bears a name as ours do, but no lease names it: whoever removes by name removes it too.
    Raises LabError when Linux refuses.
    """

    def __init__(self) -> None:
        self.name = f"wfp-{secrets.token_hex(4)}-host"
        self._owned = ExitStack()

    def __enter__(self) -> Self:
        ip = find_program("ip")
        try:
            _run([ip, "netns", "add", self.name])
            self._owned.callback(_run, [ip, "netns", "delete", self.name])
            inside = [ip, "-netns", self.name]
            _run([*inside, "link", "set", "lo", "up"])
            _run([*inside, "route", "add", "192.0.2.0/24", "dev", "lo"])
            _run([*inside, "rule", "add", "fwmark", "0xa6000001", "lookup", "100"])
            sleeper = subprocess.Popen([ip, "netns", "exec", self.name, find_program("sleep"), "86400"])
            self._owned.callback(_end, sleeper)
            self.sleeper = sleeper
            self.pair = self._owned.enter_context(Pair())
            self._before = self._state()
        except BaseException:
            self._owned.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._owned.close()

    def _state(self) -> tuple[object, ...]:
        ip = [find_program("ip"), "-netns", self.name]
        shown = (_output([*ip, "rule", "show"]), _output([*ip, "route", "show", "table", "all"]))
        alive = [mountpoint.identity_of(host.namespace.name) for host in self.pair]
        return (mountpoint.identity_of(self.name), self.sleeper.poll(), *shown, *alive)

    def untouched(self) -> list[str]:
        """What is no longer as it was, one line each."""
        now = self._state()
        names = ("the foreign namespace", "the foreign process", "its rules", "its routes", "a host", "a host")
        return [
            f"{name} of somebody else was touched: {before!r} became {after!r}"
            for name, before, after in zip(names, self._before, now, strict=True)
            if before != after
        ]

    def works(self) -> list[str]:
        """What does not work any more in the run that lives: datagrams both ways, in both families."""
        found = []
        for family in FAMILIES:
            for ends in ((self.pair.host, self.pair.peer), (self.pair.peer, self.pair.host)):
                found += _complaints(lambda ends=ends, family=family: _exchange(ends, family))  # type: ignore[misc]
        return found


def _exchange(ends: tuple[object, object], family: AddressFamily) -> None:
    traffic = Datagrams(*ends, family)  # type: ignore[arg-type]
    arrived = traffic.exchange([b"still here"])
    traffic.close()
    if arrived != [b"still here"]:
        raise RuntimeError(f"{arrived} arrived instead of one datagram")


def _complaints(work: Callable[[], None]) -> list[str]:
    try:
        work()
    except Exception as error:
        return [f"the run that lives does not work any more: {type(error).__name__}: {error}"]
    return []


def _run(argv: list[str]) -> None:
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, capture_output=True, env=_environment())


def _output(argv: list[str]) -> str:
    ran = subprocess.run(
        argv, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=_environment()
    )
    return ran.stdout


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), "LC_ALL": "C.UTF-8"}


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
