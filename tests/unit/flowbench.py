"""What tests of flow contexts share: a host with a flow, and a callout that has contexts."""

from __future__ import annotations

from typing import Any

from emulator.callout import RegisteredCallout
from emulator.flows import Flow, FlowKey
from emulator.indication import Indication
from emulator.layers import Layer
from emulator.ntstatus import NtStatus
from tests.unit.fakehost import FakeHost

HERE, THERE = Layer.OUTBOUND_TRANSPORT_V4, Layer.STREAM_V4
KEY = FlowKey(17, b"\x0a\0\0\1", 5000, b"\x0a\0\0\2", 53)


class Bench:
    """A host with a flow, a callout that has contexts, and what its functions were told."""

    def __init__(self, **options: Any) -> None:
        self.host = FakeHost()
        self.contexts = self.host.engine.flows
        self.flow = self.contexts.table.begin(KEY, outbound=True, now=0)
        self.seen: list[Any] = []
        self.deleted: list[tuple[int, int, Any]] = []
        self.during: Any = lambda: None
        self.callout = self.host.callout(self.classify, flow_delete=self.delete, **options)
        self.host.filter(HERE, self.callout)

    def classify(self, seen: Indication) -> None:
        self.seen.append(seen.flow_context)
        self.during()

    def delete(self, layer: int, callout_id: int, context: Any) -> None:
        self.deleted.append((layer, callout_id, context))

    def associate(self, context: Any, layer: int = HERE, callout: RegisteredCallout | None = None) -> None:
        self.contexts.associate(self.flow.number, layer, (callout or self.callout).callout_id, context)

    def remove(self, layer: int = HERE) -> NtStatus:
        return self.contexts.remove(self.flow.number, layer, self.callout.callout_id)

    def show(self, flow: Flow | None = None) -> None:
        seen = self.host.indication(HERE)
        seen.flow = flow or self.flow
        self.host.show(seen)

    def gone(self, *contexts: Any) -> bool:
        """True when exactly these contexts have been given back, in this order."""
        return self.deleted == [(HERE, self.callout.callout_id, context) for context in contexts]
