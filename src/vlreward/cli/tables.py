"""Results as tables with bars, for a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vlreward.types import Image, Response, Text, Video

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

_LONGEST_TEXT = 200


def on_terminal() -> bool:
    """Whether a person reads our output."""
    return sys.stdout.isatty()


def console() -> Console:
    """Standard output, as wide as it is."""
    from rich.console import Console

    return Console(highlight=False)


def reward_table(
    labels: Sequence[str], rewards: Sequence[float], texts: Sequence[str], *, header: tuple[str, str]
) -> Table:
    """One line per reward: its label, the number, a bar from the worst to the best of them, and a text.

    Args:
        labels: the first column.
        rewards: the numbers; only their order is meaningful, so the bars start at the worst.
        texts: the last column; long ones are cut.
        header: names of the first and the last column.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text as Styled

    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False, padding=(0, 1))
    table.add_column(header[0], justify="right", no_wrap=True)
    table.add_column("reward", justify="right", no_wrap=True)
    if len(rewards) > 1:
        table.add_column("", ratio=1, min_width=8, max_width=20)
    table.add_column(header[1], ratio=4, overflow="fold")
    best = max(rewards)
    for label, reward, text in zip(labels, rewards, texts, strict=True):
        number = Styled(f"{reward:+.3f}", style="bold" if reward == best else "")
        bars = [_bar(reward, min(rewards), best)] if len(rewards) > 1 else []
        table.add_row(Styled(label), number, *bars, Styled(_shorten(text)))
    return table


def _bar(reward: float, worst: float, best: float) -> RenderableType:
    from rich.bar import Bar

    # The worst keeps a stump, so that it does not look as if it were missing.
    share = 1.0 if best == worst else 0.02 + 0.98 * (reward - worst) / (best - worst)
    return Bar(size=1.0, begin=0.0, end=share, color="green" if reward == best else "cyan")


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1].rstrip() + "…"


def one_line(response: Response) -> str:
    """A response as one line: its text, with pictures named."""
    parts = [part for message in response for part in message.parts]
    pieces = [part.text if isinstance(part, Text) else _name(part) for part in parts]
    return " ".join(" ".join(pieces).split()) or "(empty)"


def _name(part: Image | Video) -> str:
    kind = "picture" if isinstance(part, Image) else "video"
    source: Any = part.source
    return f"[{kind} {source}]" if isinstance(source, str) and not source.startswith("data:") else f"[{kind}]"
