"""What each key of jvbtune.toml means: for docs/reference/jvbtune-toml.md.

One table for each model of ``jvbtune.inventory.file``; a test fails if a key is missing here, or is here and nowhere
else.
"""

from __future__ import annotations

KEYS: dict[str, dict[str, str]] = {
    "_File": {
        "defaults": "What holds for every host whose own table does not say otherwise, and for bare OpenSSH aliases.",
        "hosts": "One table for each host: `[hosts.NAME]`. `--host NAME` finds it. What it says overrides the source "
        "of a host with that name.",
        "source": "One table for each other inventory: `[[source]]`.",
        "prices": 'Price of a host for an hour, for each machine type: `"c5.xlarge" = 0.19`. '
        "`jvbtune fleet report` uses it.",
    },
    "_Host": {
        "ssh": "Alias that jvbtune gives to OpenSSH. Default: the entry's name.",
        "local": "The bridge runs on this machine: jvbtune uses no ssh.",
        "ssh_config": "OpenSSH configuration to use, relative to this file. Default: your own.",
        "labels": "Your own labels of the host, such as a region, for `--label`.",
        "groups": "Groups of the host, for `--group`. Those under `[defaults]` are added.",
        "bridge": "The bridge on the host.",
        "generator": "Where the load comes from. Default: this machine.",
    },
    "_Source": {
        "file": "File to read, relative to this one. jvbtune recognises its form by its content.",
        "command": "Program to run instead, as a list of arguments. No shell reads it.",
        "format": "What the file or the command has. Required for a command. With `ansible`, scripts and plugins of "
        "the inventory run.",
        "directory": "Directory in which the command runs, relative to this file. Default: that of this file.",
        "timeout_seconds": "How long the command may take.",
        "outputs": "Terraform outputs that have the hosts. jvbtune reads no other.",
        "only": "Labels that a host must have, each with a value or a list of values. Other hosts are not taken.",
        "take": "Further keys that become labels: variables of Ansible, labels of Kubernetes with a domain, keys of an "
        "object in a Terraform output.",
        "rename": 'New names for labels: `rename = { Environment = "environment" }`.',
        "ssh": "What OpenSSH is given, such as `ops@{name}.example.org`. In braces: name, address, public_address, "
        "private_address, user, or a label. Default: the address.",
        "ssh_address": "Which address ssh uses, if a host has both.",
        "media_address": "Which address load goes to, if a host has both. `none`: load needs `media_address` in "
        "`[hosts.NAME.bridge]`.",
        "ssh_config": "OpenSSH configuration to use, relative to this file. Default: that under `[defaults]`.",
        "labels": "Labels of every host of the source.",
        "groups": "Groups of every host of the source.",
        "bridge": "The bridge on every host of the source, without addresses for media.",
        "generator": "Where the load comes from. Default: this machine.",
    },
    "_Bridge": {
        "media_address": "IP address at which the bridge takes media. jvbtune sends load to this address only.",
        "media_port": "UDP port at which the bridge takes media. Default: found on the host.",
        "allowed_media_addresses": "Addresses that load may go to. Default: `media_address` only.",
        "http_address": "Address of the bridge's private HTTP interface, as seen from the host. Default: 127.0.0.1.",
        "http_port": "Port of that interface. Default: 8080.",
        "control": "How the bridge is restarted: exactly one of the keys below. Default: found on the host.",
        "config_file": "The bridge's configuration, as an absolute path on the host. Default: found on the host.",
        "pid_file": "File on the host that holds the bridge's process id. Default: the process is found.",
        "match": "Part of the bridge's command line, to tell it from other Java processes. Default: the process is "
        "found.",
    },
    "_Control": {
        "systemd": "Name of the systemd unit.",
        "container": "Name of the container.",
        "commands": "Commands of your own.",
    },
    "_Commands": {
        "restart": "Command that restarts the bridge, as a list of arguments. No shell reads it.",
        "status": "Command that exits with 0 if the bridge runs, as a list of arguments. Default: not asked.",
    },
    "_Generator": {
        "netns": "Network namespace to send from.",
        "cpus": "CPUs that the generator may use. Default: as many as it needs.",
        "bind_address": "Local address to send from. Default: the one that the route uses.",
        "python": "Python that runs the workers, if `hosts` of another table names this host. It needs the packages "
        "that [Several machines](../load.md#several-machines) lists. Default: `python3`.",
        "hosts": "Hosts of the inventory that make the load instead of this machine, by ssh. The keys above, in the "
        "table of each, hold there. See [Several machines](../load.md#several-machines).",
        "command": "Program that makes the load instead of jvbtune's own generator, as a list of arguments. No shell "
        "reads it. See [Another generator](../load.md#another-generator).",
        "grid": "URL of a Selenium Grid whose browsers make the load instead. See [Browsers](../load.md#browsers).",
    },
}
