"""``vlreward serve``: a reward server over HTTP."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlreward.errors import ConfigError, require

from .loading import question_of
from .options import (
    ModelOptions,
    add_model_options,
    model_options,
    positive_integer,
    positive_number,
    refuse_model_options,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from vlreward.serve.app import Backend, ServerOptions
    from vlreward.serve.metrics import Metrics
    from vlreward.serve.model_factory import ModelFactory

NAME = "serve"
_MB = 2**20
_WAIT_MS, _PREFIX_MB = 5.0, 512
_MODEL_HERE = {"batch_tokens": None, "max_wait_ms": _WAIT_MS, "prefix_cache_mb": _PREFIX_MB}
_MODEL_THERE = {"backend_key": None, "calibration": None}
"""Options that say nothing where the model is elsewhere, or here, and their defaults."""


def add(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        NAME,
        help="a reward server over HTTP",
        description="Serve rewards over HTTP: its own protocol, and those that trainers speak. GET /openapi.json "
        "describes both. SIGTERM lets the requests that are there finish.",
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    add_model_options(parser, urls=False)
    _add_server_options(parser)
    _add_batching_options(parser)
    _add_shaping_options(parser)
    _add_gateway_options(parser)


def _add_server_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the server")
    group.add_argument("--host", default="127.0.0.1", metavar="H", help="where to listen (default: 127.0.0.1)")
    group.add_argument("--port", type=_port, default=8080, metavar="N", help="0: any that is free (default: 8080)")
    group.add_argument("--name", metavar="NAME", help="what clients are told the model is called (default: its folder)")
    group.add_argument(
        "--api-keys", type=Path, metavar="FILE", help="a key on each line; needed to listen for other machines"
    )
    group.add_argument(
        "--allow-url",
        action="append",
        default=[],
        dest="hosts",
        metavar="HOST",
        help="let pictures be fetched from this host, such as images.example.org or *.example.org; repeatable",
    )
    group.add_argument("--media-cache-mb", type=positive_integer, default=2048, metavar="N", help=_MEDIA_HELP)
    group.add_argument(
        "--drain", type=positive_number, default=30.0, metavar="S", help="seconds for requests to finish (default: 30)"
    )
    group.add_argument("--quiet", "-q", action="store_true", help="log what goes wrong only")


_MEDIA_HELP = "for pictures that clients have sent by PUT /v1/media (default: 2048)"


def _add_batching_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("batching")
    group.add_argument(
        "--batch-tokens", type=positive_integer, metavar="N", help="estimated tokens of a batch (default: of a pack)"
    )
    group.add_argument(
        "--max-wait-ms",
        type=_milliseconds,
        default=_WAIT_MS,
        metavar="N",
        help="how long an idle model lets requests gather; may be 0 (default: 5)",
    )
    group.add_argument(
        "--max-queue", type=positive_integer, default=4096, metavar="N", help="groups that may wait (default: 4096)"
    )
    group.add_argument(
        "--deadline",
        type=positive_number,
        default=120.0,
        metavar="S",
        help="seconds within which a request is answered or given up (default: 120)",
    )
    group.add_argument(
        "--prefix-cache-mb",
        type=_size,
        default=_PREFIX_MB,
        metavar="N",
        help="for the states of prompts, which later answers to them then skip; 0: none (default: 512)",
    )


def _add_shaping_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the rewards that clients are told, in this order")
    group.add_argument("--normalise", action="store_true", help="by the scale of the model's calibration")
    group.add_argument("--clip", type=positive_number, metavar="X", help="to -X and X, of the spread if normalised")
    group.add_argument("--squash", choices=("sigmoid", "tanh"), help="between 0 and 1, or between -1 and 1")


def _add_gateway_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("another server's engine (instead of --model)")
    group.add_argument(
        "--backend",
        action="append",
        default=[],
        metavar="URL",
        help="a vLLM or vlreward server; repeatable, for several with one model",
    )
    group.add_argument("--backend-key", type=Path, metavar="FILE", help="a file with the API key that it asks for")
    group.add_argument("--calibration", type=Path, metavar="FILE", help="calibration.json of its model")


def run(args: argparse.Namespace) -> int:
    """Serve until told to end."""
    _check_where(args)
    if args.normalise and args.backend and not args.calibration:
        raise ConfigError("--normalise and --backend: name the calibration.json of its model with --calibration")
    for module in ("fastapi", "uvicorn", "httpx", "prometheus_client", "python_multipart"):
        require(module, extra="serve", purpose="serving")
    from vlreward.serve.app import create_app, over_worker
    from vlreward.serve.run import check_host, listen, serve

    if args.backend:
        server = _server_options(args, args.name or "remote")
        make = _gateway(args)
    else:
        options = model_options(args)
        server = _server_options(args, args.name or Path(options.model).name)
        make = over_worker(_factory(args, options, server), server)
    check_host(args.host, server)
    app = create_app(server, make)
    listening = listen(args.host, args.port)
    _log_to_stderr(logging.WARNING if args.quiet else logging.INFO)
    serve(app, listening, drain_seconds=server.drain_seconds)
    return 0


def _check_where(args: argparse.Namespace) -> None:
    """See that no option is given that would be passed over, the model being here or there."""
    if args.backend:
        refuse_model_options(args, "--backend")
    names = _MODEL_HERE if args.backend else _MODEL_THERE
    for name, default in names.items():
        if getattr(args, name) != default:
            there = "a model loaded here; --backend has its own" if args.backend else "--backend"
            raise ConfigError(f"--{name.replace('_', '-')} is for {there}")


def _gateway(args: argparse.Namespace) -> Callable[[Metrics], Backend]:
    from vlreward.model.calibration import Calibration
    from vlreward.serve.gateway import DetectedEngine, GatewayLimits, RemoteService

    key = _read_key(args.backend_key) if args.backend_key else None
    engine = DetectedEngine(args.backend, api_key=key)
    calibration = Calibration.read(args.calibration) if args.calibration else None
    limits = GatewayLimits(waiting=args.max_queue, seconds=args.deadline)
    return lambda metrics: RemoteService(engine, model=args.name, calibration=calibration, limits=limits)  # noqa: ARG005


def _read_key(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the API key cannot be read ({getattr(error, 'strerror', error)})") from None


def _server_options(args: argparse.Namespace, name: str) -> ServerOptions:
    from vlreward.engines.shaped import Shaping
    from vlreward.serve.app import ServerOptions
    from vlreward.serve.batching import BatchLimits

    batching = BatchLimits(
        max_queue=args.max_queue,
        batch_tokens=args.batch_tokens,
        max_wait_seconds=args.max_wait_ms / 1000,
        deadline_seconds=args.deadline,
    )
    return ServerOptions(
        model=name,
        batching=batching,
        media_bytes=args.media_cache_mb * _MB,
        keys=args.api_keys,
        hosts=tuple(args.hosts),
        shaping=Shaping(clip=args.clip, squash=args.squash),
        normalise=args.normalise,
        drain_seconds=args.drain,
    )


def _factory(args: argparse.Namespace, options: ModelOptions, server: ServerOptions) -> ModelFactory:
    from vlreward.serve.model_factory import ModelFactory

    return ModelFactory(
        path=options.model,
        normalise=args.normalise,
        options={
            "dtype": options.dtype,
            "device": options.device,
            "min_pixels": options.min_pixels,
            "max_pixels": options.max_pixels,
            "revision": options.revision,
            "local_files_only": options.offline,
            "question": question_of(options),
            "media_limits": server.requests.media_limits(),
            "pack_tokens": options.pack_tokens,
            "prefix_cache_bytes": args.prefix_cache_mb * _MB,
        },
    )


def _log_to_stderr(level: int) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name, least in (("vlreward", level), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(least)
        logger.propagate = False


def _port(text: str) -> int:
    number = int(text) if text.isdecimal() else -1
    if not 0 <= number < 2**16:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, got {text!r}")
    return number


def _size(text: str) -> int:
    return 0 if text == "0" else positive_integer(text)


def _milliseconds(text: str) -> float:
    return 0.0 if text == "0" else positive_number(text)
