"""Environments of their own for code that cannot share ours: the published procedure's and the peers'.

To save space and time an environment borrows torch from the running interpreter: a ``.pth`` file puts that
interpreter's site-packages behind its own, so that pip takes what is there as installed and fetches only what is
missing or pinned otherwise. ``full=True`` installs everything.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
DEFAULT_FOLDER = PROJECT / ".envs"
_MARK = "complete.json"


@dataclass(frozen=True, kw_only=True)
class EnvironmentSpec:
    """What one environment holds."""

    name: str
    """Names its folder."""
    requirements: tuple[str, ...]
    """Pins, as pip takes them; torch and torchvision come from the running interpreter or at its versions."""
    imports: tuple[str, ...]
    """Modules that must import for the environment to count as built."""
    alone: tuple[str, ...] = ()
    """Pins that are installed without what they ask for."""


PUBLISHED = EnvironmentSpec(
    name="published",
    requirements=("transformers==4.51.3", "trl==0.16.1"),
    imports=("transformers", "trl", "torchvision", "PIL"),
)
MS_SWIFT = EnvironmentSpec(
    name="ms-swift",
    requirements=("ms-swift==4.6.0", "qwen-vl-utils"),
    imports=("swift", "qwen_vl_utils"),
)
SENTENCE_TRANSFORMERS = EnvironmentSpec(
    name="sentence-transformers",
    requirements=("sentence-transformers==6.2.0",),
    imports=("sentence_transformers",),
)
LLAMA_FACTORY = EnvironmentSpec(
    name="llamafactory",
    # It asks for torchaudio, whose own pin on torch would bring another one.
    requirements=("llamafactory==0.9.5", "torchaudio==2.11.0"),
    imports=("llamafactory.train.rm",),
)
TRL = EnvironmentSpec(name="trl", requirements=("trl==1.16.0",), imports=("trl",))
# There for their own code to load our rewards: tests/integrations/test_contracts.py.
VERL = EnvironmentSpec(
    name="verl",
    requirements=(
        *("ray>=2.41", "tensordict>=0.8,<=0.10,!=0.9.0", "codetiming", "hydra-core", "aiohttp", "datasets"),
        *("torchdata", "pylatexenc", "cachetools"),
    ),
    imports=("verl.trainer.ppo.reward", "verl.experimental.reward_loop.reward_manager"),
    alone=("verl==0.9.1",),
)
OPENRLHF = EnvironmentSpec(
    name="openrlhf",
    requirements=("aiohttp",),
    imports=("openrlhf.utils.agent",),
    alone=("openrlhf==0.11.2",),
)
SPECS = (PUBLISHED, MS_SWIFT, SENTENCE_TRANSFORMERS, LLAMA_FACTORY, TRL, VERL, OPENRLHF)


def python_of(folder: Path) -> Path:
    """The interpreter of the environment in ``folder``."""
    return folder / "bin" / "python"


def is_built(spec: EnvironmentSpec, folder: Path) -> bool:
    """Whether ``folder`` holds this environment, finished, with these pins and the running interpreter's torch."""
    mark = folder / _MARK
    if not mark.is_file() or not python_of(folder).is_file():
        return False
    found = json.loads(mark.read_text())
    same = found["requirements"] == list(spec.requirements) and found.get("alone", []) == list(spec.alone)
    return bool(same and found["torch"] == _version("torch"))


def build(spec: EnvironmentSpec, folder: Path, *, full: bool = False) -> Path:
    """Build the environment in ``folder`` unless it is there already, and return its interpreter.

    Raises:
        subprocess.CalledProcessError: pip failed, or a module of ``spec.imports`` does not import.
    """
    python = python_of(folder)
    if is_built(spec, folder):
        return python
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).unlink(missing_ok=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    constraints = folder / "constraints.txt"
    pins = [f"{name}=={_version(name)}" for name in ("torch", "torchvision")]
    constraints.write_text("\n".join(pins) + "\n")
    requirements = list(spec.requirements)
    if full:
        requirements += pins
    else:
        _borrow(folder)
    install = [str(python), "-m", "pip", "install", "--quiet", "--constraint", str(constraints), *requirements]
    subprocess.run(install, check=True)
    if spec.alone:
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--no-deps", *spec.alone], check=True)
    statement = "; ".join(f"import {name}" for name in spec.imports)
    subprocess.run([str(python), "-c", statement], check=True, stdout=subprocess.DEVNULL)
    pins_of = {"requirements": list(spec.requirements), "alone": list(spec.alone)}
    mark = pins_of | {"torch": _version("torch"), "full": full}
    (folder / _MARK).write_text(json.dumps(mark))
    return python


def _borrow(folder: Path) -> None:
    """Put the running interpreter's site-packages behind the environment's own."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    own = folder / "lib" / version / "site-packages"
    (own / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")


def _version(package: str) -> str:
    return importlib.metadata.version(package)
