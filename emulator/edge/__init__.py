"""What `emulator.fwpsk`, `fwpmk` and `wdk` are made of: Windows names, structures and numbers."""
