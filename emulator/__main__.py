"""`python -m emulator`: the same as the command `wfplab`."""

from emulator.cli import main

if __name__ == "__main__":
    main()
