"""``make monitoring-demo``: two bridges under load, observed into Prometheus and InfluxDB; each panel's last values.

The way is the operator's: ``jvbtune observe`` feeds both servers, InfluxDB over TLS; the bridges' own /metrics are
scraped through ssh, and /colibri/stats goes to InfluxDB as telegraf writes it. Everything is of this process, in
network namespaces and a temporary directory of its own, and ends with it. Exit code 1: a panel is empty.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jvbtune.errors import JvbtuneError
from jvbtune.export.grafana import render
from jvbtune.export.grafana.model import Datasource
from jvbtune.lab import Lab
from jvbtune.observe.columns import MEASUREMENT
from tools.monitoring import feed, servers
from tools.monitoring.panels import Drawn, Range, draw
from tools.monitoring.shown import last_values, table

JVBTUNE = (sys.executable, "-B", "-m", "jvbtune")
#: name -> region, machine type, packet rate of the load, and a max packet rate to compare it with.
BRIDGES = {
    "jvb-eu-1": ("eu", "lab-small", 1500, 20_000),
    "jvb-us-1": ("us", "lab-large", 2500, 25_000),
}
EVERY_SECONDS = 2
#: First without load: a load drains its bridge, and the sums of capacities are of bridges that are not drained.
IDLE_SECONDS = 15
LOAD_SECONDS, BUSY_SECONDS = 75, 60
FIRST_SAMPLE_SECONDS = 40
#: Panels of which the demo has too few hosts of one machine type.
OF_FLEETS = ("Hosts worse than their kind",)


def main() -> int:
    if os.getuid() != 0:
        return _as_root()
    if missing := servers.missing_packages():
        _say(f"Prometheus or InfluxDB is missing: apt-get install -y {' '.join(missing)}")
        return 1
    with _interrupted_by_sigterm(), contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jvbtune-monitoring-")))
        os.environ |= {"JVBTUNE_LAB_DIR": str(directory / "labs"), "JVBTUNE_RUNS": str(directory / "runs")}
        (directory / "runs").mkdir()
        _say(f"Starting {len(BRIDGES)} bridges, each in a network namespace of its own…")
        labs = [stack.enter_context(Lab.up(name, own_namespace=True)) for name in BRIDGES]
        inventory = _inventory(directory, labs)
        influx = stack.enter_context(servers.influxdb(directory / "influxdb", tls=True))
        _say(f"InfluxDB: {influx.url}, with a certificate of {influx.ca}")
        metrics = [stack.enter_context(_forwarded(lab)) for lab in labs]
        observed = servers.free_port()
        targets = [servers.Target(f"{servers.ADDRESS}:{observed}", {}, own_labels=True)]
        targets += [servers.Target(address, _labels(lab.name)) for lab, address in zip(labs, metrics, strict=True)]
        prometheus = stack.enter_context(servers.prometheus(directory / "prometheus", targets, every_seconds=1))
        _say(f"Prometheus: {prometheus.url}")
        stack.enter_context(_running(_observe(inventory, observed, influx), directory / "observe.log"))
        stack.enter_context(_telegraf(influx, dict(zip(BRIDGES, metrics, strict=True))))
        _until_fed(prometheus, influx)
        begin = time.time()
        time.sleep(IDLE_SECONDS)
        _say(f"Loading both bridges for {BUSY_SECONDS} s…")
        for name, (_, _, rate, _) in BRIDGES.items():
            argv = [*JVBTUNE, "load", "--host", name, "--inventory", str(inventory)]
            argv += ["--packet-rate", str(rate), "--duration", str(LOAD_SECONDS)]
            stack.enter_context(_running(argv, directory / f"load-{name}.log"))
        time.sleep(BUSY_SECONDS)
        return report(prometheus, influx, Range(begin + 5, time.time(), EVERY_SECONDS))


def report(prometheus: servers.Prometheus, influx: servers.Influx, when: Range) -> int:
    """Every panel of each dashboard by both servers; 1 if one is empty."""
    empty = []
    for spec in ("jvbtune-cluster", "jvbtune-host"):
        shown: dict[str, dict[Datasource, Drawn]] = {}
        for datasource, server in ((Datasource.PROMETHEUS, prometheus), (Datasource.INFLUXDB, influx)):
            text = render([datasource])[f"{spec}-{datasource}.json"]
            for one in draw(text, server, when, least=3 * EVERY_SECONDS):
                shown.setdefault(one.title, {})[datasource] = one
                if not one.lines and one.title not in OF_FLEETS:
                    empty.append(f"{one.dashboard}: {one.title} ({datasource})")
        rows = [
            [title, *(last_values(by[one]) or _nothing(title) if one in by else "–" for one in Datasource)]
            for title, by in shown.items()
        ]
        name = next(one.dashboard for by in shown.values() for one in by.values())
        sys.stdout.write(f"\n{name}\n" + table(["panel", "Prometheus", "InfluxDB"], rows) + "\n")
    for one in empty:
        _say(f"EMPTY: {one}")
    if not empty:
        _say("Every panel has data from both servers; – means that its data is only in Prometheus, or of more hosts.")
    return 1 if empty else 0


def _nothing(title: str) -> str:
    return "–" if title in OF_FLEETS else "NOTHING"


def _labels(name: str) -> dict[str, str]:
    region, machine_type, _, _ = BRIDGES[name]
    return {"host": name, "region": region, "machine_type": machine_type}


def _inventory(directory: Path, labs: list[Lab]) -> Path:
    """One jvbtune.toml of both labs, with the labels that an operator gives."""
    texts = []
    for lab in labs:
        region, machine_type, _, _ = BRIDGES[lab.name]
        labels = f"region = {json.dumps(region)}\nmachine_type = {json.dumps(machine_type)}\n"
        texts.append(lab.inventory.read_text().replace('lab = "true"\n', labels))
    (directory / "jvbtune.toml").write_text("\n".join(texts))
    return directory / "jvbtune.toml"


def _observe(inventory: Path, port: int, influx: servers.Influx) -> list[str]:
    argv = [*JVBTUNE, "observe", "--inventory", str(inventory), "--every-seconds", str(EVERY_SECONDS)]
    for name, (_, _, _, capacity) in BRIDGES.items():
        argv += ["--host", name, "--capacity", f"{name}={capacity}"]
    argv += ["--prometheus", f"{servers.ADDRESS}:{port}"]
    return [*argv, "--influxdb", influx.url, "--influxdb-database", servers.DATABASE, "--influxdb-ca", str(influx.ca)]


@contextlib.contextmanager
def _running(argv: list[str], log: Path) -> Iterator[None]:
    """A command of ours: told to end afterwards, and waited for, so that it puts back what it has to."""
    with open(log, "wb") as output:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield
    except BaseException:
        sys.stderr.write(log.read_text(errors="replace")[-2000:])
        raise
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def _forwarded(lab: Lab) -> Iterator[str]:
    """The private HTTP port of a lab's bridge on a port of this machine, as operators reach it: by ssh."""
    port = servers.free_port()
    forward = f"{servers.ADDRESS}:{port}:127.0.0.1:{lab.http_port}"
    argv = ["ssh", "-F", str(lab.ssh_config), "-N", "-o", "ExitOnForwardFailure=yes", "-L", forward, lab.name]
    ready = functools.partial(servers.answers, port, "/about/health")
    with servers.running(argv, lab.directory / "forward.log", ready):
        yield f"{servers.ADDRESS}:{port}"


