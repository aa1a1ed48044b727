"""`vigil doctor`: each thing that can be wrong is made wrong, and must be told with its mend."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aioice import stun
from typer.testing import CliRunner

from tests.publish.authority import Authority
from vigil.cli import app
from vigil.config import VigilConfig
from vigil.doctor import compute, disk, examine, machine, network, webrtc
from vigil.doctor import nats as nats_check
from vigil.doctor.finding import Finding, Installation, State, fail, is_container, ok, warn
from vigil.state import Addresses

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests run side by side, on machines that are busy with them."""
    monkeypatch.setattr(compute, "MODEL_S", 60.0)
    monkeypatch.setattr(webrtc, "CONNECT_S", 30.0)


def installation(running: Addresses | None = None, in_container: bool = False, **settings: Any) -> Installation:
    return Installation(VigilConfig.model_validate({"streams": {}, **settings}), running, in_container)


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    return findings[0]


@contextmanager
def taken(kind: socket.SocketKind = socket.SOCK_STREAM, host: str = "127.0.0.1") -> Iterator[int]:
    with socket.socket(socket.AF_INET, kind) as holder:
        holder.bind((host, 0))
        if kind == socket.SOCK_STREAM:
            holder.listen()
        yield holder.getsockname()[1]


# -- ports


def test_an_http_port_that_another_program_has_is_told_with_how_to_find_it() -> None:
    with taken() as port:
        found = only(network.http_port(installation(http={"port": port})))
    assert (found.check, found.state) == ("port.http", State.FAIL)
    assert f"127.0.0.1:{port}" in found.seen
    assert f"sport = :{port}" in str(found.mend)


def test_the_ports_of_this_configs_own_service_are_no_trouble() -> None:
    with taken() as port, taken() as nats:
        running = Addresses(os.getpid(), f"nats://127.0.0.1:{nats}", f"http://127.0.0.1:{port}", "vigil.local")
        told = installation(running, http={"port": port}, nats={"port": nats})
        assert only(network.http_port(told)).state is State.OK
        assert only(network.nats_port(told)).state is State.OK


def test_an_address_that_is_not_this_machines_is_told() -> None:
    found = only(network.http_port(installation(http={"host": "198.51.100.7"})))
    assert found.state is State.FAIL
    assert "0.0.0.0" in str(found.mend)


def test_a_fixed_nats_port_that_is_taken_is_told() -> None:
    with taken() as port:
        assert only(network.nats_port(installation(nats={"port": port}))).state is State.FAIL


@pytest.mark.parametrize(
    ("http", "in_container", "state"),
    [
        ({"host": "0.0.0.0"}, False, State.FAIL),
        ({"host": "0.0.0.0", "token": "secret"}, False, State.OK),
        ({"host": "::1"}, False, State.OK),
        ({}, True, State.WARN),
        ({"enabled": False}, True, State.NOT_APPLICABLE),
    ],
)
def test_who_can_reach_http_is_told(http: dict[str, Any], in_container: bool, state: State) -> None:
    assert only(network.exposure(installation(in_container=in_container, http=http))).state is state


def test_too_few_udp_ports_for_the_publishers_are_told() -> None:
    streams = {"stage": {"url": "whip://"}}
    with taken(socket.SOCK_DGRAM, "") as port:
        of_one = installation(streams=streams, webrtc={"udp_ports": f"{port}-{port}"})
        found = only(network.udp_ports(of_one))
        assert found.state is State.FAIL
        assert found.seen.startswith("0 of 1 ports are free: 1 streams have publishers")
        assert only(asyncio.run(webrtc.connection(of_one))).state is not State.OK
        with ExitStack() as held:
            with suppress(OSError):  # no IPv6 here
                six = held.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
                six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                six.bind(("::", port))
            connection = only(asyncio.run(webrtc.connection(of_one)))
    assert connection.state is State.FAIL
    assert "webrtc.no_port" in connection.seen


@pytest.mark.parametrize(
    ("free", "publishers", "viewers", "state"),
    [
        (0, 0, 10, State.FAIL), (1, 1, 10, State.FAIL), (2, 1, 10, State.WARN), (10, 1, 10, State.WARN),
        (11, 1, 10, State.OK), (1, 1, 0, State.OK), (0, 1, 0, State.FAIL),
    ],
)  # fmt: skip
def test_viewers_want_ports_beside_publishers(free: int, publishers: int, viewers: int, state: State) -> None:
    assert network.judge_udp(free, 100, publishers, viewers, False).state is state


