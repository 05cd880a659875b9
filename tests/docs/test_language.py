"""Texts that users read are plain English: they do not use the words of ``language.HABITS``."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest

from tests.docs import language
from tests.docs.language import HABITS, HELP_HABITS, Habit, Text

#: Texts that keep such a word, each with the reason. One that is no longer needed fails the test.
EXCEPTIONS: dict[str, str] = {
    "where it was started": "a place: the machine on which somebody started a profiler",
    "where the JVM can use them": "a place: a directory that the JVM can read",
}


def _faults(texts: Iterable[Text], habits: Iterable[Habit] = HABITS) -> list[str]:
    habits = tuple(habits)
    faults = [fault for text in texts for fault in language.found(text, habits)]
    return [fault for fault in faults if not any(kept in fault for kept in EXCEPTIONS)]


def test_the_documentation_is_plain_english() -> None:
    faults = _faults(language.pages())
    assert not faults, "\n".join(faults)


def test_help_is_plain_english() -> None:
    faults = _faults((*language.helps(), *language.options()))
    assert not faults, "\n".join(faults)


def test_help_of_an_option_says_what_the_option_is() -> None:
    faults = _faults(language.options(), HELP_HABITS)
    assert not faults, "\n".join(faults)


def test_output_and_errors_are_plain_english() -> None:
    faults = _faults(language.strings())
    assert not faults, "\n".join(faults)


def test_each_exception_is_still_needed() -> None:
    everything = (*language.pages(), *language.helps(), *language.options(), *language.strings())
    faults = [fault for text in everything for fault in language.found(text)]
    unused = [kept for kept in EXCEPTIONS if not any(kept in fault for fault in faults)]
    assert not unused


@pytest.mark.parametrize(
    "text",
    [
        "This is told in the report.",
        "It is said where it was counted.",
        "the dearest mix of packets",
        "Fit a run anew.",
        "the packets that the bridge carried meanwhile",
        "What stands under [defaults] holds.",
        "of that file alone",
        "Nothing of the bridge is drained.",
        "Exit code 5 where the data cannot say more.",
        "in the form in which you deploy it",
        "A sweep of whose first block no trial can be used ends there.",
        "how a run's figures come about",
        "Holds real conferences on the bridge.",
    ],
)
def test_the_list_finds_the_habits(text: str) -> None:
    assert language.found(Text("here", text))


@pytest.mark.parametrize(
    "text", ["Of a trial.", "Between samples.", "A row so often.", "Where the run is written.", "no end"]
)
def test_the_list_finds_fragments_in_help(text: str) -> None:
    assert language.found(Text("here", text), HELP_HABITS)


@pytest.mark.parametrize(
    "text",
    [
        "Threads are told apart by their names.",
        "A value that somebody else changed is left alone.",
        "RTP stands for Real-time Transport Protocol.",
        "It prints where each figure comes from.",
    ],
)
def test_the_list_leaves_good_english_alone(text: str) -> None:
    assert not language.found(Text("here", text))


def test_every_habit_has_a_reason_and_compiles() -> None:
    for habit in (*HABITS, *HELP_HABITS):
        re.compile(habit.pattern)
        assert len(habit.write) >= 2
