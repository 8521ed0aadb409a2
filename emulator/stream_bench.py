"""One TCP connection without a network: stream callouts tried on octets alone, step by step.

    bench = StreamBench()
    bench.add(my_callout)
    bench.send(Side.HOST, b"hello")
    assert bench.read(Side.REMOTE) == b"hello"

No threads, no sockets, no clock: what a callout does has happened when `send` returns.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID, uuid4

from emulator.callout import Callout, ClassifyFn, FlowDeleteFn, RegisteredCallout
from emulator.core import Core
from emulator.filters import Condition, Filter, SubLayer
from emulator.flows import FlowKey
from emulator.injection import Injection
from emulator.splice import Close, Command, Flush, Read, Reset, Side, Splice
from emulator.stream import DISCONNECT
from emulator.stream_engine import STREAM_LAYERS
from emulator.stream_flow import StreamFlow
from emulator.wfptypes import Action, CalloutFlag, FilterFlag, WindowsVersion

GARBAGE = b"\xdd" * 5
"""Octets in front of every window's memory: a callout that forgets the offset sees them (ST-22)."""
_ADDRESSES = {
    4: (bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))),
    6: (bytes((0xFD, *range(14), 1)), bytes((0xFD, *range(14), 2))),
}


class StreamBench:
    """A host, one connection of it, and what both ends have read so far.

    `window` is how many octets an end takes before it has to `read`; None for any number.
    """

    def __init__(
        self,
        *,
        version: int = 4,
        outbound: bool = True,
        profile: WindowsVersion = WindowsVersion.WINDOWS_8,
        core: Core | None = None,
        ports: tuple[int, int] = (50000, 8888),
    ) -> None:
        """`outbound` when the host opened the connection; `ports` are (local, remote)."""
        self.core = core or Core(self._refuse, profile=profile)
        self.core.readiness = lambda: None
        self.layer = STREAM_LAYERS[version]
        local, remote = _ADDRESSES[version]
        self.key = FlowKey(6, local, ports[0], remote, ports[1])
        self.outbound = outbound
        self.window: dict[Side, int | None] = {Side.HOST: None, Side.REMOTE: None}
        self.unread = {Side.HOST: bytearray(), Side.REMOTE: bytearray()}
        self.urgent = {Side.HOST: bytearray(), Side.REMOTE: bytearray()}
        self.ended = {Side.HOST: False, Side.REMOTE: False}
        """Which ends have read end-of-stream."""
        self.reset = False
        self.closed = False
        self.reading = {Side.HOST: False, Side.REMOTE: False}
        """Which ends are read from; the window of the other closes."""
        self._splice: Splice | None = None

    # -- the engine -------------------------------------------------------------------------------------

    def add(
        self,
        callout: Callout | ClassifyFn,
        *,
        weight: int = 0x80,
        action: Action = Action.CALLOUT_TERMINATING,
        conditions: Iterable[Condition] = (),
        flags: CalloutFlag = CalloutFlag(0),  # noqa: B008  an immutable value
        flow_delete: FlowDeleteFn | None = None,
        sublayer: UUID | None = None,
        layer: int | None = None,
        filter_flags: FilterFlag = FilterFlag(0),  # noqa: B008  an immutable value
    ) -> tuple[RegisteredCallout, Filter]:
        """Register a callout and put a filter for it into a sublayer of its own, of this weight."""
        callouts = self.core.engine.callouts
        if isinstance(callout, Callout):
            registered = callouts.register_object(callout)
        else:
            registered = callouts.register(callout, flags=flags, flow_delete=flow_delete)
        return registered, self.add_filter(
            registered, weight=weight, action=action, conditions=conditions, sublayer=sublayer, layer=layer,
            filter_flags=filter_flags,
        )  # fmt: skip

    def add_filter(
        self,
        registered: RegisteredCallout | None = None,
        *,
        weight: int = 0x80,
        action: Action = Action.CALLOUT_TERMINATING,
        conditions: Iterable[Condition] = (),
        sublayer: UUID | None = None,
        layer: int | None = None,
        filter_flags: FilterFlag = FilterFlag(0),  # noqa: B008  an immutable value
    ) -> Filter:
        """Put a filter in force, in a sublayer of its own unless one is named.

        Without `registered` a filter with a callout action names one that is not there.
        """
        engine = self.core.engine
        callout_key = registered.key if registered else None if action in (Action.BLOCK, Action.PERMIT) else uuid4()
        if sublayer is None:
            sublayer = engine.add_sublayer(SubLayer(uuid4(), weight, f"bench {weight}")).key
        item = engine.add_filter(
            Filter(
                self.layer if layer is None else layer, action, tuple(conditions),
                callout_key, sublayer, flags=filter_flags,
            )
        )  # fmt: skip
        self.core.streams.refresh()
        return item

    def remove(self, item: Filter) -> None:
        """Take a filter out of force."""
        self.core.engine.delete_filter(item.filter_id)
        self.core.streams.refresh()

    # -- the connection ---------------------------------------------------------------------------------

    @property
    def splice(self) -> Splice:
        """The connection; established when it is first asked for."""
        if self._splice is None:
            flow = self.core.streams.begin(self.key, outbound=self.outbound, now=0.0)
            if flow is None:
                self.reset = True
                raise ConnectionRefusedError("blocked at FLOW_ESTABLISHED")
            self._splice = Splice(flow)
            flow.on_wake = self.turn
            self._do(self._splice.turn())
        return self._splice

    @property
    def flow(self) -> StreamFlow:
        """What the engine knows of the connection."""
        return self.splice.flow

    def send(self, side: Side, *pieces: bytes, flags: int = 0) -> None:
        """An end sends; each piece arrives as a segment of its own."""
        splice = self.splice
        for piece in pieces:
            memory = bytearray(GARBAGE + piece)
            self._do(splice.received(side, memory, len(GARBAGE), len(memory), flags))

    def finish(self, side: Side) -> None:
        """An end sends its FIN."""
        self._do(self.splice.finished(side))

    def fail(self, side: Side) -> None:
        """An end resets the connection."""
        self._do(self.splice.failed(side))

    def read(self, side: Side) -> bytes:
        """What has come to an end and was not read yet."""
        octets = bytes(self.unread[side])
        self.unread[side].clear()
        self._do(self.splice.turn())
        return octets

    def turn(self) -> None:
        """Do what waits; called by the flow itself after work from elsewhere."""
        assert self._splice is not None
        self._splice.flow.run(self._splice.flow.pump)
        self._do(self._splice.turn())

    def _do(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Read(side):
                    self.reading[side] = self.splice.reading(side)
                case Flush(side):
                    self._flush(side)
                case Reset():
                    self.reset = True
                case Close():
                    self.closed = True

    def _flush(self, side: Side) -> None:
        splice = self.splice
        while pieces := splice.output(side):
            if pieces[0].flags & DISCONNECT:
                self.ended[side] = True
                self._do(splice.wrote_fin(side))
                continue
            octets = b"".join(piece.view() for piece in pieces)
            window = self.window[side]
            room = len(octets) if window is None else max(0, window - len(self.unread[side]))
            taken = octets[:room]
            if not taken:
                return
            if pieces[0].urgent:
                self.urgent[side] += taken
            self.unread[side] += taken
            self._do(splice.wrote(side, len(taken)))

    @staticmethod
    def _refuse(injection: Injection) -> None:
        raise AssertionError(f"{injection!r}: a bench has no packets")
