"""`python -m emulator`: the same as the command `wfplab`."""

try:
    from emulator.cli import INTERRUPTED, main
except KeyboardInterrupt:  # Ctrl-C before there is anything to clear up
    raise SystemExit(130) from None

if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:  # a second one, while the first was dealt with
        raise SystemExit(INTERRUPTED) from None
