"""A proof rests on all that says what a test does: scenario, conftest, imports; not on what the test tries."""

from __future__ import annotations

import pytest

from emulator.contract.rules import Status
from tests.unit.contract.conftest import Tree

pytest_plugins = ["pytester"]


def test_a_change_of_what_a_test_shares_with_others_takes_its_proof_back(tree: Tree) -> None:
    tree.write(
        test_a='from shared import one\n@rule("GE-1")\ndef test_one(): assert one',
        test_b='@rule("GE-2")\ndef test_two(): pass',
    )
    tree.pytester.makepyfile(shared="from deeper import one", deeper="one = 1")
    for name, text in (("shared", "from deeper import one as one"), ("deeper", "one = 2")):
        tree.run()
        assert tree.statuses("GE-1", "GE-2") == [Status.COVERED] * 2
        tree.pytester.makepyfile(**{name: text})
        assert tree.statuses("GE-1", "GE-2") == [Status.UNCOVERED, Status.COVERED]
    tree.run()
    assert tree.statuses("GE-1", "GE-2") == [Status.COVERED] * 2
    tree.configure("# changed")
    assert tree.statuses("GE-1", "GE-2") == [Status.UNCOVERED] * 2


def test_a_change_of_a_scenario_takes_its_proof_back_and_one_of_what_is_tested_does_not(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emulator.contract.sources.TESTED", ("product",))
    monkeypatch.setattr("emulator.contract.sources.TESTING", ("product.scenarios",))
    product = tree.pytester.mkpydir("product")
    tree.pytester.mkpydir("product/scenarios")
    (product / "core.py").write_text("ONE = 1")
    scenario = 'import pytest\nfrom product import core\n@pytest.mark.rule("GE-1")\ndef test_one(): assert core.ONE'
    (product / "scenarios" / "sending.py").write_text(scenario)
    tree.write(
        test_a="from importlib import import_module\n"
        'globals().update(test_one=import_module("product.scenarios.sending").test_one)'
    )
    tree.run()
    (product / "core.py").write_text("ONE = 2")
    assert tree.statuses("GE-1") == [Status.COVERED]
    (product / "scenarios" / "sending.py").write_text(scenario + "\n# changed")
    assert tree.statuses("GE-1") == [Status.UNCOVERED]
