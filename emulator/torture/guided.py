"""One target, fuzzed by atheris: `python -m emulator.torture.guided TARGET FOLDER SECONDS`; it never returns."""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> None:
    """Watch the project's own modules, then try cases until the time is over or one fails."""
    import atheris

    with atheris.instrument_imports(include=["emulator", "netns"]):
        from emulator.torture.hostile import LONGEST, TARGETS

    name, folder, seconds = arguments
    options = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-timeout=5", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], folder, f"-artifact_prefix={folder}/", *options], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
