"""Real programs through inspected connections, in both roles: what arrives is what was sent."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from emulator.callouts_stream import InlineEdit
from emulator.indication import Indication
from emulator.topology import Host, Pair
from emulator.wfptypes import AddressFamily
from netns.patience import patient
from netns.process import Process
from tests.lab.bulk import bulk, floor
from tests.lab.stream_ends import STREAM, connected, dial, listen, read_all, wait_for

PORT = 8080
BIG = bulk(100) << 20
VISITORS, VISITS = bulk(100), 10


@pytest.fixture(params=[True, False], ids=["host connects", "peer connects"])
def ends(request: pytest.FixtureRequest, pair: Pair, family: AddressFamily) -> Iterator[tuple[Host, Host]]:
    """Client and server; all connections between them are inspected inline, and let pass in two parts."""

    def in_two_parts(seen: Indication) -> None:
        seen.permit()
        length = seen.stream.stream_data.data_length
        seen.stream.count_bytes_enforced = (length + 1) // 2 if length > 1000 else 0

    with pair.host.driver() as driver:
        driver.add(in_two_parts, "STREAM", family)
        yield (pair.host, pair.peer) if request.param else (pair.peer, pair.host)
        counts = pair.host.stack.stream.counts()
        assert counts["established"]
        assert counts["octets_copied"], "nobody inspected anything"
        assert counts["octets_passed"] == 0


def program(name: str) -> str:
    """The path of a program; the test is skipped by its name where there is none."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"no {name} on this machine")
    return found


def bracketed(host: Host, family: AddressFamily) -> str:
    address = host.address(family)
    return f"[{address}]" if family == AddressFamily.INET6 else address


@pytest.fixture
def big(tmp_path: Path) -> tuple[Path, str]:
    """A file of 100 MB, or our share of that, that does not compress, and its SHA-256."""
    folder = tmp_path / "www"
    folder.mkdir()
    piece = os.urandom(1 << 20)
    digest = hashlib.sha256()
    with (folder / "big").open("wb") as file:
        for number in range(BIG >> 20):
            block = number.to_bytes(4, "big") + piece[4:]
            digest.update(block)
            file.write(block)
    return folder / "big", digest.hexdigest()


def start_nginx(server: Host, family: AddressFamily, folder: Path, content: Path) -> Process:
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"user root; worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log;\n"
        "events { worker_connections 512; }\n"
        f"http {{ access_log off; client_body_temp_path {folder}/a; proxy_temp_path {folder}/b;\n"
        f"fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;\n"
        f"server {{ listen {bracketed(server, family)}:{PORT}; root {content};\n"
        f"location /chunked {{ gzip on; gzip_min_length 1; gzip_types *; }}\n"
        "location /echo { return 200 '$http_x_weather'; } } }\n"
    )
    process = server.namespace.start(["nginx", "-p", str(folder), "-c", str(configuration)])
    process.wait_ready(port=PORT)
    return process


def test_curl_and_nginx(ends: tuple[Host, Host], family: AddressFamily, tmp_path: Path, big: tuple[Path, str]) -> None:
    program("curl")
    program("nginx")
    client, server = ends
    path, expected = big
    (path.parent / "chunked").write_text("sunny " * 5000)
    start_nginx(server, family, tmp_path, path.parent)
    url = f"http://{bracketed(server, family)}:{PORT}"
    got = tmp_path / "got"
    client.namespace.run(["curl", "-sS", "--fail", "-o", str(got), f"{url}/big"], timeout=50)
    with got.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == expected
    verbose = client.namespace.run(["curl", "-sSv", "--compressed", f"{url}/chunked", f"{url}/chunked"])
    assert "ransfer-Encoding: chunked" in verbose.stderr
    assert re.search("Re-using existing .*connection", verbose.stderr)
    assert verbose.stdout == "sunny " * 10000


@pytest.mark.rule("ST-16", "ST-26")
@pytest.mark.parametrize("outbound", [True, False], ids=["host connects", "peer connects"])
def test_headers_are_inserted_and_deleted_in_both_directions_of_one_connection(
    pair: Pair, family: AddressFamily, tmp_path: Path, outbound: bool
) -> None:
    program("curl")
    program("nginx")
    client, server = (pair.host, pair.peer) if outbound else (pair.peer, pair.host)
    start_nginx(server, family, tmp_path, tmp_path)
    url = f"http://{bracketed(server, family)}:{PORT}/echo"
    plain = client.namespace.run(["curl", "-sSi", url]).stdout
    assert "Server: nginx" in plain
    assert plain.endswith("\r\n\r\n")
    with pair.host.driver("upper", weight=2) as upper, pair.host.driver("lower", weight=1) as lower:
        inserting = InlineEdit(upper.create_handle(0, STREAM), b"Accept: */*", b"X-Weather: sunny\r\nAccept: */*")
        deleting = InlineEdit(lower.create_handle(0, STREAM), b"Server: nginx", b"X: y")
        upper.add(inserting, "STREAM", family)
        lower.add(deleting, "STREAM", family)
        edited = client.namespace.run(["curl", "-sSi", url, url, url]).stdout
        wait_for(lambda: not pair.host.stack.stream.counts()["live"])
    assert "Server" not in edited
    assert edited.count("X: y") == edited.count("\r\n\r\nsunny") == 3
    assert (inserting.replaced, deleting.replaced) == (3, 3)