def test_a_certificate_must_go_with_its_key_and_last(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue("vigil.example.org")
    fits = only(network.certificate(installation(http={"tls": {"cert": cert, "key": key}})))
    assert (fits.state, "runs out in 0 days" in fits.seen) == (State.WARN, True)
    _, another = authority.issue("nats.example.org")
    strange = only(network.certificate(installation(http={"tls": {"cert": cert, "key": another}})))
    assert strange.state is State.FAIL
    missing = only(network.certificate(installation(http={"tls": {"cert": tmp_path / "no.pem", "key": key}})))
    assert missing.state is State.FAIL
    assert network.judge_certificate("c", timedelta(0)).state is State.FAIL
    assert network.judge_certificate("c", timedelta(days=14)).state is State.OK
    assert network.judge_certificate("c", timedelta(days=13)).state is State.WARN


# -- WebRTC


def test_a_connection_is_made_through_the_configured_ports() -> None:
    found = only(asyncio.run(webrtc.connection(installation(webrtc={"udp_ports": "47310-47319"}))))
    assert found.state is State.OK, found
    assert ":4731" in found.seen


class Stun(asyncio.DatagramProtocol):
    """Answers where a request came from (RFC 8489)."""

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        asked = stun.parse_message(data)
        answer = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, asked.transaction_id)
        answer.attributes["XOR-MAPPED-ADDRESS"] = address[:2]
        self.transport.sendto(bytes(answer), address)


def test_stun_servers_are_asked_and_the_one_that_is_silent_is_named() -> None:
    async def both() -> list[Finding]:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(Stun, local_addr=("0.0.0.0", 0))
        port = transport.get_extra_info("sockname")[1]
        with taken(socket.SOCK_DGRAM) as silent:
            servers = [{"url": f"stun:127.0.0.1:{silent}"}, {"url": f"stun:{own_address()}:{port}"}]
            found = await webrtc.servers(installation(webrtc={"ice_servers": servers}))
        transport.close()
        return found

    silent, answering = asyncio.run(both())
    assert silent.state is State.WARN
    assert "stun:127.0.0.1" in silent.seen
    assert answering.state is State.OK, answering
    assert "srflx" in answering.seen


