"""What a machine is known by."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.devices import cpu_flags, nvidia_gpu, value_in

X86 = """processor\t: 0
model name\t: A CPU @ 2.10GHz
flags\t\t: fpu avx2 avx512_bf16
vmx flags\t: vnmi
"""


@pytest.mark.parametrize(
    ("file", "there"),
    [
        ("dev/nvidia0", True),
        ("dev/nvidiactl", False),  # the driver, and no GPU
        ("usr/lib/wsl/lib/libcuda.so.1", True),
        ("dev/dxg", False),  # WSL 2 with another maker's
        ("dev/nvmap", True),
    ],
)
def test_a_gpu_is_known_by_its_files(file: str, there: bool, tmp_path: Path) -> None:
    assert not nvidia_gpu(tmp_path)
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).touch()
    assert nvidia_gpu(tmp_path) is there


@pytest.mark.parametrize("told", [X86, X86.replace("vmx flags", "vmx").replace("flags\t", "Features")])
def test_a_cpu_is_known_by_what_it_can_do(told: str, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(told)
    assert cpu_flags(tmp_path / "cpuinfo") == {"fpu", "avx2", "avx512_bf16"}
    assert value_in(tmp_path / "cpuinfo", "model name") == "A CPU @ 2.10GHz"


def test_where_nothing_is_told_nothing_is_known(tmp_path: Path) -> None:
    assert (cpu_flags(tmp_path / "cpuinfo"), value_in(tmp_path / "cpuinfo", "model name")) == (frozenset(), "")
