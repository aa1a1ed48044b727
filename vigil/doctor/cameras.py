"""Cameras: each is opened once and must send a picture."""

from __future__ import annotations

from vigil.check import probe
from vigil.doctor.finding import Finding, Installation, fail, not_applicable, ok

_MEND = "docs/sources.md has the reasons by name and what to do"


def cameras(installation: Installation) -> list[Finding]:
    """Each takes as long as its time-outs allow, all at once."""
    answers = probe(installation.config)
    if not answers:
        return [not_applicable("camera", "the config has no streams")]
    return [
        ok(f"camera.{one.stream}", f"{one.description} ({one.seconds:g} s)")
        if one.ok
        else fail(f"camera.{one.stream}", f"{one.reason}: {one.detail}", _MEND)
        for one in answers
    ]