def own_address() -> str:
    """The address others know this machine by, if any; no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


@pytest.mark.parametrize(
    ("advertised", "in_container", "state"),
    [
        ([], False, State.OK),
        ([], True, State.WARN),
        (["127.0.0.1"], True, State.FAIL),
        (["0.0.0.0"], False, State.FAIL),
        (["10.0.0.5"], False, State.OK),
        (["10.0.0.6"], False, State.WARN),
        (["10.0.0.6"], True, State.OK),
        (["8.8.8.8"], False, State.OK),
    ],
)
def test_advertised_addresses_must_lead_here(advertised: list[str], in_container: bool, state: State) -> None:
    found = webrtc.judge_addresses([ip_address(one) for one in advertised], ["127.0.0.1", "10.0.0.5"], in_container)
    assert only(found).state is state


def test_containers_are_known_by_their_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert not is_container(tmp_path)
    (tmp_path / ".dockerenv").touch()
    assert is_container(tmp_path)


# -- NATS


def test_the_embedded_server_is_run_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = only(asyncio.run(nats_check.nats(installation())))
    assert found.state is State.OK, found
    assert list(tmp_path.iterdir()) == []


def test_a_nats_server_that_is_not_there_is_told_by_name_and_without_its_password() -> None:
    with taken() as port:
        pass
    told = installation(nats={"url": f"nats://127.0.0.1:{port}", "user": "vigil", "password": "hunter2"})
    found = only(asyncio.run(nats_check.nats(told)))
    assert found.state is State.FAIL
    assert "[nats.unreachable]" in found.seen
    assert "hunter2" not in str(found)


# -- disk


def test_a_state_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    below = only(disk.folders(installation(state_dir=tmp_path / "file" / "state")))
    assert below.state is State.FAIL
    assert "is a file" in below.seen
    nowhere = only(disk.folders(installation(state_dir="/proc/vigil")))
    assert nowhere.state is State.FAIL
    assert "cannot write to /proc" in nowhere.seen


def test_a_disk_that_takes_no_more_is_told(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        found = only(disk.folders(installation(state_dir=tmp_path)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert found.state is State.FAIL
    assert "make room" in str(found.mend)


def test_a_folder_that_is_there_is_written_to_and_left_as_it_was(tmp_path: Path) -> None:
    assert only(disk.folders(installation(state_dir=tmp_path))).state is State.OK
    assert list(tmp_path.iterdir()) == []


def test_media_on_a_disk_of_its_own_is_looked_at_too(tmp_path: Path) -> None:
    told = installation(state_dir=tmp_path / "state", media={"folder": tmp_path / "media"})
    assert [one.check for one in disk.folders(told)] == ["disk.state_dir", "disk.media.folder"]
    assert len(disk.space(told)) == 1  # one disk


def test_more_allowed_than_the_disk_has_is_told(tmp_path: Path) -> None:
    found = only(disk.space(installation(state_dir=tmp_path, outbox={"max_bytes": 1 << 60})))
    assert found.state is State.WARN
    assert "outbox.max_bytes" in str(found.mend)


def test_what_is_there_already_is_not_wanted_again() -> None:
    config = installation(media={"least_free": 0}).config
    judge = disk.judge_room
    assert judge(Path("/"), disk.LEAST_FREE - 1, 10**6, 0, 0, config).state is State.FAIL
    assert judge(Path("/"), 1 << 30, disk.LEAST_FILES - 1, 0, 0, config).state is State.FAIL
    assert judge(Path("/"), 1 << 30, 10**6, 3 << 30, 2 << 30, config).state is State.OK
    assert judge(Path("/"), 1 << 30, 10**6, (3 << 30) + 1, 2 << 30, config).state is State.WARN


# -- the machine


def test_too_few_open_files_are_told() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (287, hard))
    try:
        found = only(machine.open_files(installation()))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found.state is State.FAIL
    assert "LimitNOFILE=288" in str(found.mend)


def test_a_control_groups_limit_counts_before_the_machines_memory(tmp_path: Path) -> None:
    files = {"proc/meminfo": "MemTotal: 9 kB\nMemAvailable:    4194304 kB\n",
             "sys/fs/cgroup/memory.max": "1073741824\n", "sys/fs/cgroup/memory.current": "73741824\n"}  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert machine.available_memory(tmp_path) == 1_000_000_000
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("max\n")
    assert machine.available_memory(tmp_path) == 4 << 30


def test_less_memory_than_the_streams_take_is_told() -> None:
    assert machine.judge_memory(999, 1000, False).state is State.WARN
    assert machine.judge_memory(1000, 1000, False).state is State.OK
    assert machine.judge_memory(0, 1000, True).state is State.OK


def test_shm_matters_to_triton_only() -> None:
    assert only(machine.shared_memory(installation())).state is State.NOT_APPLICABLE
    assert machine.judge_shared_memory(64 << 20).state is State.WARN
    triton = {"model": "triton://localhost/yolo", "runtime": "triton", "triton": {"shared_memory": True}}
    assert only(machine.shared_memory(installation(detector=triton))).state in (State.OK, State.WARN)


def test_the_kernel_is_asked_about_its_clock() -> None:
    assert only(machine.clock(installation())).state in (State.OK, State.WARN)
    assert machine.judge_clock(False, 0.0).state is State.WARN


# -- devices and models


@pytest.mark.parametrize(
    ("found", "present", "wanted", "state"),
    [
        ({"cuda:0": "A GPU"}, True, True, State.OK),
        ({}, False, True, State.FAIL),
        ({}, True, False, State.WARN),
        ({}, False, False, State.NOT_APPLICABLE),
    ],
)
def test_a_gpu_is_missed_by_who_wants_one(found: dict[str, str], present: bool, wanted: bool, state: State) -> None:
    assert compute.judge_gpu(found, "no driver", present, wanted).state is state


def test_a_cpu_without_fast_instructions_is_told() -> None:
    assert compute.judge_cpu(frozenset({"sse2"})).state is State.WARN
    assert compute.judge_cpu(frozenset({"avx2"})).state is State.OK


def test_what_would_be_faster_on_this_cpu_is_told() -> None:
    without = {"avx2", "avx512f", "avx512_vnni", "avx512_bf16"}
    assert "int8" in compute.judge_cpu(frozenset(without)).seen
    assert "int8" not in compute.judge_cpu(frozenset(without | {"amx_bf16"})).seen


def test_a_file_that_is_no_model_is_told(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    found = only(asyncio.run(compute.models(installation(detector={"model": str(tmp_path / "broken.onnx")}))))
    assert (found.check, found.state) == ("model", State.FAIL)
    assert "broken.onnx" in found.seen


def test_a_runtime_that_crashes_is_told_and_harms_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["import os, signal", "class Runtime:", "  def __init__(self, *_): os.kill(os.getpid(), signal.SIGSEGV)"]
    (tmp_path / "crashing.py").write_text("\n".join(lines))
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{tmp_path}")
    detector = {"model": "starter", "runtime": "crashing:Runtime"}
    found = only(asyncio.run(compute.models(installation(detector=detector))))
    assert found.state is State.FAIL
    assert "SIGSEGV" in found.seen


def test_a_model_that_takes_long_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "MODEL_S", 0.05)
    found = only(asyncio.run(compute.models(installation(detector={"model": "starter"}))))
    assert found.state is State.WARN
    assert "no answer within" in found.seen


def test_beside_its_own_service_no_model_is_loaded_again() -> None:
    running = Addresses(os.getpid(), "nats://127.0.0.1:4222", None, "vigil.local")
    assert only(asyncio.run(compute.models(installation(running)))).state is State.NOT_APPLICABLE


def test_a_model_that_would_be_downloaded_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = only(asyncio.run(compute.models(installation(detector={"model": "yolo11x.pt"}))))
    assert found.state is State.WARN
    assert "would download it" in found.seen


# -- all together


async def _breaks(_: Installation) -> list[Finding]:
    raise RuntimeError("rtsp://u:hunter2@10.0.0.12/1")


async def _hangs(_: Installation) -> list[Finding]:
    await asyncio.Event().wait()
    return []


def _sees(_: Installation) -> list[Finding]:
    return [ok("fine", "here")]


def _warns(_: Installation) -> list[Finding]:
    return [warn("so", "so", "look")]


def test_a_check_that_breaks_or_hangs_harms_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examine, "CHECKS", (_breaks, _hangs, _sees))
    monkeypatch.setattr(examine, "CHECK_S", 0.2)
    broken, hung, seen = asyncio.run(examine.examine(installation()))
    assert (broken.state, hung.state, seen.state) == (State.FAIL, State.FAIL, State.OK)
    assert "hunter2" not in broken.seen
    assert hung.check == "_hangs"


def test_exit_codes_and_json_for_scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "vigil.yaml"
    config.write_text("streams: {gate: {url: 'rtsp://u:hunter2@10.0.0.12/1'}}")
    command = ["doctor", "-c", str(config), "--json"]
    monkeypatch.setattr(examine, "CHECKS", (_sees, _warns))
    fine = CliRunner().invoke(app, command)
    assert fine.exit_code == 0
    assert json.loads(fine.stdout) == {"ok": True, "checks": [
        {"check": "fine", "state": "ok", "seen": "here", "mend": None},
        {"check": "so", "state": "warn", "seen": "so", "mend": "look"},
    ]}  # fmt: skip
    monkeypatch.setattr(examine, "CHECKS", (lambda _: [fail("bad", "seen", "mend it")],))
    bad = CliRunner().invoke(app, command[:-1])
    assert bad.exit_code == 1
    assert "→ mend it" in bad.stdout
    assert "hunter2" not in bad.output


def test_with_probe_a_camera_that_sends_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes.mp4").write_text("no video\n" * 100)
    monkeypatch.setattr(examine, "CHECKS", ())
    found = only(
        asyncio.run(examine.examine(installation(streams={"gate": {"url": str(tmp_path / "notes.mp4")}}), True))
    )
    assert (found.check, found.state) == ("camera.gate", State.FAIL)
