"""What makes a function a scenario, and what is said of one that is written wrongly."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from emulator.checks import Checks
from emulator.scenario import BOTH, BadScenario, Scenario, marked, scenario, scenarios_in
from emulator.topology import BEDS, Bed, Pair, Routed
from emulator.wfptypes import AddressFamily


def mark(function: Callable[..., None], **named: Any) -> Scenario:
    found = marked(scenario(**named)(function))
    assert found is not None
    return found


def plain(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """Shows one thing.

    host === peer
    """


def test_the_decorator_gives_the_function_back_with_and_without_parentheses() -> None:
    def one() -> None:
        """One."""

    def two() -> None:
        """Two."""

    assert scenario(one) is one
    assert scenario()(two) is two
    assert [found.name for found in (marked(one), marked(two)) if found] == ["one", "two"]


def test_what_is_known_about_a_scenario() -> None:
    found = mark(plain, cases=("B01",), rules=("NS-1",), programs=("dig",))
    assert (found.name, found.summary, found.group) == ("plain", "Shows one thing.", "test_scenario")
    assert "host === peer" in found.text
    assert (found.families, found.cases, found.rules) == (BOTH, ("B01",), ("NS-1",))
    assert found.programs == ("dig",)
    assert found.target == "plain"


def test_annotations_say_what_kind_of_bed_is_needed() -> None:
    class Mine(Bed):
        pass

    def wants(first: Pair, second: Routed, own: Mine, check: Checks, family: AddressFamily) -> None:
        """Wants."""

    wants.__annotations__ = {"first": Pair, "second": Routed, "own": Mine, "check": Checks, "family": AddressFamily}
    kinds = {"first": Pair, "second": Routed, "own": Mine, "check": None, "family": None}
    assert mark(wants).beds() == kinds


def test_names_do_where_there_are_no_annotations() -> None:
    def wants(pair, routed, alone, bridged, two_drivers, empty, check, family):  # type: ignore[no-untyped-def]
        """Wants."""

    assert mark(wants).beds() == {**BEDS, "check": None, "family": None}


def test_an_argument_that_nothing_supplies_is_named_with_what_there_is() -> None:
    def asks(pear):  # type: ignore[no-untyped-def]
        """A fruit."""

    told = r"asks for `pear`; it can have `check`, `family`, `pair`, .*derived from Bed"
    with pytest.raises(BadScenario, match=told):
        mark(asks).beds()


def test_an_annotation_that_cannot_be_read_is_told() -> None:
    def asks(pair):  # type: ignore[no-untyped-def]
        """A fruit."""

    asks.__annotations__ = {"pair": "Pear"}
    with pytest.raises(BadScenario, match="an annotation cannot be read: name 'Pear' is not defined"):
        mark(asks).beds()


def test_an_annotation_of_another_kind_is_told_even_where_the_name_would_do() -> None:
    def asks(pair):  # type: ignore[no-untyped-def]
        """A fruit."""

    asks.__annotations__ = {"pair": int}
    with pytest.raises(BadScenario, match="asks for `pair: int`"):
        mark(asks).beds()


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ({"families": AddressFamily.INET}, r"families is a tuple, as in `families=\(AddressFamily.INET,\)`"),
        ({"families": (2,)}, "families is a tuple"),
        ({"families": ()}, "families is empty, so it would never run"),
        ({"cases": "B01"}, r'cases is a tuple, as in `cases=\("B01",\)`'),
        ({"rules": ["NS-9"]}, r'rules is a tuple, as in `rules=\("NS-9",\)`'),
    ],
    ids=str,
)
def test_wrong_arguments_of_the_decorator_are_told_at_once(named: dict[str, Any], told: str) -> None:
    with pytest.raises(BadScenario, match=told):
        scenario(**named)(plain)


def test_a_scenario_needs_a_docstring_and_a_function() -> None:
    def silent() -> None:
        pass

    with pytest.raises(BadScenario, match="scenario silent needs a docstring"):
        scenario(silent)
    with pytest.raises(BadScenario, match="is no function"):
        scenario(5)  # type: ignore[call-overload]


def test_a_module_has_its_own_scenarios_in_order_and_not_those_it_imports() -> None:
    module = ModuleType("mine")

    def one() -> None:
        """One."""

    def two() -> None:
        """Two."""

    for function in (one, two):
        function.__module__ = "mine"
        setattr(module, function.__name__, scenario(function))
    module.plain = scenario(plain)  # type: ignore[attr-defined]
    module.number = 5  # type: ignore[attr-defined]
    assert [item.name for item in scenarios_in(module)] == ["one", "two"]
