"""Beds for lab tests, with a strict end: books closed, nothing leaked, no rule broken that was not expected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeVar

import pytest

from emulator.netbuffer import NetBufferList
from emulator.ntstatus import NtStatus
from emulator.stack import Stack
from emulator.topology import Alone, Bed, HostOptions, Pair, Routed
from emulator.wfptypes import AddressFamily

B = TypeVar("B", bound=Bed)
MakeBed = Callable[..., Any]


class Strict:
    """Makes beds, and at the end holds every emulated host to its promises."""

    def __init__(self) -> None:
        self.owned = ExitStack()
        self.beds: list[Bed] = []
        self.verdicts = True

    def make(self, kind: type[B], options: HostOptions = HostOptions(), **more: Any) -> B:  # noqa: B008
        bed = kind(options, **more)
        self.owned.callback(bed.close)
        self.beds.append(bed)
        self.inject_by(verdicts=self.verdicts)
        return bed

    def inject_by(self, *, verdicts: bool) -> None:
        """Have held packets put back by their verdict, or everything by a socket."""
        self.verdicts = verdicts
        for bed in self.beds:
            for stack in bed.stacks:
                stack.injector.verdicts = verdicts

    def check(self) -> None:
        stacks = [stack for bed in self.beds for stack in bed.stacks]
        leaks = [leak for stack in stacks for leak in stack.core.leaks()]
        for bed in self.beds:
            bed.close_stacks()
        assert leaks == []
        for stack in stacks:
            assert [str(violation) for violation in stack.core.violations] == []
            assert stack.core.lab_errors == []
            assert stack.books.closed, stack.books.as_dict()


@pytest.fixture
def beds() -> Iterator[Strict]:
    """Makes beds whose hosts must end cleanly."""
    strict = Strict()
    with strict.owned:
        yield strict
        strict.check()


@pytest.fixture(params=["verdict", "socket"])
def way(request: pytest.FixtureRequest, beds: Strict) -> str:
    """Each way of injecting: no test may tell the difference."""
    beds.inject_by(verdicts=request.param == "verdict")
    return str(request.param)


@pytest.fixture
def pair(beds: Strict) -> Pair:
    """peer === host, emulated."""
    return beds.make(Pair)


@pytest.fixture
def routed(beds: Strict) -> Routed:
    """left === mid, emulated === right."""
    return beds.make(Routed)


@pytest.fixture
def alone(beds: Strict) -> Alone:
    """host, emulated, with loopback only."""
    return beds.make(Alone)


class Completions:
    """A completion function that remembers statuses and frees what it is given."""

    def __init__(self, stack: Stack) -> None:
        self.ownership = stack.core.ownership
        self.statuses: list[NtStatus] = []
        self.contexts: list[Any] = []

    def __call__(self, context: Any, item: NetBufferList, dispatch_level: bool) -> None:
        self.statuses.append(item.status)
        self.contexts.append(context)
        if item.parent is not None:
            self.ownership.free_clone(item)
        else:
            self.ownership.free_list(item)

    @property
    def names(self) -> list[str]:
        return [status.name for status in self.statuses]


@pytest.fixture
def completions() -> Callable[[Stack], Completions]:
    """Makes completion functions for a stack."""
    return Completions


def expected_violations(stack: Stack, *rules: str) -> None:
    """Assert which rules were broken so far, and forget them."""
    assert sorted(stack.core.violations.rules()) == sorted(rules)
    stack.core.violations.entries.clear()


__all__ = ["AddressFamily", "Completions", "Strict", "expected_violations"]
