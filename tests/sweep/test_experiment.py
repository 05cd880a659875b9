"""Experiment files: what they may say, and every fault with its line; the plan that is made of them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

from jvbtune.cli.sweep import command
from jvbtune.errors import ConfigError
from jvbtune.sweep.experiment import BASELINE, Experiment, json_schema, load_experiment
from jvbtune.sweep.plan import RESTART_SECONDS, estimate_seconds, make_plan, planned_time
from jvbtune.toml import parse_toml

FILES = sorted((Path(__file__).parents[2] / "experiments").glob("*.toml"))
TEXT = """\
name = "x"
blocks = 3
[load]
packet_rates_pps = [1000, 2000, 4000]
[load.burst]
packet_rate_pps = 3000
[[settings]]
name = "net.core.rmem_max"
values = [212992, 10485760]
[[settings]]
name = "net.ipv4.udp_rmem_min"
values = [8192]
"""


def _experiment(text: str = TEXT) -> Experiment:
    return parse_toml(text, Experiment, file="x.toml")


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_the_experiments_that_come_with_it_are_valid_and_say_what_they_are_for(path: Path) -> None:
    experiment = load_experiment(path)
    head = path.read_text().split("\nschema_version")[0]
    assert "# What for:" in head
    assert "# How long:" in head
    assert experiment.description
    jsonschema.Draft202012Validator(json_schema()).validate(json.loads(experiment.model_dump_json(exclude_none=True)))


def test_there_are_the_three_that_the_documentation_names() -> None:
    assert {"capacity.toml", "udp-buffers-quick.toml", "udp-buffers.toml"} <= {path.name for path in FILES}


@pytest.mark.parametrize(
    ("changed", "line", "said"),
    [
        (("blocks = 3", "blocks = 0"), 2, "blocks"),
        (("blocks = 3", "blocs = 3"), 2, "blocks"),
        (('name = "net.core.rmem_max"', 'name = "net.core.rmem"'), 8, "net.core.rmem"),
        (("[212992, 10485760]", "[212992, 1]"), 9, "not within"),
        (("[212992, 10485760]", "[212992, 212992]"), 9, "twice"),
        (("values = [8192]", "values = []"), 12, "values"),
        (('name = "net.ipv4.udp_rmem_min"', 'name = "net.core.rmem_max"'), None, "two [[settings]] tables"),
        (("packet_rates_pps = [1000, 2000, 4000]", "packet_rates_pps = [1000, 900000]"), 4, "max_packet_rate_pps"),
        (("[load.burst]", "[load.mix]\nsenders = 9\n[load.burst]"), 6, "more than participants"),
    ],
)
def test_a_fault_is_told_with_its_line(changed: tuple[str, str], line: int | None, said: str) -> None:
    assert changed[0] in TEXT
    with pytest.raises(ConfigError) as caught:
        _experiment(TEXT.replace(*changed, 1))
    assert said in str(caught.value)
    if line is not None:
        found = int(str(caught.value).split(":")[1])
        # A fault of a whole table is told with the line of the table or of one of its keys.
        assert abs(found - line) <= 2, str(caught.value)


def test_each_block_has_every_step_once_and_every_step_every_load_once() -> None:
    plan = make_plan(_experiment(), (1000, 2000, 4000), seed=1)
    blocks = [[step.name for step in plan.steps if step.block == block] for block in range(3)]
    expected = {BASELINE, "net.core.rmem_max=212992", "net.core.rmem_max=10485760", "net.ipv4.udp_rmem_min=8192"}
    assert all(len(block) == 4 and set(block) == expected for block in blocks)
    for step in plan.steps:
        assert Counter((trial.kind, trial.level) for trial in step.trials) == Counter(
            [("steady", 0), ("steady", 1), ("steady", 2), ("burst", 2)]
        )
        assert step.restart  # one setting needs it, so all steps are equally warm
    assert len({trial.id for _, trial in plan.trials()}) == 48


CONTROLLED = TEXT.replace("values = [8192]", "values = [8192]\nnegative_control = true")


@pytest.mark.parametrize(
    ("text", "found", "left_out"),
    [
        (TEXT, {"net.core.rmem_max": "212992", "net.ipv4.udp_rmem_min": "4096"}, {"net.core.rmem_max=212992"}),
        (TEXT, {"net.core.rmem_max": "4194304", "net.ipv4.udp_rmem_min": "8192"}, {"net.ipv4.udp_rmem_min=8192"}),
        (CONTROLLED, {"net.core.rmem_max": "4194304", "net.ipv4.udp_rmem_min": "8192"}, set()),
        (TEXT, {}, set()),
    ],
)
def test_what_the_host_has_already_is_not_measured_twice(text: str, found: dict[str, str], left_out: set[str]) -> None:
    """Except as a negative control: two equal steps show what the method takes for a difference."""
    experiment = _experiment(text)
    assert set(experiment.as_found(found)) == left_out
    plan = make_plan(experiment, (1000, 2000, 4000), 1, experiment.as_found(found))
    expected = {BASELINE, "net.core.rmem_max=212992", "net.core.rmem_max=10485760", "net.ipv4.udp_rmem_min=8192"}
    assert {step.name for step in plan.steps} == expected - left_out


@pytest.mark.parametrize(("stop", "blocks"), [("", 6), ("[stop]\nmin_blocks = 2\n", 3)])
def test_the_time_of_what_is_not_measured_twice_goes_into_further_blocks(stop: str, blocks: int) -> None:
    text = TEXT + f'[profile]\nsteps = ["net.core.rmem_max=212992"]\n{stop}'
    experiment = _experiment(text)
    found = {"net.core.rmem_max": "212992", "net.ipv4.udp_rmem_min": "8192"}
    as_found = experiment.as_found(found)
    assert len(as_found) == 2
    plan = make_plan(experiment, (1000, 2000), 1, as_found)
    of_each = Counter(step.name for step in plan.steps)
    assert (plan.blocks, set(of_each.values())) == (blocks, {blocks})
    assert {step.id for step, trial in plan.trials() if trial.kind == "profiled"} == {f"b{blocks - 1}-{BASELINE}"}
    assert planned_time(experiment, plan).blocks == blocks


def test_a_setting_that_needs_another_is_as_found_with_both_only() -> None:
    text = TEXT + 'together_with = { "net.core.rmem_default" = 300000 }\n'
    found = {"net.ipv4.udp_rmem_min": "8192", "net.core.rmem_default": "212992"}
    assert not _experiment(text).as_found(found)
    assert _experiment(text).as_found(found | {"net.core.rmem_default": "300000"})


def test_a_seed_makes_the_order_and_another_seed_another() -> None:
    orders = {
        seed: [trial.id for _, trial in make_plan(_experiment(), (1000, 2000, 4000), seed).trials()] for seed in (1, 2)
    }
    again = [trial.id for _, trial in make_plan(_experiment(), (4000, 1000, 2000), 1).trials()]
    assert orders[1] == again != orders[2]
    assert sorted(orders[1]) == sorted(orders[2])


def test_only_the_steps_that_are_named_are_profiled_and_in_the_last_block() -> None:
    text = TEXT + '[profile]\nsteps = ["baseline", "net.core.rmem_max=212992"]\nat = ["lowest", 3000]\n'
    profiled = [
        (step.id, trial.load.packet_rate_pps)
        for step, trial in make_plan(_experiment(text), (1500, 6000), 1).trials()
        if trial.kind == "profiled"
    ]
    assert sorted(profiled) == [
        (f"b2-{step}", rate) for step in ("baseline", "net.core.rmem_max=212992") for rate in (1500, 3000)
    ]
    with pytest.raises(ConfigError, match=r"the steps are baseline, net\.core\.rmem_max=212992"):
        _experiment(text.replace('["baseline"', '["base"'))


def test_each_step_of_a_sweep_of_live_settings_restarts_the_bridge() -> None:
    """One process would serve the whole sweep otherwise, and its scatter be taken for that between restarts."""
    text = TEXT.replace('"net.core.rmem_max"', '"net.core.netdev_budget"').replace("[212992, 10485760]", "[600]")
    experiment = _experiment(text.replace("blocks = 3", "blocks = 4"))
    plan = make_plan(experiment, (1000,), 1)
    assert plan.restarts == len(plan.steps) == 12
    assert planned_time(experiment, plan).restarts == 13  # the put-back restarts as well
    least = 12 * (RESTART_SECONDS + experiment.durations.warm_up_seconds)
    trials = 24 * (experiment.durations.trial_seconds + experiment.durations.settle_seconds)
    assert estimate_seconds(plan, experiment) > trials + least


def test_the_estimate_grows_with_what_is_done() -> None:
    experiment = _experiment()
    plan = make_plan(experiment, (1000, 2000, 4000), 1)
    trials = 48 * (experiment.durations.trial_seconds + experiment.durations.settle_seconds)
    assert estimate_seconds(plan, experiment) > trials + 12 * experiment.durations.warm_up_seconds


def test_the_schema_is_published() -> None:
    answer = CliRunner().invoke(command, ["--schema"])
    jsonschema.Draft202012Validator.check_schema(json.loads(answer.stdout))


OTHERS = TEXT.replace("[load.burst]", "[[load.other_mixes]]\nparticipants = 20\nsenders = 4\n[load.burst]")


def test_other_shapes_of_conferences_are_held_in_every_step_below_the_highest_rate() -> None:
    plan = make_plan(_experiment(OTHERS), (1000.0, 2000.0, 4000.0), 1)
    for step in plan.steps:
        others = [trial for trial in step.trials if trial.load.mix.participants == 20]
        assert [(trial.kind, trial.level) for trial in others] == [("steady", 1)]
        assert others[0].id.endswith("-1-mix1")
        assert others[0].load.packet_rate_pps == pytest.approx(2000, abs=2000)
        assert step.warm_up_load().mix.participants == 5
        assert len({trial.id for trial in step.trials}) == len(step.trials)
    without = make_plan(_experiment(), (1000.0, 2000.0, 4000.0), 1)
    assert estimate_seconds(plan, _experiment(OTHERS)) > estimate_seconds(without, _experiment())


def test_a_shape_that_is_the_main_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="the shape of mix, or one shape twice"):
        _experiment(OTHERS.replace("participants = 20\nsenders = 4", "participants = 5"))


def test_the_time_is_told_before_anything_is_done_and_a_budget_cuts_whole_blocks() -> None:
    experiment = _experiment(TEXT.replace("blocks = 3", "blocks = 6"))
    plan = make_plan(experiment, (1000, 2000, 4000), 1)
    whole = planned_time(experiment, plan)
    assert (whole.blocks, whole.restarts, whole.earliest_seconds) == (6, 25, None)
    assert whole.seconds == pytest.approx(estimate_seconds(plan, experiment))
    block = whole.seconds / 6
    budget = TEXT.replace("blocks = 3", "blocks = 6") + f"[stop]\nmin_blocks = 2\nbudget_minutes = {3.5 * block / 60}\n"
    cut = planned_time(_experiment(budget), plan)
    assert (cut.blocks, cut.restarts) == (3, 13)
    assert cut.earliest_seconds is not None
    assert cut.earliest_seconds == pytest.approx(2 * block, rel=0.02)
    assert cut.earliest_seconds < cut.seconds < whole.seconds
    tiny = planned_time(_experiment(budget.replace(f"{3.5 * block / 60}", "0.1")), plan)
    assert (tiny.blocks, tiny.earliest_seconds) == (1, None)


#: Minutes that each shipped experiment may take; what its head says.
SHIPPED = {
    "udp-buffers-quick.toml": (6, 8.5),
    "capacity.toml": (12, 20),
    "capacity-quick.toml": (10, 15),
    "udp-buffers-half-hour.toml": (24, 32),
    "udp-buffers.toml": (90, 125),
}


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_a_shipped_experiment_takes_as_long_as_it_says(path: Path) -> None:
    least, most = SHIPPED[path.name]
    answer = CliRunner().invoke(command, ["--host", "127.0.0.1", "--dry-run", "--json", str(path)])
    minutes = json.loads(answer.stdout)["estimated_seconds"] / 60
    assert least < minutes <= most
    text = CliRunner().invoke(command, ["--host", "127.0.0.1", "--dry-run", str(path)]).output
    assert "Takes about" in text


@pytest.mark.parametrize(
    ("durations", "longest", "audio", "video"),
    [
        ("", 60, 18, 40),
        ("warm_up_seconds = 0\n", 0, 0, 0),
        ("warm_up_seconds = 0\nmax_warm_up_seconds = 90\n", 0, 0, 0),
        ("warm_up_seconds = 6\nmax_warm_up_seconds = 90\n", 90, 18, 40),
        ("warm_up_seconds = 45\n", 270, 45, 45),
        ("warm_up_seconds = 2\nmax_warm_up_seconds = 8\n", 8, 8, 8),
    ],
)
def test_how_long_a_bridge_is_warmed_up(durations: str, longest: float, audio: float, video: float) -> None:
    found = _experiment(TEXT + "[durations]\n" + durations).durations
    expected = (found.expected_warm_up_seconds(video=False), found.expected_warm_up_seconds(video=True))
    assert (found.longest_warm_up_seconds(), *expected) == (longest, audio, video)


def test_a_longest_warm_up_below_the_least_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_warm_up_seconds = 5 is below warm_up_seconds = 10"):
        _experiment(TEXT + "[durations]\nmax_warm_up_seconds = 5\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[limits]\ndelay_p99_ms = inf\n", r"x\.toml:14: limits\.delay_p99_ms: .*finite number"),
        ("[stop]\nbudget_minutes = inf\n", r"x\.toml:14: stop\.budget_minutes: .*finite number"),
        (f"[load.auto]\nstart_pps = {'9' * 400}\n", r"x\.toml:14: load\.auto\.start_pps: .*finite number"),
    ],
)
def test_a_number_without_end_is_refused(text: str, said: str) -> None:
    """JSON has none: a run's files would have null in its place."""
    with pytest.raises(ConfigError, match=said):
        _experiment(TEXT + text)
