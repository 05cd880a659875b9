"""Numbers with units, read and written; wherever bytes or packet rates are given."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from jvbtune.cli.load import command as load
from jvbtune.errors import ConfigError
from jvbtune.sweep.experiment import Experiment
from jvbtune.toml import parse_toml
from jvbtune.units import parse_bytes, parse_rate, size_text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (10485760, 10485760),
        ("10485760", 10485760),
        ("10M", 10485760),
        ("10m", 10485760),
        ("10MiB", 10485760),
        ("10 MiB", 10485760),
        ("8m", 8388608),
        ("512k", 524288),
        ("512KiB", 524288),
        ("1G", 2**30),
        ("1.5M", 1572864),
        ("10MB", 10_000_000),
        ("212992B", 212992),
    ],
)
def test_bytes(text: object, value: int) -> None:
    assert parse_bytes(text) == value


@pytest.mark.parametrize("text", ["", "M", "10X", "10 M M", "0.3k", "ten", "1e3M", True, None, float("nan"), "１０M"])
def test_what_is_no_size_is_refused_with_what_is_accepted(text: object) -> None:
    with pytest.raises(ValueError, match="10M or 10MiB"):
        parse_bytes(text)


@pytest.mark.parametrize(("text", "value"), [("50k", 5e4), ("50K", 5e4), ("50kpps", 5e4), ("1.5M", 1.5e6), (7, 7.0)])
def test_packet_rates(text: object, value: float) -> None:
    assert parse_rate(text) == value
    with pytest.raises(ValueError, match="50k or 50kpps"):
        parse_rate("50kb")


@pytest.mark.parametrize(
    ("size", "text"),
    [(222, "222 bytes"), (425984, "416 KiB"), (10485760, "10 MiB"), (8388608, "8 MiB"), (104857600, "100 MiB")],
)
def test_sizes_as_people_read_them(size: int, text: str) -> None:
    assert size_text(size) == text


EXPERIMENT = """\
name = "e"
[load]
packet_rates_pps = ["20k", 30000, "40kpps"]
max_packet_rate_pps = "0.1M"
[load.burst]
packet_rate_pps = "24k"
[[settings]]
name = "net.core.rmem_max"
values = ["208KiB", "10M", 33554432]
[settings.together_with]
"ice4j.harvest.udp.receive-buffer-size" = "32MiB"
[profile]
at = ["highest", "25k"]
steps = ["baseline", "net.core.rmem_max=10MiB"]
"""


def test_an_experiment_with_units_is_the_same_as_one_without() -> None:
    found = parse_toml(EXPERIMENT, Experiment, file="e.toml")
    assert found.load.packet_rates_pps == (20_000.0, 30_000.0, 40_000.0)
    assert found.load.max_packet_rate_pps == 100_000.0
    assert found.settings[0].values == (212992, 10485760, 33554432)
    assert found.settings[0].together_with == {"ice4j.harvest.udp.receive-buffer-size": 33554432}
    assert found.profile is not None
    assert found.profile.at == ("highest", 25_000.0)
    assert found.profile.steps == ("baseline", "net.core.rmem_max=10485760")
    assert [name for name, _ in found.combinations()][2] == "net.core.rmem_max=10485760"


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ('"10M"', '"10Q"', 9, "such as 10485760, 10M or 10MiB"),
        ('"10M"', '"33554432"', 9, "the same value twice"),
        ('"10M"', '"3G"', 9, "is not within"),
        ('"24k"', '"24q"', 6, "such as 50000, 50k or 50kpps"),
        ('"24k"', '"-1k"', 6, "greater than 0"),
        ('net.core.rmem_max"', 'net.core.rmem_mx"', 8, "did you mean net.core.rmem_max?"),
    ],
)
def test_a_fault_has_its_line_and_what_is_accepted(old: str, new: str, line: int, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_toml(EXPERIMENT.replace(old, new, 1), Experiment, file="e.toml")
    assert says in str(refused.value)
    assert f"e.toml:{line}:" in str(refused.value) or says == "the same value twice"


def test_packet_rates_of_the_command_line(tmp_path: Path) -> None:
    argv = ["--host", "no.invalid", "--duration", "1", "--packet-rate"]
    assert "such as 50000, 50k or 50kpps" in CliRunner().invoke(load, [*argv, "50q"]).output
    assert "below 1 pps" in CliRunner().invoke(load, [*argv, "-1"]).output
    assert "not a host that jvbtune knows" in str(CliRunner().invoke(load, [*argv, "50k"]).exception)
