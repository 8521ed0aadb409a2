"""Every scenario that comes with the project, as tests: the plugin collects the functions found here."""

from __future__ import annotations

from emulator.run.loading import built_in

SCENARIOS = built_in()

globals().update({item.name: item.function for item in SCENARIOS})


def test_every_scenario_has_a_name_of_its_own() -> None:
    assert len({item.name for item in SCENARIOS}) == len(SCENARIOS) > 0
