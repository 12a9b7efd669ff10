"""Docker's recorded answers, and the same requests to Wherry.

A *scenario* is a list of requests that make and look at things; ``play`` sends them to an engine
and gives their answers with all that differs from run to run replaced by words. What Docker
answered is kept in ``tests/recorded``, made by::

    unshare --net env DOCKERD=/usr/sbin/dockerd python -m tests.support.record
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.engine import Answer, Engine

FOLDER = Path(__file__).resolve().parents[1] / "recorded"
API = "/v1.45"
"""The API of Docker 26.1.5, whose answers are recorded."""


@dataclass(frozen=True)
class Step:
    """One request; ``{name}`` in path and body is what an earlier step saved under that name."""

    name: str
    method: str
    path: str
    body: Any = None
    save: str = ""
    """Keep the answer's ``Id`` (or ``Name``) under this name."""
    only: tuple[str, ...] = ()
    """Keys to compare (``HostConfig.Links`` for an inner one); all where none is named."""


@dataclass(frozen=True)
class Volatile:
    """What to replace, beyond saved ids: by key, or wherever a pattern is found."""

    keys: Mapping[str, str]
    patterns: Sequence[tuple[str, str]] = ()


Recorded = dict[str, dict[str, Any]]
"""Step's name -> ``status`` and ``body`` (JSON; None when empty)."""


def play(engine: Engine, steps: Sequence[Step], volatile: Volatile) -> Recorded:
    """The answers of ``engine`` to all steps, in order, normalised."""
    saved: dict[str, str] = {}
    answers: Recorded = {}
    with engine.client(api=API) as client:
        for step in steps:
            assert step.name not in answers, f"two steps are named {step.name}"
            body = step.body
            if not isinstance(body, bytes):
                body = b"" if body is None else _filled(json.dumps(body), saved).encode()
            answer = Answer(*client.request(step.method, _filled(step.path, saved), body))
            if step.save:
                assert answer.status < 300, f"{step.name}: {answer.status} {answer.body!r}"
                saved[step.save] = str(answer.json.get("Id") or answer.json["Name"])
            shown = _only(answer.json, step.only) if answer.status < 300 else answer.json
            value = normal(shown, saved, volatile)
            answers[step.name] = {"status": answer.status, "body": value}
    return answers


def _only(value: Any, keys: Sequence[str]) -> Any:
    """``value``, or each of its rows, with these keys alone."""
    if isinstance(value, list):
        return [_only(each, keys) for each in value]
    if not keys or not isinstance(value, dict):
        return value
    kept: dict[str, Any] = {}
    for key in keys:
        outer, _, inner = key.partition(".")
        if not inner:
            kept |= {outer: value[outer]} if outer in value else {}
        elif outer in value:
            kept.setdefault(outer, {}).update(_only(value[outer], [inner]))
    return kept


def _filled(text: str, saved: Mapping[str, str]) -> str:
    for name, value in saved.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def normal(value: Any, saved: Mapping[str, str], volatile: Volatile) -> Any:
    """``value`` with ids as ``<name>``, volatile keys and patterns as words."""
    if isinstance(value, dict):
        return {
            _text(key, saved, volatile): f"<{volatile.keys[key]}>"
            if key in volatile.keys and each not in ("", None, 0, {}, [])
            else normal(each, saved, volatile)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [normal(each, saved, volatile) for each in value]
    return _text(value, saved, volatile) if isinstance(value, str) else value


def _text(text: str, saved: Mapping[str, str], volatile: Volatile) -> str:
    for name, found in sorted(saved.items(), key=lambda item: -len(item[1])):
        text = text.replace(found, f"<{name}>")
        if re.fullmatch("[0-9a-f]{64}", found):
            text = text.replace(found[:12], f"<{name} short>")
    for pattern, word in volatile.patterns:
        text = re.sub(pattern, f"<{word}>", text)
    return text


def recorded(name: str) -> Recorded:
    """What Docker answered to the scenario of this name."""
    found: Recorded = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


def write(name: str, answers: Recorded) -> None:
    FOLDER.mkdir(exist_ok=True)
    text = json.dumps(answers, indent=1, sort_keys=True, ensure_ascii=False)
    (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def differences(docker: Any, wherry: Any, at: str = "") -> list[str]:
    """Where two answers differ, a line each: the place, Docker's value, Wherry's."""
    if isinstance(docker, dict) and isinstance(wherry, dict):
        found = []
        for key in sorted(docker.keys() | wherry.keys()):
            place = f"{at}.{key}"
            if key not in wherry:
                found.append(f"{place}: Docker has {docker[key]!r}, Wherry nothing")
            elif key not in docker:
                found.append(f"{place}: Docker has nothing, Wherry {wherry[key]!r}")
            else:
                found += differences(docker[key], wherry[key], place)
        return found
    if isinstance(docker, list) and isinstance(wherry, list) and len(docker) == len(wherry):
        pairs = enumerate(zip(docker, wherry, strict=True))
        return [line for at_, (a, b) in pairs for line in differences(a, b, f"{at}[{at_}]")]
    return [] if docker == wherry else [f"{at}: Docker has {docker!r}, Wherry {wherry!r}"]
