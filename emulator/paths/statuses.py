"""What Linux answered, as the status an injected list is completed with.

Source: CF-10, NS-12, NR-8.
"""

from __future__ import annotations

import errno

from emulator.ntstatus import NtStatus

_STATUS = {
    errno.EMSGSIZE: NtStatus.INVALID_BUFFER_SIZE,
    errno.ENETUNREACH: NtStatus.NETWORK_UNREACHABLE,
    errno.EHOSTUNREACH: NtStatus.HOST_UNREACHABLE,
    errno.EPERM: NtStatus.DATA_NOT_ACCEPTED,
    errno.ENODEV: NtStatus.INVALID_PARAMETER,
    errno.ENXIO: NtStatus.INVALID_PARAMETER,
    errno.EINVAL: NtStatus.INVALID_PARAMETER,
    errno.ENOBUFS: NtStatus.INSUFFICIENT_RESOURCES,
    errno.ENOMEM: NtStatus.INSUFFICIENT_RESOURCES,
    errno.ECONNRESET: NtStatus.CONNECTION_RESET,
    errno.EPIPE: NtStatus.CONNECTION_INVALID,
    errno.ENOTCONN: NtStatus.CONNECTION_INVALID,
}


def status_of(error: OSError) -> NtStatus:
    """The status for what the kernel refused; UNSUCCESSFUL for what is not in the table.  Source: CF-10."""
    return status_of_number(error.errno or 0)


def status_of_number(number: int) -> NtStatus:
    """The same for the number of an error."""
    return _STATUS.get(number, NtStatus.UNSUCCESSFUL)