def test_openssl(ends: tuple[Host, Host], family: AddressFamily, tmp_path: Path) -> None:
    program("openssl")
    client, server = ends
    key, certificate = str(tmp_path / "key"), str(tmp_path / "certificate")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "1",
         "-subj", "/CN=lab"], check=True, capture_output=True,
    )  # fmt: skip
    where = f"{bracketed(server, family)}:{PORT}"
    serving = server.namespace.start(
        ["openssl", "s_server", "-accept", where, "-key", key, "-cert", certificate, "-rev"], stdin=subprocess.PIPE
    )
    serving.wait_ready(port=PORT)
    talk = client.namespace.start(
        ["openssl", "s_client", "-connect", where, "-quiet", "-verify_quiet"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert talk.stdin is not None
    assert talk.stdout is not None
    for line in (b"cloudy", b"a" * 8000):
        talk.stdin.write(line + b"\n")
        talk.stdin.flush()
        assert talk.stdout.readline() == line[::-1] + b"\n"


def test_ssh_with_a_large_copy(
    ends: tuple[Host, Host], family: AddressFamily, tmp_path: Path, big: tuple[Path, str]
) -> None:
    program("ssh")
    program("sshd")
    client, server = ends
    path, expected = big
    for name in ("hostkey", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    shutil.copy(tmp_path / "key.pub", tmp_path / "authorized")
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    serving = server.namespace.start([
        program("sshd"), "-D", "-e", "-f", "/dev/null", "-p", str(PORT), "-h", str(tmp_path / "hostkey"),
        "-o", f"ListenAddress={bracketed(server, family)}", "-o", f"AuthorizedKeysFile={tmp_path / 'authorized'}",
        "-o", "StrictModes=no", "-o", "PidFile=none", "-o", "UsePAM=no", "-o", "PermitRootLogin=yes",
    ])  # fmt: skip
    serving.wait_ready(port=PORT)
    options = [
        "-p", str(PORT), "-i", str(tmp_path / "key"), "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR",
        "-o", f"UserKnownHostsFile={tmp_path / 'known'}", "-o", "BatchMode=yes",
    ]  # fmt: skip
    where = f"root@{server.address(family)}"
    with path.open("rb") as file:
        copied = client.namespace.start(
            ["ssh", *options, where, "sha256sum"], stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert copied.stdout is not None
        assert copied.stdout.read().decode().split()[:1] == [expected], copied.stderr and copied.stderr.read()
    assert copied.wait(10) == 0


def test_iperf3(ends: tuple[Host, Host], family: AddressFamily) -> None:
    program("iperf3")
    client, server = ends
    for extra in (["-P", "8"], ["--bidir"], ["-R"]):
        # A server for each run: one that has not noticed the end of a run refuses the next.
        serving = server.namespace.start(["iperf3", "-s", "-1", "-p", str(PORT), "-B", server.address(family)])
        serving.wait_ready(port=PORT)
        command = ["iperf3", "-J", "-c", server.address(family), "-p", str(PORT), "-t", "1", *extra]
        report = json.loads(client.namespace.run(command, timeout=40).stdout)
        assert "error" not in report
        # What is in flight when the time is over is not counted: every stream moved, and together a lot.
        moved = [stream["receiver"]["bytes"] for stream in report["end"]["streams"]]
        assert len(moved) == {"-P": 8, "--bidir": 2}.get(extra[0], 1)
        assert min(moved) > 0
        assert sum(moved) > floor(8 << 20)
        serving.wait(20)


def test_a_thousand_short_connections(ends: tuple[Host, Host], family: AddressFamily, pair: Pair) -> None:
    client, server = ends
    stop = threading.Event()
    failures: list[BaseException] = []

    def serve() -> None:
        while not stop.is_set():
            try:
                accepted, _ = listener.accept()
            except TimeoutError:
                continue
            with accepted:
                accepted.settimeout(patient(10))
                accepted.sendall(accepted.recv(100).upper())

    def visit(first: int) -> None:
        try:
            for number in range(first, first + VISITS):
                with dial(client, server, family, PORT, timeout=patient(30)) as sock:
                    text = f"visit {number}".encode()
                    sock.sendall(text)
                    assert read_all(sock) == text.upper()
        except (OSError, AssertionError) as error:
            failures.append(error)

    with listen(server, family, PORT) as listener:
        listener.settimeout(0.2)
        servers = [threading.Thread(target=serve) for _ in range(4)]
        visitors = [threading.Thread(target=visit, args=(number * VISITS,)) for number in range(VISITORS)]
        for thread in servers + visitors:
            thread.start()
        for thread in visitors:
            thread.join()
        stop.set()
        for thread in servers:
            thread.join()
    assert failures == []
    counts = pair.host.stack.stream.counts
    wait_for(lambda: counts()["live"] == 0)
    assert counts()["established"] == VISITORS * VISITS
    assert counts()["failed"] == 0
    paths = pair.host.stack.stream.paths
    wait_for(lambda: not any(path.busy or path.forgetting for path in paths.values()))
    listed = pair.host.namespace.run(["nft", "list", "ruleset"]).stdout
    assert f". {PORT}" not in listed
    assert f"{PORT} ." not in listed


def test_both_ends_see_each_others_true_names(ends: tuple[Host, Host], family: AddressFamily, pair: Pair) -> None:
    client, server = ends
    outbound = client is pair.host
    with connected(pair, family, outbound=outbound, port=PORT) as pairing:
        pairing.host.sendall(b"x")
        assert pairing.peer.recv(1) == b"x"
        mine, other = (pairing.host, pairing.peer) if outbound else (pairing.peer, pairing.host)
        assert mine.getsockname() == other.getpeername()
        assert mine.getpeername() == other.getsockname()
        assert mine.getpeername()[:2] == (server.address(family), PORT)
        assert other.getpeername()[0] == client.address(family)
