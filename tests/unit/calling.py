"""One call of an injection function that would be accepted, for tests that spoil it first."""

from __future__ import annotations

from typing import Any

import pytest

from emulator.errors import WfpError
from emulator.handle import InjectionHandle
from emulator.injection import SendParams
from emulator.netbuffer import NetBufferList
from emulator.wfptypes import AddressFamily, InjectionType
from tests.unit.fakehost import REMOTE, FakeHost, of_family, udp

TYPES = {
    "network_send": InjectionType.NETWORK,
    "network_receive": InjectionType.NETWORK,
    "transport_send": InjectionType.TRANSPORT,
    "transport_receive": InjectionType.TRANSPORT,
    "forward": InjectionType.FORWARD,
}
WITH_FAMILY = ("transport_send", "transport_receive", "forward")
ONE_PACKET = ("network_receive", "transport_receive")


class Call:
    """One call that would be accepted, to be spoiled before it is made."""

    def __init__(self, function: str, family: AddressFamily = AddressFamily.INET, **options: Any) -> None:
        self.host = FakeHost(**options)
        self.function = function
        self.family = family
        self.handle: InjectionHandle = self.host.handle(family, TYPES[function])
        self.item: NetBufferList | None = self.host.created(udp(family.version or 4))
        self.completion: Any = self.host.done
        self.named: dict[str, Any] = {}
        if function in WITH_FAMILY:
            self.named["family"] = int(family)
        if function in ONE_PACKET or function == "forward":
            self.named["interface"] = 2
        if function == "transport_send":
            self.named["send_params"] = SendParams(REMOTE[family.version or 4])

    def make(self) -> None:
        getattr(self.handle, self.function)(self.item, self.completion, **self.named)

    def refused(self) -> WfpError:
        """The refusal; nothing else may have happened."""
        before = None if self.item is None else (self.item.state, self.item.history, self.item.octets)
        with pytest.raises(WfpError) as refusal:
            self.make()
        assert self.host.submitted == []
        assert self.handle.pending == 0
        if self.item is not None:
            assert (self.item.state, self.item.history, self.item.octets) == before
        self.host.complete()
        assert self.host.completed == []
        return refusal.value


FUNCTIONS = {
    "network_send": InjectionType.NETWORK,
    "network_receive": InjectionType.NETWORK,
    "transport_send": InjectionType.TRANSPORT,
    "transport_receive": InjectionType.TRANSPORT,
    "forward": InjectionType.FORWARD,
    "stream_inject": InjectionType.STREAM,
}


def inject(
    host: FakeHost, handle: InjectionHandle, function: str, family: AddressFamily = AddressFamily.INET, **named: Any
) -> None:
    """Make a good call of a function through a handle."""
    version = of_family(family)
    if function == "stream_inject":  # the flow is looked for last: a refusal of the handle comes first
        handle.stream_inject(
            host.created(), host.done, flow_id=99, callout_id=1, layer=20 if version == 4 else 22,
            stream_flags=1, data_length=1,
        )  # fmt: skip
        return
    if function in ("transport_send", "transport_receive", "forward"):
        named["family"] = family
    if function in ("network_receive", "transport_receive", "forward"):
        named["interface"] = 2
    if function == "transport_send":
        named["send_params"] = SendParams(REMOTE[version])
    getattr(handle, function)(host.created(udp(version)), host.done, **named)
