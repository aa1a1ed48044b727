"""What all tests share: where the test data is, and the rule that in CI no end-to-end test may be skipped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in the service: its threads wait for each other, spinning
os.environ.setdefault("OMP_NUM_THREADS", "1")  # PyTorch's: several test processes share the cores

import hypothesis
import pytest
import structlog

# Kernels are compiled on their first call, and machines are noisy.
hypothesis.settings.register_profile("vigil", deadline=None)
hypothesis.settings.load_profile("vigil")

DATA = Path(os.environ.get("VIGIL_TEST_DATA", Path(__file__).resolve().parents[1] / ".." / "shared" / "data"))


@pytest.fixture(autouse=True)
def log_of_its_own() -> Iterator[None]:
    """How one test has its log written is no matter of the next one's."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def data() -> Path:
    """Real weights and videos; they never enter the project."""
    if not (DATA / "README.md").is_file():
        pytest.skip(f"test data is absent: no folder {DATA} (set VIGIL_TEST_DATA)")
    return DATA.resolve()


def pytest_sessionstart(session: pytest.Session) -> None:
    """On a GPU, FFmpeg starts CUDA before PyTorch does in some test, as in a worker."""
    from inference.devices import nvidia_gpu
    from ingest.sources.nvdec import hold_gpu

    if nvidia_gpu():
        hold_gpu(0)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = [report.nodeid for report in reporter.stats.get("skipped", []) if "tests/e2e" in report.nodeid]
    if skipped and os.environ.get("VIGIL_REQUIRE_E2E") and exitstatus == 0:
        reporter.write_line(f"end-to-end tests must run here, but {len(skipped)} were skipped", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
