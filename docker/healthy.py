"""Whether the service in this container is of use: exit code 0 when /health/ready, or VIGIL_HEALTH, says so."""

from __future__ import annotations

import json
import os
import ssl
import sys
import urllib.error
import urllib.request

ADDRESS = os.environ.get("VIGIL_HEALTH", "http://127.0.0.1:8600/health/ready")
TIMEOUT_S = 4

# By way of loopback a certificate has another name than this; there is nobody between.
trusting = ssl.create_default_context()
trusting.check_hostname = False
trusting.verify_mode = ssl.CERT_NONE

try:
    with urllib.request.urlopen(ADDRESS, timeout=TIMEOUT_S, context=trusting) as answer:
        print(answer.read().decode())
except urllib.error.HTTPError as error:
    told = error.read().decode(errors="replace")
    try:
        print("not ready:", ", ".join(name for name, stands in json.loads(told).items() if stands is False))
    except ValueError:
        print(f"not ready: {told[:200]}")
    sys.exit(1)
except OSError as error:
    print(f"no answer: {error}")
    sys.exit(1)
