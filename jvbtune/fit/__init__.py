"""From trials to figures: curves, intervals, capacity, comparison of settings, recommendation.

Pure: data frames in, frozen dataclasses out; no file, no host, nothing printed.
"""

from jvbtune.fit.compare import Comparison, SettingVerdict, compare_settings
from jvbtune.fit.limits import Limits
from jvbtune.fit.recommend import recommend
from jvbtune.fit.recommendation import Recommendation

__all__ = ["Comparison", "Limits", "Recommendation", "SettingVerdict", "compare_settings", "recommend"]
