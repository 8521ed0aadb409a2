"""`wfplab vm`: the lab in throw-away virtual machines, on stock kernels."""

from typing import Final

MINUTES: Final = 90.0
"""That a guest may take, unasked."""
MEMORY_MIB: Final = 1536
"""Of a guest, unasked: the lab suite has up to 1 GiB in use."""
