"""Where hosts come from: entries of ``jvbtune.toml``, or aliases of the user's OpenSSH configuration."""

from jvbtune.inventory.entries import BridgeEntry, Control, GeneratorEntry, HostEntry
from jvbtune.inventory.file import Inventory, load_inventory

__all__ = ["BridgeEntry", "Control", "GeneratorEntry", "HostEntry", "Inventory", "load_inventory"]
