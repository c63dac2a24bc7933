"""A small rendered world, made without end from a seed: questions about pictures, right answers, and wrong ones.

The tiny models are trained and tested on it. Eleven families of tasks, each with hard negatives that differ in one fact
and are as long as the right answer on average; a held-out split with combinations that training never shows.

    from vlreward.tiny.world import World

    for item in World(seed=0, split="heldout").items(3):
        print(item.family, item.group(2).group)

Only NumPy and Pillow are needed.
"""

from __future__ import annotations

from .combinations import SPLITS, Split
from .families import FAMILIES
from .item import FAULTS, Item, Wrong
from .paint import render
from .scenes import Scene
from .sheet import contact_sheet
from .world import World

__all__ = ["FAMILIES", "FAULTS", "SPLITS", "Item", "Scene", "Split", "World", "Wrong", "contact_sheet", "render"]
