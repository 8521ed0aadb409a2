"""Ordinary programs do not notice a driver that takes every packet and puts it back, at any packet layer."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emulator.indication import Indication
from emulator.paths.queue import QueueBackend
from emulator.topology import Bed, Host, HostOptions, Pair, Routed
from emulator.violations import Level
from emulator.wfptypes import AddressFamily
from tests.lab.conftest import Strict
from tests.lab.network_packets import at
from tests.lab.putting_back import ALL_TYPES, PutBack, Worker

V4, V6 = AddressFamily.INET, AddressFamily.INET6
HOST_LAYERS = ("OUTBOUND_IPPACKET", "INBOUND_IPPACKET", "OUTBOUND_TRANSPORT", "INBOUND_TRANSPORT", "DATAGRAM_DATA")
MEGABYTES = int(os.environ.get("WFPLAB_DOWNLOAD_MB", "20"))

NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr error;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 80; listen [::]:80; root {folder}; }}
}}
"""


@pytest.fixture(params=[QueueBackend.NETLINK, QueueBackend.NETFILTERQUEUE], ids=lambda backend: backend.value)
def options(request: pytest.FixtureRequest) -> HostOptions:
    """Both queue backends; not watching each octet, which costs more than the rest."""
    return HostOptions(backend=request.param, level=Level.NORMAL)


def put_back(bed: Bed, host: Host, family: AddressFamily, worker: Worker, *groups: str) -> PutBack:
    """Put a callout at layers that takes everything, TCP out of band."""
    stack = host.stack

    class Everything(PutBack):
        def again(self, seen: Indication) -> Any:
            inject = super().again(seen)
            self.worker = worker if seen.view.protocol == 6 and "IPPACKET" not in seen.info.group else None
            return inject

    callout = Everything(stack, stack.create_handle(family, ALL_TYPES))
    at(stack, callout, *groups, family=family)
    return callout


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker() as made:
        yield made


class Names:
    """A name server for one name, by UDP and TCP."""

    ANSWER = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes((192, 0, 2, 7))

    def __init__(self, host: Host, family: AddressFamily) -> None:
        self._datagrams = host.socket(family, port=53)
        self._listener = host.socket(family, socket.SOCK_STREAM, port=53)
        self._listener.listen()
        self._threads = [threading.Thread(target=work) for work in (self._by_udp, self._by_tcp)]
        for thread in self._threads:
            thread.start()

    def _answer(self, question: bytes) -> bytes:
        end = question.index(b"\0", 12) + 5
        return question[:2] + b"\x85\x80\0\1\0\1\0\0\0\0" + question[12:end] + self.ANSWER

    def _by_udp(self) -> None:
        question, where = self._datagrams.recvfrom(1500)
        self._datagrams.sendto(self._answer(question), where)

    def _by_tcp(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(10)
            answer = self._answer(connection.recv(1500)[2:])
            connection.sendall(len(answer).to_bytes(2, "big") + answer)

    def stop(self) -> None:
        for thread in self._threads:
            thread.join()


class Served:
    """A web server with one file and a name server, on one host."""

    def __init__(self, host: Host, family: AddressFamily, folder: Path) -> None:
        self.host, self.family, self.folder = host, family, folder
        self.octets = os.urandom(1 << 20) * MEGABYTES
        (folder / "file").write_bytes(self.octets)
        folder.chmod(0o755)
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder))
        self.nginx = host.namespace.start(["nginx", "-c", str(folder / "nginx.conf"), "-e", "stderr"])
        self.names = Names(host, family)
        for _ in range(1000):
            with host.namespace.open_in(socket.socket) as probe:
                if probe.connect_ex(("127.0.0.1", 80)) == 0:
                    break
            time.sleep(0.01)

    def use(self, client: Host, *, flood: int = 2000) -> None:
        """Ping, download and ask for names; everything has to arrive as it was sent."""
        address = self.host.address(self.family)
        pings = client.run("ping", "-f", "-q", "-c", str(flood), address, timeout=50, user="root")
        assert f"{flood} received" in pings.stdout, pings.stdout
        large = client.run("ping", "-q", "-c", "5", "-i", "0.01", "-s", "3000", address, timeout=20, user="root")
        assert "5 received" in large.stdout, large.stdout
        for transport in ("+notcp", "+tcp"):
            answer = client.run("dig", "+short", "+time=5", "+tries=1", transport, f"@{address}", "host.test", "A")
            assert answer.stdout.strip() == "192.0.2.7"
        where = f"[{address}]" if self.family == V6 else address
        got = self.folder / "got"
        client.run("curl", "-sS", "--max-time", "50", "-o", str(got), f"http://{where}/file", timeout=55, user="root")
        assert hashlib.sha256(got.read_bytes()).digest() == hashlib.sha256(self.octets).digest()

    def stop(self) -> None:
        os.kill(self.nginx.pid, signal.SIGTERM)
        self.names.stop()


def settled(bed: Bed, host: Host, callout: PutBack) -> None:
    """Nothing is held, every completion was a success, and the books say that packets were put back."""
    host.stack.settle(timeout=20)
    names = set(callout.done.names)
    assert callout.states["NOT_INJECTED"] >= 2000
    assert names == {"SUCCESS"}
    assert host.stack.books.injections.by_verdict > 0
    for number in list(host.stack.core.engine.filters):
        host.stack.core.engine.delete_filter(number)
    callout.handle.destroy()


@pytest.mark.timeout(180)
@pytest.mark.rule("GE-10", "GE-12", "CO-18", "CO-19", "NS-9", "NR-5", "TS-22", "TR-7", "OR-1")
@pytest.mark.parametrize("layer", HOST_LAYERS)
def test_a_host_goes_on_working(
    beds: Strict, options: HostOptions, family: AddressFamily, layer: str, worker: Worker, tmp_path: Path
) -> None:
    bed = beds.make(Pair, options)
    served = Served(bed.host, family, tmp_path)
    callout = put_back(bed, bed.host, family, worker, layer)
    served.use(bed.peer)
    served.stop()
    settled(bed, bed.host, callout)


@pytest.mark.timeout(180)
@pytest.mark.rule("FW-1", "FW-3", "FW-4", "FW-8", "CO-18", "OR-1")
def test_a_router_goes_on_working(
    beds: Strict, options: HostOptions, family: AddressFamily, worker: Worker, tmp_path: Path
) -> None:
    bed = beds.make(Routed, options)
    served = Served(bed.right, family, tmp_path)
    callout = put_back(bed, bed.mid, family, worker, "IPFORWARD", "INBOUND_IPPACKET")
    served.use(bed.left)
    served.stop()
    settled(bed, bed.mid, callout)


@pytest.mark.timeout(180)
@pytest.mark.rule("GE-4", "OR-1")
def test_all_layers_at_once_and_without_verdicts(
    beds: Strict, family: AddressFamily, worker: Worker, tmp_path: Path
) -> None:
    """Every injection by a socket: slower, and nothing else."""
    bed = beds.make(Pair, HostOptions(level=Level.NORMAL))
    bed.host.stack.injector.verdicts = False
    served = Served(bed.host, family, tmp_path)
    callout = put_back(bed, bed.host, family, worker, "INBOUND_TRANSPORT", "OUTBOUND_TRANSPORT")
    served.use(bed.peer, flood=1000)
    served.stop()
    bed.host.stack.settle(timeout=20)
    assert set(callout.done.names) == {"SUCCESS"}
    assert bed.host.stack.books.injections.by_verdict == 0
    for number in list(bed.host.stack.core.engine.filters):
        bed.host.stack.core.engine.delete_filter(number)
    callout.handle.destroy()
