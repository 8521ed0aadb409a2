"""Torture: faults, kills, floods and hostile octets, to show that a lab loses nothing and leaves nothing behind."""
