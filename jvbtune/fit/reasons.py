"""Why there is no recommendation, and what else has to be known of one: codes for programs, sentences for people."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """What a reason is about. Later versions add codes; none changes its meaning."""

    # why there is no recommendation
    NO_TRIALS = "no_trials"
    ALL_INVALID = "all_invalid"
    NO_STEADY_TRIALS = "no_steady_trials"
    NO_PACKET_RATE = "no_packet_rate"
    STEP_MISUSED = "step_misused"
    UNPLACED = "unplaced"
    TOO_FEW_RATES = "too_few_rates"
    ONE_RESTART = "one_restart"
    ABOVE_LIMIT = "above_limit"
    NO_LIMIT_REACHED = "no_limit_reached"
    TOO_WIDE = "too_wide"
    NEGATIVE_CONTROL = "negative_control"
    SEARCH_UNFINISHED = "search_unfinished"
    ESTIMATES_DISAGREE = "estimates_disagree"
    RUN_UNFINISHED = "run_unfinished"
    NO_THRESHOLD = "no_threshold"
    # what else has to be known
    MISSING_COLUMN = "missing_column"
    LIMIT_NOTE = "limit_note"
    COSTS_UNKNOWN = "costs_unknown"
    OTHER_SHAPE = "other_shape"
    PRODUCTION_MIX = "production_mix"
    EXTRAPOLATED = "extrapolated"
    IMPLAUSIBLE = "implausible"
    DEPLOYED_ESTIMATE = "deployed_estimate"
    BUFFER_CLAMPED = "buffer_clamped"
    BUFFER_UNKNOWN = "buffer_unknown"
    AUDIO_ONLY = "audio_only"
    SETTINGS_FIRST = "settings_first"
    NOT_COMBINED = "not_combined"
    POOLED = "pooled"
    UNSTEADY_HOST = "unsteady_host"


@dataclass(frozen=True)
class Reason:
    """``text``: a sentence without its full stop. ``advice``: what to do about it; empty where nothing follows."""

    code: Code
    text: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.text}. {self.advice}" if self.advice else self.text
