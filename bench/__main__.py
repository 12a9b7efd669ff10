"""``bench/run``: measure, print the table, and leave nothing behind."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench import engines, table
from bench.case import Case
from bench.cases import CASES
from bench.engines import Engine
from bench.http import EngineError
from bench.janitor import janitor


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__)
    parser.add_argument("--only", action="append", metavar="CASE", help="may be given repeatedly")
    parser.add_argument("--rounds", type=int, help="instead of each case's own number")
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    parser.add_argument("--dockerd", metavar="PATH", help="dockerd, or a folder with it")
    parser.add_argument("--no-docker", action="store_true", help="measure Wherry alone")
    parser.add_argument("--no-wherry", action="store_true", help="measure Docker alone")
    parser.add_argument("--root", default=tempfile.gettempdir(), help="where the engines' data go")
    parser.add_argument("--json", metavar="FILE", help="write every single figure there")
    return parser.parse_args()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


_FAILURES = (EngineError, OSError, subprocess.SubprocessError)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """What fails tells which engine it was."""
    try:
        yield
    except _FAILURES as error:
        raise EngineError(f"{name}: {error}") from error


def _measure(
    case: Case, under_test: list[Engine], rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Figures of each engine, by their names; who goes first changes every round."""
    figures: dict[str, dict[str, list[float]]] = {}
    with ExitStack() as stack:
        measures = []
        for each in under_test:
            with _named(each.name):
                measures.append((each.name, stack.enter_context(case.prepare(each))))
        for number in range(case.warmup + rounds):
            for name, measure in measures if number % 2 == 0 else reversed(measures):
                with _named(name):
                    value = measure()
                if number < case.warmup:
                    continue
                for part, one in (value if isinstance(value, Mapping) else {"": value}).items():
                    figures.setdefault(part, {}).setdefault(name, []).append(one)
    return figures


def _engines(options: argparse.Namespace, root: Path) -> list[Engine]:
    chosen = []
    if not options.no_docker:
        dockerd = engines.find_dockerd(options.dockerd)
        if dockerd is None:
            _say("bench: no dockerd here (scripts/setup --bench unpacks one): Wherry alone")
        else:
            chosen.append(engines.docker(root / "docker", dockerd))
    if not options.no_wherry:
        chosen.append(engines.wherry(root / "wherry"))
    return chosen


_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _interrupted(number: int, frame: object) -> None:
    # A second signal must not leave daemons, containers and mounts behind.
    for each in _ENDINGS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def _run(options: argparse.Namespace, cases: list[Case], under_test: list[Engine]) -> int:
    rows, every, failures = [], {}, 0
    for engine in under_test:
        _say(f"bench: starting {engine.name}")
        engine.start()
    alone = False
    try:
        for case in sorted(cases, key=lambda each: each.isolated):
            if case.isolated and not alone:
                alone = True
                for engine in under_test:
                    engine.isolate()
            _say(f"bench: {case.name}")
            try:
                figures = _measure(case, under_test, options.rounds or case.rounds)
            except _FAILURES as error:
                _say(f"bench: {case.name} FAILED: {error}")
                failures += 1
                for engine in under_test:
                    engine.recover()
                continue
            for part, results in figures.items():
                every[f"{case.name} {part}".strip()] = results
                rows.append(table.row(case, results, part))
    finally:
        # What there is of it when the bench is interrupted, too.
        if rows:
            print(table.render(rows), flush=True)
        if options.json:
            Path(options.json).write_text(json.dumps(every, indent=1) + "\n")
    return 1 if failures else 0


def main() -> int:
    """Exit code: 0, 1 when a case failed, 2 for wrong usage, 130 when interrupted."""
    options = _arguments()
    if options.list:
        for case in CASES:
            print(f"{case.name:18} {case.title}")
        return 0
    cases = [case for case in CASES if not options.only or case.name in options.only]
    unknown = set(options.only or ()) - {case.name for case in CASES}
    if unknown:
        _say(f"bench: no such case: {', '.join(sorted(unknown))}; see --list")
        return 2
    if os.geteuid() != 0:
        _say("bench: run this as root")
        return 2
    for each in _ENDINGS:
        signal.signal(each, _interrupted)
    # As the kernel's table of mounts names it.
    root = Path(tempfile.mkdtemp(prefix="wb-", dir=options.root)).resolve()
    with janitor(root):
        return _all(options, cases, root)


def _all(options: argparse.Namespace, cases: list[Case], root: Path) -> int:
    under_test: list[Engine] = []
    try:
        print(table.machine_line())
        under_test = _engines(options, root)
        return _run(options, cases, under_test)
    except KeyboardInterrupt:
        _say("bench: interrupted; cleaning up")
        return 130
    except _FAILURES as error:
        _say(f"bench: {error}")
        return 1
    finally:
        for each in _ENDINGS:
            signal.signal(each, signal.SIG_IGN)
        for engine in under_test:
            engine.clean()
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
