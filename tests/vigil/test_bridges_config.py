"""Mistakes in bridges' settings are told with their place and mend, and without a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from vigil.document import ConfigError, Problem
from vigil.load import parse

SECRET = "hunter2-Zq"


def problem(bridge: str) -> Problem:
    with pytest.raises(ConfigError) as caught:
        parse(f"streams: {{}}\nbridges:\n  door: {bridge}\n", "vigil.yaml", Path())
    assert SECRET not in str(caught.value)
    (found,) = caught.value.problems
    return found


@pytest.mark.parametrize(
    ("bridge", "code", "path", "words"),
    [
        ("{kind: webhook}", "config.missing", "bridges.door.url", "add `url:`"),
        ("{url: 'https://x'}", "config.value", "bridges.door.kind", "must be one of webhook, mqtt"),
        ("{kind: pigeon}", "config.value", "bridges.door.kind", "got 'pigeon'"),
        ("{kind: webhook, url: 'https://x', tyeps: [a]}", "config.unknown_key", "bridges.door.tyeps", "'types'"),
        ("{kind: mqtt, url: 'mqtt://x', home_assistant: {enbled: no}}", "config.unknown_key",
         "bridges.door.home_assistant.enbled", "'enabled'"),
        ("{kind: webhook, url: 'https://x', types: [zone.entred]}", "config.value", "bridges.door.types",
         "no event type 'zone.entred'"),
        (f"{{kind: webhook, url: 'ftp://{SECRET}@x/'}}", "config.value", "bridges.door.url", "https://"),
        (f"{{kind: webhook, url: 'https://x', secret: {SECRET}}}", "config.value", "bridges.door.secret", "openssl"),
        ("{kind: webhook, url: 'https://x', secret: whsec_AAAA}", "config.value", "bridges.door.secret", "24 to 64"),
        (f"{{kind: webhook, url: 'https://x', headers: {{Webhook-Id: {SECRET}}}}}", "config.value",
         "bridges.door.headers", "set by the bridge itself"),
        (f"{{kind: webhook, url: 'https://x', headers: {{X: \"{SECRET}\\r\\nY: 1\"}}}}", "config.value",
         "bridges.door.headers", "line's end"),
        (f"{{kind: webhook, url: 'https://a:{SECRET}@x', headers: {{authorization: b}}}}", "config.value",
         "bridges.door", "keep one of them"),
        (f"{{kind: mqtt, url: 'mqtt://vigil:{SECRET}@x'}}", "config.value", "bridges.door.url", "`password`"),
        ("{kind: mqtt, url: 'mqtt://x/y'}", "config.value", "bridges.door.url", "nothing after it"),
        (f"{{kind: mqtt, url: 'mqtt://x', password: {SECRET}}}", "config.value", "bridges.door", "`username`"),
        ("{kind: mqtt, url: 'mqtt://x', prefix: 'a/#'}", "config.value", "bridges.door.prefix", "match"),
        ("{kind: mqtt, url: 'mqtts://x', ca: nowhere.pem}", "config.file_missing", "bridges.door.ca", "no such file"),
        ("{kind: webhook, url: 'https://x', tries: 0}", "config.value", "bridges.door.tries", "greater"),
        ("{kind: webhook, url: 'https://x', concurrency: 65}", "config.value", "bridges.door.concurrency", "less"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(bridge: str, code: str, path: str, words: str) -> None:
    found = problem(bridge)
    assert (found.code, found.path, found.line) == (code, path, 3)
    assert words in str(found)
