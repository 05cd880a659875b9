"""``jvbtune mix``: the traffic mixes, and one's own from a history."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jvbtune.cli.common import json_option, print_json, put, say

if TYPE_CHECKING:
    from jvbtune.load.historymix import HistoryMix
    from jvbtune.load.mix import Mix
    from jvbtune.load.mixfile import MixSection


@click.command("mix")
@click.argument("name", required=False)
@click.option(
    "--from-history",
    "history",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Build a mix from this CSV file, which jvbtune history recorded.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the mix to this TOML file."
)
@json_option
def command(name: str | None, history: Path | None, output: Path | None, as_json: bool) -> int:
    """List the traffic mixes, or build one from recorded traffic.

    A traffic mix describes one conference. Load, sweep and capacity take it with --mix, and add conferences of it.

    NAME is a mix that comes with jvbtune, or a TOML file. Without it, jvbtune lists all that come with it.

    \b
    Examples:
      jvbtune mix
      jvbtune mix meeting-5
      jvbtune history --host jvb-eu-1 --minutes 1440 -o prod.csv
      jvbtune mix --from-history prod.csv -o prod.toml
      jvbtune sweep --host jvb-eu-1 --mix prod.toml
    """
    from jvbtune.load.historymix import mix_of_history, to_toml
    from jvbtune.load.mixfile import load_mix, shipped_mixes

    if history is not None:
        if name is not None:
            raise click.UsageError("NAME and --from-history cannot both be given.")
        built = mix_of_history(history)
        if output is not None:
            _write(output, to_toml(built))
        if as_json:
            print_json({"schema_version": 1, "mix": _described(built.section), **_compared(built)})
        else:
            _print_history_mix(built)
            if output is not None:
                put(f"Written: {output}")
            else:
                put(f"\n{to_toml(built)}", nl=False)
        return 0
    if output is not None:
        raise click.UsageError("-o needs --from-history.")
    sections = [load_mix(one) for one in ([name] if name is not None else shipped_mixes())]
    if as_json:
        print_json({"schema_version": 1, "mixes": [_described(section) for section in sections]})
        return 0
    for section in sections:
        mix = section.mix()
        put(f"{section.name:14} {section.description}")
        rates = f"{mix.in_pps():,.0f} pps in, {mix.out_pps():,.0f} pps out{_relays(mix)}"
        put(f"{'':14} One conference: {rates}.{_codecs(mix)}")
        if name is not None:
            for source in section.sources:
                put(f"{'':14} {source}")
    return 0


def _print_history_mix(built: HistoryMix) -> None:
    put(f"{built.section.mix()}")
    for one in built.quantities:
        put(f"  {one.name:12} {one.carried:12,.1f} {one.unit} per endpoint recorded, {one.mix:,.1f} in this mix")
    for note in built.notes:
        say(f"  {note}")


def _relays(mix: Mix) -> str:
    if mix.relayed is None:
        return ""
    return f", {mix.relay_in_pps():,.0f} pps from the relay, {mix.relay_out_pps():,.0f} pps to it"


def _codecs(mix: Mix) -> str:
    """What differs from VP8 and plain Opus."""
    said = f" Video is {mix.video.codec_name}." if mix.video is not None and mix.video.codec != "vp8" else ""
    return said + (" Audio is RED." if mix.red else "")


def _described(section: MixSection) -> dict[str, Any]:
    mix = section.mix()
    rates = {"in_pps": mix.in_pps(), "out_pps": mix.out_pps(), "in_bps": mix.in_bps(), "out_bps": mix.out_bps()}
    rates |= {"relay_in_pps": mix.relay_in_pps(), "relay_out_pps": mix.relay_out_pps()}
    return {**section.model_dump(mode="json", exclude={"file"}), "one_conference": rates}


def _compared(built: HistoryMix) -> dict[str, Any]:
    rows = [
        {"name": one.name, "unit": one.unit, "carried_per_endpoint": one.carried, "mix_per_endpoint": one.mix}
        for one in built.quantities
    ]
    return {"quantities": rows, "notes": list(built.notes)}


def _write(path: Path, text: str) -> None:
    from jvbtune.errors import ConfigError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", file=path) from error
