"""All checks, in the order in which they are told. A check of your own is a function here."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence

from ingest.redact import redact
from vigil.doctor import cameras, compute, disk, machine, nats, network, webrtc
from vigil.doctor.finding import Finding, Installation, State, fail

Check = Callable[[Installation], list[Finding] | Awaitable[list[Finding]]]

CHECKS: tuple[Check, ...] = (
    nats.nats, network.nats_port,
    network.http_port, network.exposure, network.certificate,
    network.udp_ports, webrtc.connection, webrtc.addresses, webrtc.servers,
    compute.cpu, compute.devices, compute.decoders, compute.models,
    disk.folders, disk.space,
    machine.memory, machine.shared_memory, machine.open_files, machine.clock,
)  # fmt: skip
CHECK_S = 9.0


async def examine(installation: Installation, probe: bool = False) -> list[Finding]:
    """Every check at once; what one of them does harms no other. With `probe` cameras are opened, too."""
    told = await asyncio.gather(*(_run(check, installation, CHECK_S) for check in CHECKS))
    if probe:  # after the others: decoding would slow them down
        told.append(await _run(cameras.cameras, installation, None))
    return [finding for findings in told for finding in findings]


async def _run(check: Check, installation: Installation, limit_s: float | None) -> list[Finding]:
    name = getattr(check, "__name__", repr(check))
    try:
        async with asyncio.timeout(limit_s):
            if inspect.iscoroutinefunction(check):
                found: list[Finding] = await check(installation)
                return found
            return await asyncio.to_thread(check, installation)  # type: ignore[arg-type]
    except TimeoutError:
        return [fail(name, f"not done within {CHECK_S:g} s", "what it looks at hangs: a network disk, a device?")]
    except Exception as error:  # the others are told all the same
        return [fail(name, redact(f"the check itself failed: {error!r}"), "report it, with this line")]


def failed(findings: Sequence[Finding]) -> bool:
    return any(finding.state is State.FAIL for finding in findings)
