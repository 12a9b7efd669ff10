"""Volumes and mounts field by field: what Docker answered to each case, Wherry answers too.

``volumes_docker.json`` was recorded from Docker Engine 26.1.5 by
``tests/support/record_volumes.py``. Where Wherry answers something else on purpose,
``volumes_different.json`` has what, and why.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support import volumecases
from tests.support.engine import Engine
from tests.support.volumecases import Case

pytestmark = pytest.mark.root
FOLDER = Path(__file__).parent
DOCKER: dict[str, Any] = json.loads((FOLDER / "volumes_docker.json").read_text())
DIFFERENT: dict[str, Any] = json.loads((FOLDER / "volumes_different.json").read_text())
USERS_MISTAKE = ("invalid volume specification", "invalid mode: ")
"""Docker calls these its own failure (status 500)."""


def expected(name: str) -> Any:
    if name in DIFFERENT:
        return DIFFERENT[name]["answers"]
    answers = DOCKER[name]
    for answer in answers:
        refused = answer.get("create") if isinstance(answer, dict) else None
        if isinstance(refused, list) and refused[1]["message"].startswith(USERS_MISTAKE):
            assert refused[0] in (400, 500)
            refused[0] = 400
    return answers


@pytest.mark.parametrize("case", volumecases.cases(), ids=lambda case: case.name)
def test_answers(engine: Engine, case: Case) -> None:
    assert volumecases.run(engine, case) == expected(case.name)
    # Two containers of one case may have mounted something: nothing of it stays.
    assert not [each for each in engine.data.joinpath("volumes").iterdir() if each.is_dir()]


def test_differences_are_of_cases_that_differ() -> None:
    names = {each.name for each in volumecases.cases()}
    assert set(DIFFERENT) <= names
    assert names == set(DOCKER) - {""}
    for name, different in DIFFERENT.items():
        assert different["why"]
        assert different["answers"] != DOCKER[name]
