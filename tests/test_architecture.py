"""The import rule of the house is a test: arrows point down only, and never in a circle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_import_rule_holds() -> None:
    """import-linter keeps the contracts of ``pyproject.toml``."""
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as l; l()"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
