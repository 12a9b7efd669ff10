"""Every library that the project asks for has its version fixed, the ones for the tests too."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def name_of(requirement: str) -> str:
    """The project's normal form of a library's name."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def test_no_library_without_a_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {*project["dependencies"], *project["optional-dependencies"]["dev"]}
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    fixed = [line for line in lines if line and not line.startswith("#")]
    assert [line for line in fixed if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    assert {name_of(each) for each in asked} - {name_of(each) for each in fixed} == set()
