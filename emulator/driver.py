"""A driver on an emulated host: the handles, callouts and filters it made, given back in order when it goes.

    with pair.host.driver() as driver:
        handle = driver.create_handle(family, InjectionType.NETWORK)
        driver.add(my_callout, "OUTBOUND_IPPACKET", family)

Nothing is hidden: what a callout clones or creates it has to free, as ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

from emulator.callout import Callout, ClassifyFn, RegisteredCallout
from emulator.completions import Completions
from emulator.errors import LayerNotFound
from emulator.filters import UNIVERSAL, Condition, Filter, MatchType, SubLayer, WeightRange
from emulator.layers import Layer, layer_info
from emulator.wfptypes import Action, AddressFamily, FilterFlag

if TYPE_CHECKING:
    from emulator.core import Core
    from emulator.handle import InjectionHandle
    from emulator.netbuffer import NetBufferList

Where = Mapping[str, Any] | Iterable[Condition]
"""Conditions of a filter: `{"IP_PROTOCOL": 17}`, where a pair is a range and a network a prefix; or as such."""


class Driver:
    """What one driver owns on one host.

    Its owner unloads it, best by `with`.  With a `weight` its filters lie in a sublayer of its own, asked
    before lighter ones (FI-1); without one they lie in the universal sublayer.
    """

    def __init__(self, core: Core, name: str = "driver", *, weight: int | None = None) -> None:
        self.core = core
        self.name = name
        self.sublayer = UNIVERSAL
        if weight is not None:
            self.sublayer = core.engine.add_sublayer(SubLayer(uuid4(), weight, name))
        self.done = Completions(core.ownership)
        """A completion function that frees what it gets, and counts the statuses."""
        self.handles: list[InjectionHandle] = []
        self.filters: list[Filter] = []
        self._callouts: list[tuple[object, RegisteredCallout]] = []
        self._unloaded = False

    # -- what it makes ----------------------------------------------------------------------------------

    def create_handle(self, family: int, flags: int = 0) -> InjectionHandle:
        """A new injection handle, destroyed when the driver unloads; raises as `emulator.handle.create_handle`."""
        handle = self.core.create_handle(family, flags)
        self.handles.append(handle)
        return handle

    def create(self, octets: bytes | bytearray, *, backfill: int = 0) -> NetBufferList:
        """A fresh list over a copy of `octets`: yours to free, or to inject; see `Ownership.create_from`."""
        return self.core.ownership.create_from(octets, backfill=backfill)

    def free(self, item: NetBufferList) -> None:
        """Give a clone or a created list back that was not injected (NB-9)."""
        self.done.free(item)

    def add(
        self,
        callout: Callout | ClassifyFn | None,
        at: str | int,
        family: AddressFamily | None = None,
        *,
        where: Where = (),
        action: Action = Action.CALLOUT_TERMINATING,
        weight: int | WeightRange | None = None,
        flags: FilterFlag = FilterFlag(0),  # noqa: B008  an immutable value
        context: Any = 0,
    ) -> list[Filter]:
        """Add a filter that asks `callout`, which is registered on its first filter; on return it is in force.

        `at` is a layer ("OUTBOUND_IPPACKET_V4"), or a group of them ("OUTBOUND_IPPACKET"): then the layer of
        `family`, or those of both families.  A callout is a `Callout` or a function of one indication; None
        goes with an action that needs none.
        Raises LayerNotFound, TypeError (a class in place of a callout), and as `FilterEngine.add_filter` and
        `CalloutRegistry.register`.
        """
        if isinstance(callout, type):
            raise TypeError(f"add takes a callout, not its class: {callout.__name__}(...)")
        registered = None if callout is None else self.registered(callout)
        made = []
        for layer in layers_named(at, family):
            item = Filter(
                int(layer),
                action,
                tuple(conditions(where, layer)),
                registered.key if registered is not None else None,
                self.sublayer.key,
                weight,
                flags,
                context,
                name=f"{self.name} at {layer.name}",
            )
            made.append(self.core.engine.add_filter(item))
            self.filters.append(item)
        return made

    def remove(self, *filters: Filter) -> None:
        """Take filters of this driver out of force; raises FilterNotFound."""
        for item in filters:
            self.core.engine.delete_filter(item.filter_id)
            self.filters.remove(item)

    def registered(self, callout: Callout | ClassifyFn) -> RegisteredCallout:
        """The registration of a callout of this driver, made when it is asked for first; raises as `register`."""
        for known, registered in self._callouts:  # not a dict: a callout may be a dataclass, without a hash
            if known is callout:
                return registered
        registry = self.core.engine.callouts
        made = registry.register_object(callout) if isinstance(callout, Callout) else registry.register(callout)
        self._callouts.append((callout, made))
        return made

    # -- its end ----------------------------------------------------------------------------------------

    def unload(self) -> None:
        """Delete the filters, unregister the callouts, destroy the handles; unloading twice is allowed.

        Every part is tried even if another fails.  Waits for running classifies and for pending injections.
        Raises as `FilterEngine.delete_filter`, `CalloutRegistry.unregister`, `InjectionHandle.destroy`.
        Source: OR-4, HD-9.
        """
        if self._unloaded:
            return
        self._unloaded = True
        engine = self.core.engine
        with ExitStack() as last_first:
            if self.sublayer is not UNIVERSAL:
                last_first.callback(engine.delete_sublayer, self.sublayer.key)
            for handle in self.handles:
                if not handle.dead:
                    last_first.callback(handle.destroy)
            for _, callout in self._callouts:
                last_first.callback(engine.callouts.unregister, callout.callout_id)
            for item in self.filters:
                if item.filter_id in engine.filters:
                    last_first.callback(engine.delete_filter, item.filter_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.unload()

    def __repr__(self) -> str:
        return f"<Driver {self.name}: {len(self.handles)} handles, {len(self.filters)} filters>"


def layers_named(at: str | int, family: AddressFamily | None = None) -> list[Layer]:
    """The layers that a name stands for: itself, or those of a group, for one family or for all it has.

    Raises LayerNotFound, with what may have been meant.
    """
    if not isinstance(at, str):
        try:
            return [Layer(at)]
        except ValueError as error:
            raise LayerNotFound(f"there is no layer {at}", rule="FI-1") from error
    versions = ("_V4", "_V6") if family is None or family.version is None else (f"_V{family.version}",)
    if at in Layer.__members__:
        layer = Layer[at]
        if layer_info(layer).version not in (None, *(int(version[-1]) for version in versions)):
            assert family is not None
            raise LayerNotFound(f"{at} is no layer of {family.name}; leave out {at[-3:]}", rule="FI-1")
        return [layer]
    found = [Layer[at + version] for version in versions if at + version in Layer.__members__]
    if not found:
        names = list(Layer.__members__) + [layer_info(layer).group for layer in Layer]
        near = get_close_matches(at.upper(), names, 1, 0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise LayerNotFound(f"there is no layer {at!r}{hint}", rule="FI-1")
    return found


def conditions(where: Where, layer: Layer) -> Iterable[Condition]:
    """The conditions that a mapping from fields to values stands for."""
    if not isinstance(where, Mapping):
        return where
    return [Condition(name, _match(value), value) for name, value in where.items()]


def _match(value: Any) -> MatchType:
    if isinstance(value, tuple):
        return MatchType.RANGE
    network = isinstance(value, (IPv4Network, IPv6Network)) or (isinstance(value, str) and "/" in value)
    return MatchType.PREFIX if network else MatchType.EQUAL
