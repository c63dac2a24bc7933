"""``vlreward report``: what was found of a model as one page, and two models side by side."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlreward.errors import ConfigError, InputError

from .options import positive_integer

if TYPE_CHECKING:
    from vlreward.evaluate.report import Report

NAME = "report"
COMPARE = "compare"

_USAGE = f"""vlreward {NAME} FILE [FILE …] [-o OUT.html] [options]
       vlreward {NAME} {COMPARE} A.json B.json [--json]"""


def add(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        NAME,
        help="one page of what eval and audit found, and two models side by side",
        usage=_USAGE,
        description="Write one HTML file that loads nothing, and a JSON beside it, from what vlreward eval -o and "
        "vlreward audit -o wrote of one model; no model is needed. Or compare two models by the JSON of their reports.",
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help=f"scores and audited pairs; {COMPARE} takes two reports' JSON",
    )
    page = parser.add_argument_group("the page")
    page.add_argument(
        "--output", "-o", type=Path, metavar="OUT", help="write it here, and the JSON beside it (default: report.html)"
    )
    page.add_argument("--overwrite", action="store_true", help="replace those that are there")
    page.add_argument(
        "--worst", type=positive_integer, metavar="N", help="items to show of each benchmark (default: 6)"
    )
    page.add_argument("--media-dir", type=Path, metavar="FOLDER", help="where relative paths of pictures start")
    page.add_argument("--allow-urls", action="store_true", help="let pictures be fetched from URLs")
    parser.add_argument("--json", action="store_true", help="plain JSON, also on a terminal")


def run(args: argparse.Namespace) -> int:
    """Write a report, or compare two."""
    if str(args.files[0]) == COMPARE:
        return _compare(args)
    output: Path = args.output or Path("report.html")
    _check_output(output, overwrite=args.overwrite)
    report = _report(args)
    _write(report, output)
    _say(args, report, output)
    return 0


def _check_output(output: Path, *, overwrite: bool) -> None:
    """Say now, rather than after all is computed, that a report could not be kept."""
    if output.suffix != ".html":
        raise ConfigError(f"{output}: a report is a page; name it .html")
    if not output.parent.is_dir():
        raise InputError(f"{output}: its folder does not exist; create {output.parent}")
    for path in (output, output.with_suffix(".json")):
        if path.exists() and not overwrite:
            raise ConfigError(f"{path}: is there already; write to another file, or replace it with --overwrite")


def _report(args: argparse.Namespace) -> Report:
    from vlreward.data.limits import MediaLimits
    from vlreward.evaluate.audits.album import Album
    from vlreward.evaluate.report import Report
    from vlreward.evaluate.report.evaluation import WORST

    from .report_sources import audited_from, evaluation_from, open_sources

    limits = MediaLimits(allow_urls=args.allow_urls)
    sources = open_sources(args.files)
    album = Album(limits)
    evaluations = [
        evaluation_from(source, album, args.media_dir, args.worst or WORST)
        for source in sources
        if source.verb == "eval"
    ]
    titles = [part.title for part in evaluations]
    for title in titles:
        if titles.count(title) > 1:
            raise InputError(f"{titles.count(title)} files are scores of {title}; give one of them")
    audits = [audited_from(source, limits, args.media_dir) for source in sources if source.verb == "audit"]
    pictures = [part.findings.pictures for part in audits]
    return Report(
        model=sources[0].record.about.get("model"),
        checkpoint=sources[0].record.config.get("checkpoint"),
        evaluations=evaluations,
        audits=audits,
        pictures={name: uri for found in (album.pictures, *pictures) for name, uri in found.items()},
    )


def _write(report: Report, output: Path) -> None:
    from vlreward.data.writing import replacing
    from vlreward.evaluate.report import page

    written = {
        output: page(report),
        output.with_suffix(".json"): json.dumps(report.to_dict(), ensure_ascii=False, allow_nan=False) + "\n",
    }
    for path, text in written.items():
        try:
            with replacing(path) as part:
                part.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written ({error.strerror}); name another file") from error


def _say(args: argparse.Namespace, report: Report, output: Path) -> None:
    from .tables import on_terminal

    beside = output.with_suffix(".json")
    if args.json or not on_terminal():
        values = {"page": str(output), "json": str(beside), "model": report.model}
        print(json.dumps({**values, "missing": report.missing, "warnings": report.notes}, ensure_ascii=False))
        return
    for line in [*report.missing, *report.notes]:
        print(f"warning: {line}")
    print(f"Written to {output}, and as data to {beside}.")


def _compare(args: argparse.Namespace) -> int:
    from vlreward.evaluate.report.compare import compare_reports

    from .tables import console, on_terminal

    _, *reports = args.files
    if len(reports) != 2:
        raise ConfigError(f"{len(reports)} reports: vlreward {NAME} {COMPARE} takes two, A.json B.json")
    for name in ("output", "overwrite", "worst", "media_dir", "allow_urls"):
        if getattr(args, name):
            raise ConfigError(f"vlreward {NAME} {COMPARE} has no use for --{name.replace('_', '-')}")
    comparison = compare_reports(*reports)
    if args.json or not on_terminal():
        print(json.dumps(comparison.to_dict(), ensure_ascii=False))
    else:
        from .report_table import comparison_table

        console().print(comparison_table(comparison))
    return 0
