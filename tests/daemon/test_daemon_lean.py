"""The daemon does not load what it does not need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "src",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_server_loads_no_client() -> None:
    code = """
from wherry.daemon.lean import postpone
postpone()
import sys
import wherry.api.streams
unwanted = {"aiohttp.client", "aiohttp.connector", "aiohttp.web_app", "pyroute2", "rich"}
print(sorted(set(sys.modules) & unwanted))
"""
    assert python(code) == "[]"


def test_no_extensions_of_typing_are_loaded() -> None:
    code = """
from wherry.daemon.lean import postpone
postpone()
import sys
import wherry.daemon.root
print("typing_extensions" in sys.modules, "msgspec" in sys.modules)
import typing_extensions
"""
    assert python(code) == "False True"


def test_the_client_is_there_when_asked_for() -> None:
    code = """
from wherry.daemon.lean import postpone
postpone()
import aiohttp.web, aiohttp
from aiohttp import ClientSession, web
import aiohttp.client
print(ClientSession is aiohttp.client.ClientSession, web is aiohttp.web, aiohttp.__version__ > "3")
"""
    assert python(code) == "True True True"


def test_the_whole_server_is_there_when_asked_for() -> None:
    code = """
from wherry.daemon.lean import postpone
postpone()
from aiohttp import web
import aiohttp.web_response
first = web.Response
from aiohttp.web import Application
import aiohttp.web_app
print(Application is aiohttp.web_app.Application, first is web.Response is
      aiohttp.web_response.Response)
"""
    assert python(code) == "True True"
