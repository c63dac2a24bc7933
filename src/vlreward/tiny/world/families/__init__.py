"""The kinds of task in the world, one file each."""

from __future__ import annotations

from ..draft import Family
from . import (
    accessibility,
    captions,
    charts,
    counting,
    editing,
    education,
    reasoning,
    relations,
    robotics,
    signs,
    text_only,
)

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        captions.FAMILY,
        counting.FAMILY,
        relations.FAMILY,
        signs.FAMILY,
        charts.FAMILY,
        reasoning.FAMILY,
        text_only.FAMILY,
        robotics.FAMILY,
        editing.FAMILY,
        accessibility.FAMILY,
        education.FAMILY,
    )
}
"""By name, in the order in which they are shown."""
