"""The servers and clients of scenarios: real programs, started inside hosts with nothing of the system's own.

A scenario that uses them names them: `@scenario(programs=("curl", "nginx"))`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from emulator.topology import Host
from emulator.wfptypes import AddressFamily
from netns.errors import ProgramFailed
from netns.patience import patient
from netns.process import Process, child_environment, find_program

WAIT_SECONDS = 10
LONG_SECONDS = 300
UPLOAD_PORT = 5201
PAGE_OCTETS = 150_000
"""Of a page that takes some round trips."""
_PAUSE_SECONDS = 0.02
NGINX = """
daemon off; master_process off; user root; pid {folder}/nginx.pid; error_log stderr error;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 80; listen [::]:80; root {folder}; {secure} }}
}}
"""
SECURE = "listen 443 ssl; listen [::]:443 ssl; ssl_certificate {folder}/certificate; ssl_certificate_key {folder}/key;"


def bracketed(address: str) -> str:
    """An address as it stands in a URL."""
    return f"[{address}]" if ":" in address else address


# -- servers ------------------------------------------------------------------------------------------------


def web_server(host: Host, folder: Path, *, secure: bool = False) -> Process:
    """An nginx that serves the files of a folder on port 80, and `secure` also on 443 for the name `lab`.

    The host ends it.  Raises MissingFeature, ProgramFailed, NotReady.
    """
    folder.chmod(0o755)
    if secure:
        _certify(folder)
    text = NGINX.format(folder=folder, secure=SECURE.format(folder=folder) if secure else "")
    (folder / "nginx.conf").write_text(text)
    server = host.namespace.start(["nginx", "-c", str(folder / "nginx.conf"), "-e", "stderr"])
    server.wait_ready(port=443 if secure else 80)
    return server


def _certify(folder: Path) -> None:
    argv = [
        find_program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-keyout", str(folder / "key"), "-out", str(folder / "certificate"), "-days", "1", "-subj", "/CN=lab",
        "-addext", "subjectAltName=DNS:lab",
    ]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, env=child_environment(None, None), check=False)
    if done.returncode:
        raise ProgramFailed(argv, done.returncode, done.stderr)


def name_server(host: Host, family: AddressFamily, *records: str, address: str = "", port: int = 53) -> Process:
    """A dnsmasq that knows only these records, by UDP and TCP; each is an option: `host-record=a.test,192.0.2.7`.

    It listens at the host's address unless another is named.  The host ends it.
    Raises MissingFeature, ProgramFailed, NotReady.
    """
    options = [
        "no-daemon", "conf-file=/dev/null", "pid-file=", "log-facility=-",
        "no-resolv", "no-hosts", "bind-interfaces", "cache-size=0", f"port={port}",
        f"listen-address={address or host.address(family)}", *records,
    ]  # fmt: skip
    server = host.namespace.start(["dnsmasq", *(f"--{option}" for option in options)])
    server.wait_ready(port=port)
    return server


def upload_server(host: Host, family: AddressFamily) -> Process:
    """An iperf3 server, on its own port.  The host ends it.  Raises MissingFeature, ProgramFailed, NotReady."""
    server = host.start("iperf3", "-s", "-B", host.address(family))
    server.wait_ready(port=UPLOAD_PORT)
    return server


# -- clients ------------------------------------------------------------------------------------------------


class Pings(NamedTuple):
    """How many requests a ping has sent, how many of them were answered, and how often one too many."""

    sent: int
    received: int
    duplicates: int


def ping(client: Host, address: str, count: int, *, size: int = 56, flood: bool = False) -> Pings:
    """Send echo requests and count the answers; raises MissingFeature, ProgramTimedOut, KernelRefused.

    They are counted where they arrive, by the client's kernel: when the last one is late, ping itself waits for
    no more than two round trips.
    """
    pace = ["-f"] if flood else ["-i", "0.01"]
    argv = ["ping", "-n", "-q", *pace, "-c", str(count), "-s", str(size), "-W", str(WAIT_SECONDS), address]
    before = _echo_replies(client)
    said = client.run(*argv, user="root", timeout=LONG_SECONDS, check=False).stdout
    found = re.search(r"(\d+) packets transmitted", said)
    sent = int(found[1]) if found else 0
    until = time.monotonic() + patient(WAIT_SECONDS)
    while (received := _echo_replies(client) - before) < sent and time.monotonic() < until:
        time.sleep(_PAUSE_SECONDS)
    return Pings(sent, min(received, sent), max(received - sent, 0))


def _echo_replies(client: Host) -> int:
    found = counters(client)
    return found["Icmp.InEchoReps"] + found["Icmp6InEchoReplies"]


def counters(host: Host) -> Counter[str]:
    """What the kernel of a host has counted so far, such as "Tcp.RetransSegs" and "Icmp6InEchos".

    Raises KernelRefused.
    """

    def read() -> list[str]:
        return [Path(f"/proc/thread-self/net/{table}").read_text() for table in ("snmp", "netstat", "snmp6")]

    *pairs, plain = host.namespace.open_in(read)
    found: Counter[str] = Counter()
    for text in pairs:
        lines = [line.split() for line in text.splitlines()]
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            group = names[0].removesuffix("Ext:").removesuffix(":")
            found.update({f"{group}.{name}": int(value) for name, value in zip(names[1:], values[1:], strict=True)})
    found.update({name: int(value) for name, value in map(str.split, plain.splitlines())})
    return found


def dig(
    client: Host, server: str, name: str, kind: str, *, port: int = 53, tcp: bool = False, patience: int = 5
) -> str:
    """The answer to one question, asked once; empty when there is none in so many seconds.

    Raises MissingFeature, ProgramTimedOut.
    """
    how = "+tcp" if tcp else "+notcp"
    argv = ["dig", "+short", f"+time={patience}", "+tries=1", how, "-p", str(port), f"@{server}", name, kind]
    done = client.run(*argv, timeout=patience + 3 * WAIT_SECONDS, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def fetch(client: Host, url: str, into: Path, *options: str) -> str:
    """Download a file; its SHA-256, or what curl complained of.  Raises MissingFeature, ProgramTimedOut."""
    argv = ["curl", "-sS", "--fail", "--max-time", str(int(patient(LONG_SECONDS))), *options, url]
    with into.open("wb") as file:  # ours to write, not curl's, which is an ordinary user's
        curl = client.start(*argv, stdout=file)
        try:
            status = curl.wait(LONG_SECONDS + WAIT_SECONDS, check=False)
        finally:
            curl.stop()
    if status:
        return curl.errors().strip()
    with into.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def upload(client: Host, address: str, octets: int) -> str:
    """Send so many octets to an iperf3 server: "sent" when they were, else what was wrong.

    It stops counting before all have arrived.  Raises MissingFeature, ProgramTimedOut.
    """
    argv = ["iperf3", "-J", "-c", address, "-n", str(octets)]
    said = client.run(*argv, timeout=LONG_SECONDS, check=False).stdout
    told: dict[str, Any] = json.loads(said) if said else {"error": "it said nothing"}
    if "error" in told:
        return str(told["error"])
    sent, received = (int(told["end"][which]["bytes"]) for which in ("sum_sent", "sum_received"))
    return "sent" if sent >= octets and received > 0 else f"{sent} sent and {received} received of {octets} octets"


def random_file(path: Path, octets: int) -> str:
    """Write a file of so many octets that do not repeat themselves; its SHA-256."""
    piece = os.urandom(1 << 16)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        while left := octets - file.tell():
            block = (file.tell().to_bytes(8, "big") + piece[8:])[:left]
            digest.update(block)
            file.write(block)
    return digest.hexdigest()