@contextlib.contextmanager
def _telegraf(influx: servers.Influx, addresses: dict[str, str]) -> Iterator[None]:
    """Writes each answer of /colibri/stats as telegraf does."""
    stop = threading.Event()

    def keep() -> None:
        while not stop.wait(EVERY_SECONDS):
            for name, address in addresses.items():
                with contextlib.suppress(OSError, ValueError, RuntimeError):
                    with urllib.request.urlopen(f"http://{address}/colibri/stats", timeout=5) as answer:
                        stats: dict[str, Any] = json.load(answer)
                    influx.write([feed.telegraf_line(stats, _labels(name), time.time(), MEASUREMENT)])

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _until_fed(prometheus: servers.Prometheus, influx: servers.Influx) -> None:
    """Both servers have a sample of both hosts."""
    deadline = time.monotonic() + FIRST_SAMPLE_SECONDS
    while True:
        scraped = prometheus.get("/api/v1/query", query="count(jvbtune_process_cpu_cores)")["result"]
        hosts = {row[1] for one in influx.query(f'SHOW TAG VALUES FROM "{MEASUREMENT}" WITH KEY = "machine_type"')
                 for row in one["values"]}  # fmt: skip
        if scraped and scraped[0]["value"][1] == str(len(BRIDGES)) and len(hosts) == len(BRIDGES):
            return
        if time.monotonic() > deadline:
            raise JvbtuneError(f"observe has written nothing within {FIRST_SAMPLE_SECONDS} s")
        time.sleep(0.5)


@contextlib.contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the demo as Ctrl-C does: everything is taken down. Not by a child that has the handler from a fork,
    as pyroute2 makes one for each namespace and ends it by SIGTERM."""
    own = os.getpid()

    def interrupt(number: int, frame: object) -> None:
        if os.getpid() != own:
            os._exit(128 + number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _as_root() -> int:
    _say("The demo makes network namespaces, so it needs root.")
    if shutil.which("sudo") is None:
        _say("There is no sudo on this machine: run make monitoring-demo as root.")
        return 1
    return subprocess.run(["sudo", "--", sys.executable, "-B", "-m", "tools.monitoring.demo"], check=False).returncode


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    begun = time.monotonic()
    try:
        code = main()
    except JvbtuneError as error:
        _say(f"jvbtune: {error}")
        code = error.exit_code
    except KeyboardInterrupt:
        code = 130
    _say(f"{time.monotonic() - begun:.0f} s")
    sys.exit(code)
