"""A fit of measurements of one's own, from the command: what it says of names, of a misused step, of a history."""

import json
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result

from jvbtune.cli import cli
from jvbtune.cli.fit import command
from jvbtune.errors import FormatError, JvbtuneError, UsageError
from jvbtune.fit import Limits, recommend
from jvbtune.fit.history import read_history
from jvbtune.fit.reasons import Code
from jvbtune.fit.simulator import Design, SimulatedHost, simulate
from jvbtune.store import list_runs
from jvbtune.trials.columns import CSV, TRUTH

NAMES = {"in_pps": "packet_rate_download", "out_pps": "packet_rate_upload", "endpoints": "local_endpoints"}
COLUMNS = ["host", "block", "step", "in_pps", "out_pps", "cpu_cores", "cores", "loss_ratio", "duration_s", "endpoints"]


@pytest.fixture(scope="module")
def trials() -> pl.DataFrame:
    rates = tuple(60_000.0 * share for share in (0.2, 0.4, 0.6, 0.8, 1.0))
    return simulate(SimulatedHost(), Design(rates, 4), seed=1, name="h").select(COLUMNS)


def fit(tmp_path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(command, [*arguments, "--json", "--runs-dir", str(tmp_path / "runs")])


def rate(answer: Result) -> float:
    figures = json.loads(answer.stdout)["results"][0]["recommendation"]
    return float(figures["max_packet_rate_pps"])


def test_the_same_measurements_under_other_names_give_the_same_figure(tmp_path: Path, trials: pl.DataFrame) -> None:
    """Own names; JVB's; by --column; a European spreadsheet's. A file needs no --from csv."""
    trials.write_csv(tmp_path / "own.csv")
    expected = rate(fit(tmp_path, str(tmp_path / "own.csv")))
    trials.rename(NAMES).write_csv(tmp_path / "jvb.csv")
    answer = fit(tmp_path, str(tmp_path / "jvb.csv"))
    assert rate(answer) == expected
    assert "packet_rate_download is in_pps, packet_rate_upload is out_pps" in answer.stderr
    trials.rename({"in_pps": "rx", "cpu_cores": "cpu"}).write_csv(tmp_path / "other.csv")
    options = ["--column", "in_pps=rx", "--column", "cpu_cores=cpu"]
    assert rate(fit(tmp_path, str(tmp_path / "other.csv"), *options)) == expected
    numbers = trials.with_columns(pl.col(pl.Float64).cast(pl.String).str.replace(".", ",", literal=True))
    numbers.write_csv(tmp_path / "europe.csv", separator=";")
    assert rate(fit(tmp_path, str(tmp_path / "europe.csv"))) == expected


def test_the_cores_of_the_file_are_those_that_the_figure_holds_for(tmp_path: Path, trials: pl.DataFrame) -> None:
    """apply compares them with the host's, pools and comparisons with another run's."""
    scaled = trials.with_columns(pl.col("cores", "cpu_cores", "in_pps", "out_pps") * 64)
    pl.concat([scaled, trials.with_columns(host=pl.lit("small"))]).write_csv(tmp_path / "own.csv")
    results = json.loads(fit(tmp_path, str(tmp_path / "own.csv")).stdout)["results"]
    assert {one["host"]: one["provenance"]["cores"] for one in results} == {"h": 64.0, "small": 1.0}
    trials.drop("cores").write_csv(tmp_path / "own.csv")
    [unknown] = json.loads(fit(tmp_path, str(tmp_path / "own.csv")).stdout)["results"]
    assert unknown["provenance"]["cores"] is None


def test_two_machines_under_one_name_are_refused(tmp_path: Path, trials: pl.DataFrame) -> None:
    other = trials.with_columns(pl.col("cores", "cpu_cores") * 64)
    pl.concat([trials, other]).write_csv(tmp_path / "own.csv")
    answer = fit(tmp_path, str(tmp_path / "own.csv"))
    assert isinstance(answer.exception, FormatError)
    line = trials.height + 2
    assert f"own.csv:{line}: column cores: 64 cores, but line 2 has 1 for the same host, 'h'" in str(answer.exception)
    assert list_runs(tmp_path / "runs") == []


#: A line break, the title and colour of a terminal, C1's CSI, a bell, right-to-left override and isolate, a zero-width
#: space, a line separator, a tab, and an end of an HTML attribute.
HOSTILE = 'a\n\x1b]0;owned\x07\x1b[31m\x9b2J\u202eexe\u2066\u200b\u2028\r\tb"><script>'
TEXTS = sorted(name for name, column in CSV.items() if not column.numeric and column.type != TRUTH)


class _Texts(HTMLParser):
    """Every text and attribute of a page, but for scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.found += [value for _, value in attrs if value]

    def handle_data(self, data: str) -> None:
        self.found.append(data)


@pytest.mark.parametrize("column", [*TEXTS, "block"])
def test_no_text_of_the_file_is_obeyed_by_a_terminal_or_a_browser(
    column: str, tmp_path: Path, trials: pl.DataFrame
) -> None:
    others = {"run_id": "r", "kind": "steady", "settings": "{}", "trial": None, column: HOSTILE}
    rows = trials.with_columns(**{name: pl.lit(value) for name, value in others.items()})
    rows.write_csv(tmp_path / "own.csv")
    runs = ["--runs-dir", str(tmp_path / "runs")]
    for argv in (["fit", str(tmp_path / "own.csv")], ["show"], ["explain"], ["runs"], ["report"]):
        done = CliRunner().invoke(cli, [*argv, *runs])
        assert done.exception is None or isinstance(done.exception, SystemExit | JvbtuneError), done.exc_info
        for text in (done.stdout, done.stderr, str(done.exception or "")):
            assert all(c in "\n\t" or unicodedata.category(c)[0] != "C" for c in text), (argv, text)
            assert "\ufffd" not in text
            assert not text.startswith('b">'), text
            assert "\n\x1b" not in text
            assert "\nb" not in text
    (run,) = list_runs(tmp_path / "runs")
    assert all(c not in run.host for c in "\n\x1b\u202e")
    if (run.path / "report.html").exists():
        page = _Texts((run.path / "report.html").read_text())
        for text in page.found:
            assert all(c == "\n" or unicodedata.category(c)[0] != "C" for c in text), repr(text[:200])
            assert "a\n" not in text


def test_a_file_without_packet_rates_is_refused_and_leaves_no_run(tmp_path: Path, trials: pl.DataFrame) -> None:
    trials.rename({"in_pps": "rx"}).write_csv(tmp_path / "own.csv")
    answer = fit(tmp_path, str(tmp_path / "own.csv"))
    assert isinstance(answer.exception, FormatError)
    assert "own.csv:1: there is no column in_pps" in str(answer.exception)
    assert "The file also has rx" in str(answer.exception)
    assert list_runs(tmp_path / "runs") == []


def test_a_step_that_names_the_load_is_called_that(trials: pl.DataFrame) -> None:
    level = (pl.col("in_pps") / 100).round(0).cast(pl.String)
    (found,) = recommend(trials.with_columns(step=level), Limits())
    assert [reason.code for reason in found.reasons] == [Code.STEP_MISUSED]
    assert "Leave the column step out" in str(found.reasons[0])
    named = trials.with_columns(step=pl.concat_str(pl.lit("run-"), pl.int_range(trials.height)))
    (found,) = recommend(named, Limits())
    assert [reason.code for reason in found.reasons] == [Code.STEP_MISUSED]


def test_steps_at_one_and_the_same_rate_are_no_misuse(trials: pl.DataFrame) -> None:
    one = trials.filter(pl.col("in_pps") < trials["in_pps"].quantile(0.1))
    both = pl.concat([one, one.with_columns(step=pl.lit("other"))])
    (found,) = recommend(both, Limits())
    assert Code.STEP_MISUSED not in [reason.code for reason in found.reasons]


def test_a_history_under_other_names_is_kept_under_jvbtunes(tmp_path: Path, trials: pl.DataFrame) -> None:
    trials.write_csv(tmp_path / "own.csv")
    (tmp_path / "prod.csv").write_text("rx;packet_rate_upload;participants\n1.500,5;6000,1;50\n")
    argv = [str(tmp_path / "own.csv"), "--history", str(tmp_path / "prod.csv"), "--column", "in_pps=rx"]
    answer = fit(tmp_path, *argv)
    assert answer.exception is None or isinstance(answer.exception, SystemExit), answer.output
    (run,) = list_runs(tmp_path / "runs")
    kept = read_history(run.path / "history.csv")
    assert kept.row(0, named=True) == {
        "host": None,
        "in_pps": 1500.5,
        "out_pps": 6000.1,
        "relay_pps": None,
        "endpoints": 50.0,
        "bridge_pps": 7500.6,
    }
    refused = fit(tmp_path, *argv[:-1], "in_pps=nowhere")
    assert "has a column 'nowhere'" in str(refused.exception)


def stored(tmp_path: Path) -> pl.DataFrame:
    """The trials of the only run that was made."""
    (run,) = list_runs(tmp_path / "runs")
    return run.trials()


def test_trials_of_one_name_are_all_kept(tmp_path: Path, trials: pl.DataFrame) -> None:
    """By block, as a table of one's own may have it; or of two runs, whose blocks have the same numbers."""
    trials.write_csv(tmp_path / "own.csv")
    expected = rate(fit(tmp_path, str(tmp_path / "own.csv")))
    named = trials.with_columns(trial=pl.concat_str(pl.lit("at-"), (pl.col("in_pps") / 100).round()))
    named.write_csv(tmp_path / "named.csv")
    assert rate(fit(tmp_path / "named", str(tmp_path / "named.csv"))) == expected
    assert stored(tmp_path / "named").height == trials.height
    first = pl.col("block").cast(pl.Int64) < 2
    runs = named.with_columns(
        run_id=pl.when(first).then(pl.lit("a")).otherwise(pl.lit("b")), block=pl.col("block").cast(pl.Int64) % 2
    )
    runs.write_csv(tmp_path / "runs.csv")
    assert rate(fit(tmp_path / "two", str(tmp_path / "runs.csv"))) == expected
    assert stored(tmp_path / "two")["block"].n_unique() == 4


def test_a_name_that_is_a_trials_own_is_kept(tmp_path: Path, trials: pl.DataFrame) -> None:
    named = trials.with_columns(trial=pl.concat_str(pl.lit("t"), pl.int_range(trials.height)))
    named.write_csv(tmp_path / "own.csv")
    fit(tmp_path, str(tmp_path / "own.csv"))
    assert stored(tmp_path)["trial"].to_list() == named["trial"].to_list()


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        ("generator_limited", True, "generator_limited"),
        ("steal_ratio", 0.3, "steal"),
        ("throttled_ratio", 0.5, "throttled"),
        ("compiler_cores", 0.4, "compiling"),
    ],
)
def test_what_makes_a_trial_invalid_does_so_in_a_file_too(
    tmp_path: Path, trials: pl.DataFrame, column: str, value: object, code: str
) -> None:
    """Of the last block, which would have the packet rate at half."""
    spoilt = pl.col("block") == trials["block"].max()
    own = trials.with_columns(
        cpu_cores=pl.when(spoilt).then(pl.col("cpu_cores").clip(0.5) * 1.6).otherwise(pl.col("cpu_cores")).clip(0, 1)
    )
    own.filter(~spoilt).write_csv(tmp_path / "without.csv")
    own.with_columns(pl.when(spoilt).then(pl.lit(value)).alias(column)).write_csv(tmp_path / "own.csv")
    answer = fit(tmp_path, str(tmp_path / "own.csv"))
    found = stored(tmp_path)
    assert found.filter(~pl.col("valid"))["invalid_codes"].to_list() == [[code]] * own.filter(spoilt).height
    assert rate(answer) == rate(fit(tmp_path / "other", str(tmp_path / "without.csv")))


