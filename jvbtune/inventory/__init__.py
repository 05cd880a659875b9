"""Where hosts come from: entries of ``jvbtune.toml``, or aliases of the user's OpenSSH configuration."""

from jvbtune.inventory.entries import BridgeEntry, Control, GeneratorEntry, HostEntry, bridge_arguments
from jvbtune.inventory.load import Inventory, load_inventory
from jvbtune.inventory.lookup import refuse_unknown
from jvbtune.inventory.select import Selection, parse_labels, refuse_same_machine, same_bridges, select

__all__ = [
    "BridgeEntry",
    "Control",
    "GeneratorEntry",
    "HostEntry",
    "Inventory",
    "Selection",
    "bridge_arguments",
    "load_inventory",
    "parse_labels",
    "refuse_same_machine",
    "refuse_unknown",
    "same_bridges",
    "select",
]
