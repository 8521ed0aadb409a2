"""One scenario under many schedules: what is told of those that failed."""

from __future__ import annotations

from dataclasses import replace

from emulator.checks import Check, Checks
from emulator.run.results import Result
from emulator.run.runner import Settings
from emulator.run.seeds import FAILURES_TOLD, run_seeds
from emulator.scenario import Scenario


def nothing(check: Checks) -> None:
    """A scenario that is never run here."""


ITEM = Scenario("nothing", nothing, (), (), (), "")
SETTINGS = Settings(seed=10, schedules=20)


def failing_on(*seeds: int, ran: list[int]) -> Result:
    def run(settings: Settings) -> Result:
        assert settings.schedules == 0
        assert settings.host is not None
        assert settings.host.schedule is not None
        seed = settings.host.schedule.seed
        ran.append(seed)
        return Result(ITEM.name, "", ["ipv4"], [Check("it arrives", seed not in seeds, "1", "0")])

    return run_seeds(ITEM, SETTINGS, run)


def test_every_seed_is_run_and_none_fails() -> None:
    ran: list[int] = []
    whole = failing_on(ran=ran)
    assert ran == list(range(10, 30))
    assert [(check.name, check.ok) for check in whole.checks] == [("20 schedules pass", True)]


def test_seeds_that_fail_are_named_and_how_to_see_the_first_again() -> None:
    whole = failing_on(12, 13, 20, 21, ran=[])
    names = [check.name for check in whole.checks]
    assert names == [*(f"seed {seed}: it arrives" for seed in (12, 13, 20)), "20 schedules pass"]
    assert len(names) - 1 == FAILURES_TOLD
    assert whole.checks[-1].seen == "4 fail, of seeds 12, 13, 20, 21: `wfplab run nothing --seed 12` shows it again"
    assert not whole.checks[-1].ok


def test_a_scenario_with_a_timing_of_its_own_is_run_once_as_ever() -> None:
    asked: list[Settings] = []

    def run(settings: Settings) -> Result:
        asked.append(settings)
        return Result(ITEM.name, "")

    run_seeds(replace(ITEM, own_timing=True), SETTINGS, run)
    assert [(settings.schedules, settings.host) for settings in asked] == [(0, None)]


def test_what_a_machine_lacks_ends_the_row() -> None:
    ran: list[Settings] = []

    def run(settings: Settings) -> Result:
        ran.append(settings)
        return Result(ITEM.name, "", missing=["no queue"], unmeasured=["no queue"])

    whole = run_seeds(ITEM, SETTINGS, run)
    assert len(ran) == 1
    assert whole.missing == ["seed 10: no queue"]
