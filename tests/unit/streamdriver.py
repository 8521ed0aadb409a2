"""What tests of injecting into streams share: a driver with a callout on one connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from emulator.handle import InjectionHandle
from emulator.indication import Indication
from emulator.netbuffer import NetBufferList
from emulator.ntstatus import NtStatus
from emulator.stream_bench import StreamBench
from emulator.wfptypes import StreamFlag

F = StreamFlag
SEND, RECEIVE = int(F.SEND), int(F.RECEIVE)
SEND_FIN, RECEIVE_FIN = int(F.SEND | F.SEND_DISCONNECT), int(F.RECEIVE | F.RECEIVE_DISCONNECT)


class Driver:
    """A bench, a handle, and a callout that blocks everything (out-of-band mode) unless told otherwise."""

    def __init__(self, *, family: int = 0, version: int = 4, types: int = 1, **options: Any) -> None:
        self.bench = StreamBench(version=version, **options)
        self.core = self.bench.core
        self.handle: InjectionHandle = self.core.create_handle(family, types)
        self.completed: list[tuple[Any, NetBufferList, NtStatus]] = []
        self.on_classify: Callable[[Indication], None] = lambda seen: seen.block()
        self.registered, self.filter = self.bench.add(lambda seen: self.on_classify(seen))
        self.bench.flow  # noqa: B018  the connection is established

    def complete(self, context: Any, done: NetBufferList, dispatch: bool) -> None:
        self.completed.append((context, done, done.status))

    def inject(self, chain: NetBufferList | None, stream_flags: int = SEND, /, **changed: Any) -> None:
        length = sum(item.data_length for item in chain.lists()) if chain else 0
        arguments: dict[str, Any] = {
            "flow_id": self.bench.flow.number,
            "callout_id": self.registered.callout_id,
            "layer": self.bench.layer,
            "stream_flags": stream_flags,
            "data_length": length,
        } | changed
        completion = arguments.pop("completion", self.complete)
        handle = arguments.pop("handle", self.handle)
        handle.stream_inject(chain, completion, **arguments)

    def chain(self, *pieces: bytes) -> NetBufferList:
        made = [self.core.ownership.create_from(piece) for piece in pieces]
        for before, after in zip(made, made[1:], strict=False):
            before.next = after
        return made[0]

    def free(self, first: NetBufferList) -> None:
        for item in list(first.lists()):
            item.next = None
            self.core.ownership.free_list(item)
