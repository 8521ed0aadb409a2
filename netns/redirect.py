"""Make a frame arrive on a device: what is sent on a helper device is received by another.

A frame written to a packet socket on the helper never leaves it; traffic control turns it round and hands it
to the target's receive path, as if it had come in there from the wire.
"""

from __future__ import annotations

import errno
import warnings
from typing import Any, Self

from netns.errors import Closed, KernelRefused
from netns.namespace import Namespace

CLSACT = 0xFFFFFFF1
CLSACT_EGRESS = 0xFFFFFFF3
ETH_P_ALL = 3
UNCLASSED = 0
"""pyroute2 wants a class where traffic control does not."""

EVERY_FRAME = ["0x0/0x0+0"]
GONE = (errno.ENODEV, errno.ENOENT, errno.EINVAL)


class Redirect:
    """The turning round of one helper device; closing it lets frames leave the helper again."""

    def __init__(self, namespace: Namespace, helper: str, target: str) -> None:
        """Redirect what leaves `helper` to the receive path of `target`, both in `namespace`.

        Raises KernelRefused (EEXIST: the helper has a classifier already), NotPermitted, Closed.
        """
        self._closed = True
        self._namespace = namespace
        self._helper = namespace.index_of(helper)
        arrival = namespace.index_of(target)
        action = {"kind": "mirred", "direction": "ingress", "action": "redirect", "ifindex": arrival}

        def install(ipr: Any) -> None:
            ipr.tc(
                "add-filter",
                "u32",
                self._helper,
                parent=CLSACT_EGRESS,
                protocol=ETH_P_ALL,
                prio=1,
                keys=EVERY_FRAME,
                action=action,
                target=UNCLASSED,
            )

        namespace.netlink(lambda ipr: ipr.tc("add", "clsact", self._helper))
        self._closed = False  # not before: a classifier that was there is not ours to remove
        try:
            namespace.netlink(install)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove it; closing twice, or after the device, is allowed. Raises KernelRefused."""
        if self._closed:
            return
        self._closed = True
        try:
            self._namespace.netlink(lambda ipr: ipr.tc("del", "clsact", self._helper))
        except Closed:
            pass
        except KernelRefused as error:
            if error.code not in GONE:
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            warnings.warn("a Redirect was not closed", ResourceWarning, source=self, stacklevel=2)


def redirect_egress_to_ingress(namespace: Namespace, helper_dev: str, target_dev: str) -> Redirect:
    """See `Redirect`; the caller owns what is returned. Raises KernelRefused, NotPermitted, Closed."""
    return Redirect(namespace, helper_dev, target_dev)
