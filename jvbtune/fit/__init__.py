"""From trials to figures: curves, intervals, capacity, comparison of settings, recommendation.

Pure: data frames in, frozen dataclasses out; no file, no host, nothing printed.
"""

from jvbtune.fit.compare import Comparison, SettingVerdict, compare_settings
from jvbtune.fit.host_fit import HostFit
from jvbtune.fit.limits import Limits
from jvbtune.fit.recommend import recommend

__all__ = ["Comparison", "HostFit", "Limits", "SettingVerdict", "compare_settings", "recommend"]
