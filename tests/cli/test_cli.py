"""The command line as a whole: every command loads, helps, and keeps the rules of streams and exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from jvbtune import __version__
from jvbtune.cli import COMMANDS, cli
from jvbtune.cli.common import DEFAULT_MIX, PacketRate, mix_asked_for
from jvbtune.cli.flame import SUBCOMMANDS
from jvbtune.cli.flame import command as flame
from jvbtune.cli.limits import Milliseconds, Ratio
from jvbtune.sweep.experiment import load_experiment


def _run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "jvbtune", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, cwd=cwd)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_loads_and_has_help_and_documentation(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.name == name
    assert command.help
    for parameter in command.params:
        assert not isinstance(parameter, click.Option) or parameter.help, f"{name}: {parameter.opts} has no help"
    assert f"`{name}`" in (Path(__file__).parents[2] / "README.md").read_text()


def test_every_subcommand_of_flame_loads_and_has_help() -> None:
    for name in SUBCOMMANDS:
        command = flame.get_command(click.Context(flame), name)
        assert command is not None
        assert command.name == name
        assert command.help
        for parameter in command.params:
            assert not isinstance(parameter, click.Option) or parameter.help, f"{name}: {parameter.opts} has no help"


def test_the_version_is_told_without_loading_anything() -> None:
    done = _run("--version")
    assert (done.returncode, done.stdout) == (0, f"jvbtune {__version__}\n")


def test_help_goes_to_stdout_and_lists_every_command() -> None:
    done = _run("--help")
    assert done.returncode == 0
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("nonsense",), 2, "No such command"),
        (("sweep",), 2, "--host"),
        (("sweep", "--host", "127.0.0.1", "no-such-file.toml"), 2, "no-such-file.toml: cannot be read"),
        (("load", "--host", "127.0.0.1", "--packet-rate", "-1", "--duration", "1"), 2, "--packet-rate"),
        (("show", "nothing"), 1, "there is no run"),
        (("revert", "--host", "-oProxyCommand=x"), 2, "not the name of a host"),
        (("export", "latest", "--format", "cobol"), 2, "cobol"),
    ],
)
def test_bad_input_is_an_error_with_a_reason_and_no_traceback(
    arguments: tuple[str, ...], status: int, said: str, tmp_path: Path
) -> None:
    done = _run(*arguments, cwd=tmp_path)
    assert done.returncode == status
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_fault_in_an_experiment_has_file_line_and_key(tmp_path: Path) -> None:
    (tmp_path / "e.toml").write_text(
        'name = "e"\n[load]\npacket_rates_pps = [1]\n[[settings]]\nname = "net.core.rmem"\n'
    )
    done = _run("sweep", "--host", "127.0.0.1", "e.toml", "--dry-run", cwd=tmp_path)
    assert done.returncode == 2
    assert "e.toml:" in done.stderr
    assert "net.core.rmem" in done.stderr


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "experiments").glob("*.toml")), ids=lambda p: p.name
)
def test_every_experiment_of_the_repository_is_valid_and_says_what_it_is_for(path: Path) -> None:
    done = _run("sweep", "--host", "127.0.0.1", str(path), "--dry-run")
    assert done.returncode == 1, done.stderr  # no bridge is there
    assert path.read_text().startswith("# What for: ")
    assert "# How long: " in path.read_text()


@pytest.mark.parametrize("name", ["capacity-quick.toml", "experiments/capacity-quick.toml"])
def test_an_experiment_that_comes_with_jvbtune_is_found_by_name_in_any_directory(name: str, tmp_path: Path) -> None:
    done = _run("sweep", "--host", "127.0.0.1", name, "--dry-run", cwd=tmp_path)
    assert done.returncode == 1, done.stderr  # no bridge is there
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("name = 'mine'\nblocks = 99\n")
    done = _run("sweep", "--host", "127.0.0.1", name, "--dry-run", cwd=tmp_path)
    assert done.returncode == 2, "a file of that path comes first"
    assert f"{name}:2: blocks" in done.stderr


def test_a_plan_says_that_a_load_is_audio_only(tmp_path: Path) -> None:
    argv = ("sweep", "--host", "127.0.0.1", "capacity-quick.toml", "--dry-run")
    assert "The load is audio only." in _run(*argv, "--mix", "audio", cwd=tmp_path).stdout
    assert "audio only" not in _run(*argv, cwd=tmp_path).stdout


@pytest.mark.parametrize("path", sorted(Path("experiments").glob("*.toml")), ids=lambda path: path.stem)
def test_what_comes_with_jvbtune_measures_a_meeting_with_video(path: Path) -> None:
    load = load_experiment(path).load
    assert load.mix.name == DEFAULT_MIX
    assert load.mix.video is not None


def test_options_of_a_shape_mean_audio_and_none_means_a_meeting_with_video() -> None:
    @click.command()
    @click.option("--participants", default=6)
    @click.option("--senders", default=3)
    @click.option("--mix")
    @click.pass_context
    def told(context: click.Context, participants: int, senders: int, mix: str | None) -> None:
        shape = {"participants": participants, "senders": senders}
        click.echo(str(mix_asked_for(context, mix, shape).mix()))

    def said(*argv: str) -> str:
        return CliRunner().invoke(told, argv).output

    assert said() == "5 with 5 microphones and 5 cameras (meeting-5)\n"
    assert said("--mix", "audio") == "5 with 3 senders of 50 pps, 80 B (audio)\n"
    assert said("--senders", "2") == "6 with 2 senders of 50 pps, 80 B\n"
    assert "--senders cannot be given with it" in said("--senders", "2", "--mix", "audio")
    assert "--senders 9 is more than --participants 6" in said("--senders", "9")


def test_a_path_elsewhere_never_means_an_experiment_that_comes_with_jvbtune(tmp_path: Path) -> None:
    done = _run("sweep", "--host", "127.0.0.1", str(tmp_path / "capacity-quick.toml"), "--dry-run", cwd=tmp_path)
    assert done.returncode == 2
    assert "cannot be read" in done.stderr


def test_the_schema_of_experiments_is_published() -> None:
    done = _run("sweep", "--schema")
    assert done.returncode == 0
    assert '"$schema"' in done.stdout


def _options(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Option]]:
    """Every option of the command and of those below it."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from _options(below, (*words, name))
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield words, parameter


