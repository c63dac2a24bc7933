"""Cases with the scores that another tool gave them, as they lie in a fixture or golden folder's ``scores.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Case:
    """One conversation and its score."""

    name: str
    messages: list[dict[str, Any]]
    score: float

    @property
    def prompt(self) -> list[dict[str, Any]]:
        """The messages before the answer."""
        return self.messages[:-1]

    @property
    def answer(self) -> str:
        """The last message's text."""
        return str(self.messages[-1]["content"])


def read_cases(folder: Path) -> list[Case]:
    """The cases of a folder: conversations (the published procedure's), or rows of chosen and rejected (trainers')."""
    document = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    cases: list[Case] = []
    for number, row in enumerate(document["cases"]):
        if "messages" in row:
            messages = [_with_paths(message, folder / "images") for message in row["messages"]]
            cases.append(Case(name=row["name"], messages=messages, score=row["score"]))
            continue
        picture = {"type": "image", "image": str((folder / row["image"]).resolve())}
        prompt = {"role": "user", "content": [picture, {"type": "text", "text": row["question"]}]}
        for side in ("chosen", "rejected"):
            messages = [prompt, {"role": "assistant", "content": row[side]}]
            cases.append(Case(name=f"{number}/{side}", messages=messages, score=row[f"{side}_score"]))
    return cases


def grouped(cases: list[Case]) -> list[list[Case]]:
    """Cases with the same prompt together, in order."""
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(json.dumps(case.prompt), []).append(case)
    return list(groups.values())


def _with_paths(message: dict[str, Any], images: Path) -> dict[str, Any]:
    if isinstance(message["content"], str):
        return message
    parts = []
    for part in message["content"]:
        if part["type"] == "image":
            parts.append(part | {"image": str(images / part["image"])})
        elif part["type"] == "video":
            parts.append(part | {"video": [str(images / frame) for frame in part["video"]]})
        else:
            parts.append(part)
    return message | {"content": parts}
