"""The cases, in the order of the table. Each file has a group of them."""

from __future__ import annotations

from bench.case import Case
from bench.cases import (
    clients,
    files,
    health,
    hostile,
    images,
    life,
    logs,
    looking,
    memory,
    networks,
    throughput,
    volumes,
)

CASES: tuple[Case, ...] = (
    *life.CASES,
    *clients.CASES,
    *looking.CASES,
    *health.CASES,
    *logs.CASES,
    *files.CASES,
    *memory.CASES,
    *hostile.CASES,
    *images.CASES,
    *volumes.CASES,
    *networks.CASES,
    *throughput.CASES,
)
