"""`wfplab vm`: the lab in throw-away virtual machines, on stock kernels."""
