"""``jvbtune export``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from jvbtune.cli.common import (
    inventory_of,
    pass_over,
    put,
    readable_results,
    runs_dir_option,
    say,
    warn_of_same_bridges,
)
from jvbtune.store import Damaged, list_runs, open_run

FORMATS = (
    "sysctl",
    "jvb-conf",
    "docker",
    "jicofo",
    "ansible",
    "terraform",
    "cloud-init",
    "startup",
    "jvm",
    "kubernetes",
    "autoscaler",
    "telegraf",
    "prometheus",
    "grafana",
    "json",
)
DATASOURCES = ("prometheus", "influxdb")


@click.command("export")
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option(
    "--group", metavar="LABEL", help="Pool the newest run of each host whose label group, or machine_type, is this."
)
@click.option("--format", "format_name", type=click.Choice(FORMATS), required=True, help="Format, see above.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory for the files. Default: stdout.",
)
@click.option(
    "--measurement",
    metavar="NAME",
    help="telegraf, grafana: the measurement of the bridges in InfluxDB. Default: jitsi_stats.",
)
@click.option("--pin", is_flag=True, help="Also write the values that the run was measured with.")
@click.option(
    "--datasource",
    "datasources",
    type=click.Choice(DATASOURCES),
    multiple=True,
    help="grafana: who stores the data. Repeatable. Default: both.",
)
@runs_dir_option
def command(
    runs: tuple[str, ...],
    group: str | None,
    format_name: str,
    output: Path | None,
    pin: bool,
    datasources: tuple[str, ...],
    measurement: str | None,
    runs_dir: Path | None,
) -> None:
    """Write a run's result as the files that you deploy.

    \b
    sysctl      60-jvbtune.conf for /etc/sysctl.d: the receive buffer, and each setting that was found better
    jvb-conf    HOCON for jvb.conf: load measurement, thresholds, receive buffer
    docker      docker-jitsi-meet: custom-jvb.conf, the host's sysctl file, Jicofo's line of .env
    jicofo      HOCON for jicofo.conf: when a bridge is overloaded, and how many may join it in a minute
    ansible     a role for playbooks/, and variables under the names of the community's roles
    terraform   tfvars.json by machine type, and the declaration of its variable
    cloud-init  user data for instances of a template
    startup     a start-up script for an instance template of GCE or AWS
    jvm         a systemd drop-in with the heap and the collector that the run was measured with
    kubernetes  node-level sysctls, and the bridge's configuration as a ConfigMap
    autoscaler  settings of a group of jitsi-autoscaler
    telegraf    inputs for the bridge and its host, and an output to InfluxDB over HTTPS
    prometheus  scrape configuration, recording and alert rules, and unit tests for promtool
    grafana     dashboards of the cluster and of its hosts, to import into Grafana; they need no RUN
    json        the whole result, as show --json prints it

    RUN is an id, the beginning of one, a path, or latest. Several runs, of several hosts of one machine type, are
    pooled: the load threshold is that of the weakest host, and the max packet rate has one interval. telegraf and
    prometheus take hosts of several machine types, and pool each type by itself.

    Each file says where its figures come from, why each line is there, and how to undo it. Exit code 5 means that the
    run has no trustworthy recommendation.

    \b
    Examples:
      jvbtune export latest --format sysctl -o out/
      jvbtune export --group c2-standard-4 --format terraform -o out/
    """
    from jvbtune.errors import UsageError
    from jvbtune.export import FLEET_RENDERERS, REMARKS, export, export_fleet, refuse_unfit
    from jvbtune.export.pool import newest_of_group, pool
    from jvbtune.observe.columns import MEASUREMENT
    from jvbtune.result import result_of

    if format_name == "grafana":
        if runs or group is not None:
            raise UsageError("dashboards need no run: leave out RUN and --group")
        _put_files(_dashboards(datasources or DATASOURCES, measurement), output)
        return
    if datasources:
        raise UsageError("--datasource is for --format grafana")
    if measurement is not None and format_name != "telegraf":
        raise UsageError("--measurement is for --format telegraf or grafana")
    if runs and group is not None:
        raise UsageError("give runs or --group, not both")
    if group is None:
        results = [result_of(open_run(run, runs_dir)) for run in runs or ("latest",)]
    else:
        damaged: list[Damaged] = []
        chosen = newest_of_group(list_runs(runs_dir, damaged), group, damaged)
        pass_over(damaged)
        results = readable_results(chosen)
        if not results:
            raise UsageError(f"no run of the group {group!r} can be read", hint="Measure its hosts again.")
    if len(results) > 1:
        _warn_of_same_bridges({result.host for result in results})
    if format_name in FLEET_RENDERERS:
        files = export_fleet(results, format_name, measurement or MEASUREMENT)
    else:
        for result in results if len(results) > 1 else ():
            refuse_unfit(result)  # of a pool one sees the weakest host only
        pooled = pool(results)
        files = export(pooled, format_name, pin=pin)
        for remark in REMARKS[format_name](pooled) if format_name in REMARKS else ():
            say(remark)
    _put_files(files, output)


def _warn_of_same_bridges(hosts: set[str]) -> None:
    """By the inventory, if there is one that can be read: an export does not need it."""
    from jvbtune.errors import JvbtuneError

    try:
        entries = inventory_of((), to_put_back=True).hosts.values()
    except JvbtuneError as error:
        say(f"Whether two of the hosts are one machine is not known. {error.message}")
        return
    warn_of_same_bridges(entry for entry in entries if entry.name in hosts)


def _dashboards(datasources: Sequence[str], measurement: str | None) -> dict[str, str]:
    from jvbtune.export.grafana import render
    from jvbtune.export.grafana.model import Datasource
    from jvbtune.observe.columns import MEASUREMENT

    return render([Datasource(one) for one in dict.fromkeys(datasources)], measurement or MEASUREMENT)


def _put_files(files: Mapping[str, str], output: Path | None) -> None:
    """Into a directory, or to stdout."""
    from jvbtune.export import write_files

    if output is not None:
        for path in write_files(files, output):
            say(f"wrote {path}")
        return
    for name, text in files.items():
        if len(files) > 1:
            put(f"# ---- {name}")
        put(text, nl=False)
