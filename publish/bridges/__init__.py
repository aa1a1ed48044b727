"""Bridges carry events from JetStream to where users want them. One file each, chosen by `kind`."""

from __future__ import annotations

from importlib import import_module

from publish.bridges.config import AnyBridgeConfig
from publish.bridges.contract import Bridge, Surroundings

# Resolved when one is wanted: a library that is not installed harms only those who chose its bridge.
BRIDGES = {
    "webhook": "publish.bridges.webhook:Webhook",
    "mqtt": "publish.bridges.mqtt:Mqtt",
}


def new_bridge(config: AnyBridgeConfig, surroundings: Surroundings) -> Bridge:
    """The bridge that the config names."""
    module, name = BRIDGES[config.kind].split(":")
    bridge: Bridge = getattr(import_module(module), name)(config, surroundings)
    return bridge
