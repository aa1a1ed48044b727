"""What all tests share: where the test data is, and the rule that in CI no end-to-end test may be skipped."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

# Kernels are compiled on their first call, and machines are noisy.
hypothesis.settings.register_profile("vigil", deadline=None)
hypothesis.settings.load_profile("vigil")

DATA = Path(os.environ.get("VIGIL_TEST_DATA", Path(__file__).resolve().parents[1] / ".." / "shared" / "data"))


@pytest.fixture(scope="session")
def data() -> Path:
    """Real weights and videos; they never enter the project."""
    if not (DATA / "README.md").is_file():
        pytest.skip(f"test data is absent: no folder {DATA} (set VIGIL_TEST_DATA)")
    return DATA.resolve()


def pytest_sessionstart(session: pytest.Session) -> None:
    """On a GPU, FFmpeg starts CUDA before PyTorch does in some test, as in a worker."""
    from ingest.sources.nvdec import hold_gpu

    if any(Path("/dev").glob("nvidia[0-9]*")):
        hold_gpu(0)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = [report.nodeid for report in reporter.stats.get("skipped", []) if "tests/e2e" in report.nodeid]
    if skipped and os.environ.get("VIGIL_REQUIRE_E2E") and exitstatus == 0:
        reporter.write_line(f"end-to-end tests must run here, but {len(skipped)} were skipped", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
