"""Reports: what evaluations and audits found of a model, as one page and one JSON, and two models side by side."""

from __future__ import annotations

from .contents import Audited, Evaluation, Report
from .evaluation import evaluation_of
from .rendering import page

__all__ = ["Audited", "Evaluation", "Report", "evaluation_of", "page"]
