"""Reward-model checkpoints: what is on disk, in which form the reward head is, and how it is read and written.

Looking at a folder imports no torch; reading tensors does.
"""

from .folder import CheckpointFolder
from .form import Form
from .forms import FORMS, form_named, identify, read_head
from .metadata import Metadata, PixelLimits, read_metadata, read_pixel_limits
from .names import check_tensors
from .question import Question
from .writing import write_checkpoint, write_language_model

__all__ = [
    "FORMS",
    "CheckpointFolder",
    "Form",
    "Metadata",
    "PixelLimits",
    "Question",
    "check_tensors",
    "form_named",
    "identify",
    "read_head",
    "read_metadata",
    "read_pixel_limits",
    "write_checkpoint",
    "write_language_model",
]
