"""Publishing: what leaves Vigil, on NATS and over HTTP."""
