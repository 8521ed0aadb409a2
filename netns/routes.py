"""Static routes and policy rules of a namespace."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netns.namespace import Namespace

FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
EVERYTHING = {4: "0.0.0.0/0", 6: "::/0"}
SCOPE_HOST = 254


def add(
    namespace: Namespace,
    destination: str,
    *,
    via: str | None = None,
    interface: str | None = None,
    table: int | None = None,
) -> None:
    """Add or replace a route; see `Namespace.add_route`. Raises ValueError, KernelRefused, Closed."""
    network = ipaddress.ip_network(destination)
    if via is None and interface is None:
        raise ValueError(f"route to {destination}: name a gateway, a device, or both")
    wanted: dict[str, Any] = {"dst": str(network), "family": int(FAMILY[network.version])}
    if via is not None:
        wanted["gateway"] = via
    if interface is not None:
        wanted["oif"] = namespace.index_of(interface)
    if table is not None:
        wanted["table"] = table
    namespace.netlink(lambda ipr: ipr.route("replace", **wanted))


def divert_marked(namespace: Namespace, mark: int, *, mask: int, table: int) -> None:
    """Route marked packets to loopback; see `Namespace.divert_marked`. Raises KernelRefused, Closed."""
    loopback = namespace.index_of("lo")

    def divert(ipr: Any) -> None:
        for version, family in FAMILY.items():
            ipr.route(
                "replace",
                dst=EVERYTHING[version],
                family=int(family),
                oif=loopback,
                table=table,
                type="local",
                scope=SCOPE_HOST,
            )
            ipr.rule("add", family=int(family), fwmark=mark, fwmask=mask, table=table)

    namespace.netlink(divert)