def test_an_offered_load_of_unknown_counts_makes_no_trial_invalid(tmp_path: Path, trials: pl.DataFrame) -> None:
    """It may be in alone, or of senders; only what a generator of jvbtune's says is held against the bridge."""
    own = trials.with_columns(offered_pps=pl.col("in_pps"), valid=pl.col("block") != trials["block"].max())
    own.write_csv(tmp_path / "own.csv")
    fit(tmp_path, str(tmp_path / "own.csv"))
    assert stored(tmp_path)["valid"].to_list() == own["valid"].to_list()


def test_cores_need_to_be_said_once(tmp_path: Path, trials: pl.DataFrame) -> None:
    trials.write_csv(tmp_path / "own.csv")
    expected = rate(fit(tmp_path, str(tmp_path / "own.csv")))
    once = trials.with_columns(cores=pl.when(pl.int_range(trials.height) == 0).then(pl.col("cores")))
    once.write_csv(tmp_path / "once.csv")
    assert rate(fit(tmp_path / "once", str(tmp_path / "once.csv"))) == expected
    busy = trials.with_columns(busy_ratio=pl.col("cpu_cores") / pl.col("cores")).drop("cores", "cpu_cores")
    busy.write_csv(tmp_path / "busy.csv")
    assert rate(fit(tmp_path / "busy", str(tmp_path / "busy.csv"))) == expected