#: The options that take a number with a fraction.
NUMBERS = [
    pytest.param(words, option, id=" ".join([*words, option.opts[0]]))
    for words, option in _options(cli)
    if isinstance(option.type, click.types.FloatParamType | PacketRate | Ratio | Milliseconds)
]


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999", "9" * 400])
@pytest.mark.parametrize(("words", "option"), NUMBERS)
def test_no_option_takes_what_is_no_finite_number(words: tuple[str, ...], option: click.Option, text: str) -> None:
    """A wait of nan seconds never ends: nothing is above it, and nothing below."""
    with pytest.raises(click.BadParameter):
        option.type.convert(text, option, None)


def test_the_options_for_times_and_shares_are_found() -> None:
    found = {" ".join([*words, option.opts[0]]) for words, option in (one.values for one in NUMBERS)}  # type: ignore[misc]
    assert {"apply --drain-timeout", "apply --watch", "rollback --drain-timeout", "flame diff --level"} <= found


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs")
    done = _run("simulate", "--out", str(directory), "--blocks", "2", "--seconds", "5")
    assert done.returncode == 0, done.stderr
    return directory


@pytest.mark.parametrize(
    "words",
    ["runs", "runs --json", "show", "show --json", "explain", "fit", "mix", "show --schema", "--help", "--version"],
)
def test_a_reader_that_is_gone_ends_the_command_quietly(words: str, runs: Path) -> None:
    """``jvbtune runs | head -1``: 141 is what a shell shows for SIGPIPE."""
    argv = [sys.executable, "-m", "jvbtune", *words.split()]
    if not words.startswith(("--", "mix", "show --schema")):
        argv += ["--runs-dir", str(runs)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(60) == 141
    assert said == ""


def test_output_that_cannot_be_written_is_an_error_with_its_reason(runs: Path) -> None:
    with Path("/dev/full").open("w") as full:
        argv = [sys.executable, "-m", "jvbtune", "runs", "--runs-dir", str(runs)]
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "jvbtune: stdout cannot be written to: No space left on device"


def test_messages_that_nobody_reads_cost_nothing(runs: Path) -> None:
    argv = [sys.executable, "-m", "jvbtune", "runs", "--runs-dir", str(runs / "none")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        process.stderr.close()
        assert process.wait(60) == 0


def _closed(redirection: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """With standard streams closed by a shell."""
    argv = ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-m", "jvbtune", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, cwd=cwd)


@pytest.mark.parametrize("words", ["--version", "--help", "show --help", "hosts", "show --json", "runs", "mix"])
def test_a_stdout_that_is_closed_is_an_error_with_its_reason(words: str, runs: Path, tmp_path: Path) -> None:
    (tmp_path / "jvbtune.toml").write_text("[hosts.a]\n")
    arguments = [*words.split(), *(["--runs-dir", str(runs)] if words in ("show --json", "runs") else [])]
    done = _closed(">&-", *arguments, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[0] == "jvbtune: stdout cannot be written to: it is closed"
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("words", ["--version", "--help"])
def test_what_click_prints_is_checked_too(words: str) -> None:
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w") as full:
        argv = [sys.executable, "-m", "jvbtune", words]
        done = subprocess.run(
            argv, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False, env=buffered
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "jvbtune: stdout cannot be written to: No space left on device"


def test_messages_to_a_stderr_that_is_closed_are_lost(runs: Path) -> None:
    done = _closed("2>&-", "runs", "--runs-dir", str(runs / "none"), cwd=runs)
    assert (done.returncode, done.stderr) == (0, "")
    done = _closed("2>&-", "show", "nothing", cwd=runs)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    done = _closed("2>&-", "show", "--runs-dir", str(runs), cwd=runs)
    assert done.returncode in (0, 5)
    assert done.stdout


def test_no_file_gets_the_number_of_a_standard_stream(tmp_path: Path) -> None:
    program = """
import os, subprocess, sys
from jvbtune import cli
from jvbtune.cli.progress import Progress
def work(arguments):
    with open("out", "w") as out:
        out.write(f"{out.fileno() > 2} {[os.path.realpath(f'/proc/self/fd/{one}') for one in range(3)]}")
    subprocess.run(["true"], check=True)
    with Progress() as progress:
        progress("stopped", {"block": 1, "because": "of time"})
    return 7 if sys.stdin.read() == "" else 8
cli._run = work
cli.main([])
"""
    argv = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", program]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")
    assert (tmp_path / "out").read_text() == f"True {['/dev/null'] * 3}"


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_a_character_that_the_encoding_does_not_have_is_no_error(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "jvbtune.toml").write_text("[hosts.a]\n")
    argv = [sys.executable, "-m", "jvbtune", "hosts", "--runs-dir", "runs"]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(argv, capture_output=True, timeout=60, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert (b" ? " if encoding == "latin-1" else " – ".encode()) in done.stdout  # click writes UTF-8 for ASCII
