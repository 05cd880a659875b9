"""Comparing profiles: one tree of several sides, made comparable, with what is noise told from what is not.

Profiles ─▶ order (stacks sorted) ─▶ trie (nodes in preorder) ─▶ merge (values, normalisations, significance) ─▶ Tree
"""

from jvbtune.flame.compare.merge import LEVEL, merge
from jvbtune.flame.compare.normalise import NAMES as NORMALISATIONS

__all__ = ["LEVEL", "NORMALISATIONS", "merge"]
