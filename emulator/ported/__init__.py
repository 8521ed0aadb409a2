"""Ports of what real drivers do, as callouts that scenarios and tests put on hosts."""