def test_a_limit_that_most_trials_say_nothing_of_is_told(tmp_path: Path, trials: pl.DataFrame) -> None:
    """CPU of two rates only, beside a loss that is known everywhere."""
    least = trials["in_pps"].quantile(0.3)
    few = trials.with_columns(
        cpu_cores=pl.when(pl.col("in_pps") < least).then(pl.col("cpu_cores")),
        loss_ratio=pl.when(pl.col("in_pps") < trials["in_pps"].quantile(0.7)).then(0.0).otherwise(0.01),
    )
    (found,) = recommend(few, Limits())
    assert [bound.name for bound in found.bounds] == ["loss", "delay"] or "cpu" not in [b.name for b in found.bounds]
    told = [remark.text for remark in found.remarks if remark.code is Code.LIMIT_NOTE]
    assert any(text.startswith("cpu: ") and "so this limit is not applied" in text for text in told), told


def test_a_history_of_another_host_is_refused(tmp_path: Path, trials: pl.DataFrame) -> None:
    """Before anything is stored; it would have been ignored. A file without hosts has one."""
    prod = tmp_path / "prod.csv"
    prod.write_text("host,in_pps,out_pps,endpoints\njvb-1,1500,6000,50\n")
    trials.write_csv(tmp_path / "own.csv")
    refused = fit(tmp_path, str(tmp_path / "own.csv"), "--history", str(prod))
    assert isinstance(refused.exception, UsageError)
    assert "no row is of h; the file has rows of jvb-1" in str(refused.exception)
    assert not list_runs(tmp_path / "runs")
    trials.drop("host").write_csv(tmp_path / "nobody.csv")
    fit(tmp_path, str(tmp_path / "nobody.csv"), "--history", str(prod))
    (run,) = list_runs(tmp_path / "runs")
    assert read_history(run.path / "history.csv")["host"].to_list() == [None]
    again = fit(tmp_path, run.id, "--history", str(prod))
    assert isinstance(again.exception, UsageError)
    assert "history.csv written" not in again.output
    two = pl.concat([trials, trials.with_columns(host=pl.lit("jvb-1"))])
    two.write_csv(tmp_path / "two.csv")
    answer = fit(tmp_path / "two", str(tmp_path / "two.csv"), "--history", str(prod))
    assert "h: " + str(prod) + " has no row of this host" in answer.stderr
    assert [run.host for run in list_runs(tmp_path / "two" / "runs") if (run.path / "history.csv").exists()] == [
        "jvb-1"
    ]


def test_column_without_a_file_is_refused(tmp_path: Path) -> None:
    answer = CliRunner().invoke(command, ["latest", "--column", "in_pps=x", "--runs-dir", str(tmp_path)])
    assert answer.exit_code == 2
    assert "--column is for a CSV file" in answer.output
    refused = CliRunner().invoke(command, ["x.csv", "--column", "in_pss=x"])
    assert isinstance(refused.exception, UsageError)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("time,participants\n1,2\n", "there is no column in_pps and no column out_pps"),
        ("in_pps,participants\n1,2\n", "there is no column out_pps"),
        ("in_pps,out_pps\n,\n", "the file has no rows"),
        (
            "in_pps,out_pps,endpoints\n,,4\n1,,4\n",
            "2 rows, none with both packet rates: the bridge did not report them",
        ),
        ("in_pps,out_pps\n0,0\n0,0\n", "no row has packets: all 2 packet rates are 0"),
        ('{"stress": 0.02}\n', "not CSV but JSON"),
    ],
)
def test_a_history_that_is_none_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "prod.csv").write_text(text)
    with pytest.raises(JvbtuneError) as refused:
        read_history(tmp_path / "prod.csv")
    assert says in str(refused.value)
