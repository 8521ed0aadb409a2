"""A driver gives back what it made, in the documented order, whatever happens."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

import pytest

from emulator.callout import Callout
from emulator.core import Core
from emulator.driver import Driver, conditions, layers_named
from emulator.errors import LayerNotFound
from emulator.filters import UNIVERSAL, Condition, MatchType
from emulator.indication import Indication
from emulator.injection import Injection
from emulator.layerids import Layer
from emulator.wfptypes import Action, AddressFamily, InjectionType


@pytest.fixture
def submitted() -> list[Injection]:
    return []


@pytest.fixture
def core(submitted: list[Injection]) -> Core:
    made = Core(submitted.append)
    made.readiness = lambda: None
    return made


@dataclass
class Counting(Callout):
    """A callout without a hash: it is a dataclass."""

    seen: int = 0

    def classify(self, seen: Indication) -> None:
        self.seen += 1
        seen.permit()


def test_when_a_driver_has_gone_nothing_of_it_is_left(core: Core) -> None:
    with Driver(core, "mine", weight=5) as driver:
        driver.create_handle(AddressFamily.INET, InjectionType.NETWORK)
        driver.add(Counting(), "OUTBOUND_IPPACKET")
        assert len(core.engine.filters) == 2
        assert core.leaks() == ["<handle 1 INET NETWORK> was never destroyed (HC-15)"]
    assert core.engine.filters == {}
    assert core.engine.sublayers.keys() == {UNIVERSAL.key, *core.engine.sublayers.keys()} - {driver.sublayer.key}
    assert core.leaks() == []
    assert list(core.violations) == []
    driver.unload()


@pytest.mark.rule("OR-4", "HD-9")
def test_filters_go_before_callouts_and_callouts_before_handles(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def noted(name: str, call: Any) -> Any:
        def noting(*arguments: Any) -> Any:
            order.append(name)
            return call(*arguments)

        return noting

    engine = core.engine
    monkeypatch.setattr(engine, "delete_filter", noted("filter", engine.delete_filter))
    monkeypatch.setattr(engine.callouts, "unregister", noted("callout", engine.callouts.unregister))
    monkeypatch.setattr(core, "handle_gone", noted("handle", core.handle_gone))
    with Driver(core) as driver:
        driver.create_handle(AddressFamily.INET)
        driver.add(Counting(), "OUTBOUND_IPPACKET_V4")
    assert order == ["filter", "callout", "handle"]


def test_one_part_that_fails_does_not_keep_the_others(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(core)
    driver.create_handle(AddressFamily.INET)
    driver.add(Counting(), "OUTBOUND_IPPACKET_V4")

    def refuse(callout_id: int) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(core.engine.callouts, "unregister", refuse)
    with pytest.raises(ZeroDivisionError):
        driver.unload()
    assert core.engine.filters == {}
    assert core.handles == []


def test_a_callout_is_registered_once_for_all_its_filters(core: Core) -> None:
    with Driver(core) as driver:
        callout = Counting()
        first, second = driver.add(callout, "OUTBOUND_IPPACKET")
        (third,) = driver.add(callout, Layer.INBOUND_IPPACKET_V4)
        (other,) = driver.add(Counting(), Layer.INBOUND_IPPACKET_V4)
        assert first.callout_key == second.callout_key == third.callout_key != other.callout_key


def test_a_function_is_a_callout_and_none_goes_with_a_plain_action(core: Core) -> None:
    with Driver(core) as driver:
        (asking,) = driver.add(lambda seen: seen.permit(), "IPFORWARD_V4")
        (plain,) = driver.add(None, "IPFORWARD_V4", action=Action.BLOCK)
        assert asking.callout is not None
        assert plain.callout_key is None
        driver.remove(plain)
        assert list(core.engine.filters.values()) == [asking]


def test_a_heavier_driver_is_asked_first(core: Core) -> None:
    with Driver(core, "light", weight=1) as light, Driver(core, "heavy", weight=2) as heavy:
        light.add(Counting(), "IPFORWARD_V4")
        heavy.add(Counting(), "IPFORWARD_V4")
        assert [each.sublayer.name for each in core.engine.at_layer[Layer.IPFORWARD_V4]] == ["heavy", "light"]


def test_lists_are_given_back_as_they_were_made(core: Core) -> None:
    driver = Driver(core)
    made = driver.create(b"12345678")
    clone = core.ownership.clone(made)
    driver.free(clone)
    driver.free(made)
    assert core.leaks() == []
    assert list(core.violations) == []


def test_done_frees_and_counts(core: Core, submitted: list[Injection]) -> None:
    driver = Driver(core)
    handle = driver.create_handle(AddressFamily.INET, InjectionType.NETWORK)
    handle.network_send(driver.create(bytes(20)), driver.done)
    handle.complete(submitted[0], submitted[0].status)
    assert driver.done.counted() == {"SUCCESS": 1}
    driver.unload()
    assert core.leaks() == []


@pytest.mark.parametrize(
    ("at", "family", "expected"),
    [
        ("IPFORWARD", AddressFamily.INET, ["IPFORWARD_V4"]),
        ("IPFORWARD", AddressFamily.INET6, ["IPFORWARD_V6"]),
        ("IPFORWARD", None, ["IPFORWARD_V4", "IPFORWARD_V6"]),
        ("IPFORWARD", AddressFamily.UNSPEC, ["IPFORWARD_V4", "IPFORWARD_V6"]),
        ("IPFORWARD_V6", None, ["IPFORWARD_V6"]),
        ("IPFORWARD_V6", AddressFamily.INET6, ["IPFORWARD_V6"]),
        (Layer.IPFORWARD_V4, None, ["IPFORWARD_V4"]),
        ("INBOUND_MAC_FRAME_ETHERNET", AddressFamily.INET, ["INBOUND_MAC_FRAME_ETHERNET"]),
    ],
    ids=str,
)
def test_layers_by_name(at: str | int, family: AddressFamily | None, expected: list[str]) -> None:
    assert [layer.name for layer in layers_named(at, family)] == expected


@pytest.mark.parametrize(
    ("at", "family", "told"),
    [
        ("OUTBOUND_IPPACKETS", None, "there is no layer 'OUTBOUND_IPPACKETS'; did you mean OUTBOUND_IPPACKET?"),
        ("outbound_ippacket", None, "did you mean OUTBOUND_IPPACKET?"),
        ("xyz", None, "there is no layer 'xyz' "),
        ("IPFORWARD_V4", AddressFamily.INET6, "IPFORWARD_V4 is no layer of INET6; leave out _V4"),
        (9999, None, "there is no layer 9999"),
    ],
    ids=str,
)
def test_a_layer_that_does_not_exist_is_told_with_what_may_be_meant(
    at: str | int, family: AddressFamily | None, told: str
) -> None:
    with pytest.raises(LayerNotFound) as refused:
        layers_named(at, family)
    assert told in f"{refused.value} "


def test_values_choose_how_they_are_compared() -> None:
    where = {
        "IP_PROTOCOL": 17,
        "IP_REMOTE_PORT": (1, 1023),
        "IP_REMOTE_ADDRESS": "10.0.0.0/8",
        "IP_LOCAL_ADDRESS": ip_network("10.0.0.0/8"),
    }
    matches = [condition.match for condition in conditions(where, Layer.OUTBOUND_TRANSPORT_V4)]
    assert matches == [MatchType.EQUAL, MatchType.RANGE, MatchType.PREFIX, MatchType.PREFIX]
    own = [Condition("IP_PROTOCOL", MatchType.NOT_EQUAL, 17)]
    assert conditions(own, Layer.OUTBOUND_TRANSPORT_V4) is own
