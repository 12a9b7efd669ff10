"""Words of Dockerfile instructions: splitting, quotes and ``$VARIABLE`` (pure)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from wherry.errors import Invalid

_DEEPEST = 50
"""Substitutions inside of each other: each level reads the rest of its word again."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9@*#]")


def split(line: str) -> list[str]:
    """Words with their quotes and backslashes kept, as the Dockerfile parser cuts them."""
    words: list[str] = []
    word = ""
    quote = ""
    at = 0
    while at < len(line):
        char = line[at]
        if char == "\\" and quote != "'" and at + 1 < len(line):
            word += line[at : at + 2]
            at += 2
            continue
        if quote:
            if char == quote:
                quote = ""
        elif char in "'\"":
            quote = char
        elif char.isspace():
            if word:
                words.append(word)
            word = ""
            at += 1
            continue
        word += char
        at += 1
    if word:
        words.append(word)
    return words


def expand(word: str, env: Mapping[str, str]) -> str:
    """One word with quotes removed and variables replaced; ``Invalid`` when a quote stays open."""
    return _expand(word, env, 0)


def _expand(word: str, env: Mapping[str, str], depth: int) -> str:
    if depth > _DEEPEST:
        raise Invalid(f"more than {_DEEPEST} substitutions inside of each other")
    return _read(word, 0, env, depth, quoted=False)[0]


def _read(
    word: str, at: int, env: Mapping[str, str], depth: int, *, quoted: bool
) -> tuple[str, int]:
    """The text from ``at`` on, to the double quote that closes it or to the end of the word; and
    where the word goes on."""
    out: list[str] = []
    while at < len(word):
        char, following = word[at], word[at + 1 : at + 2]
        if char == '"' and quoted:
            return "".join(out), at + 1
        if char == '"':
            text, at = _read(word, at + 1, env, depth, quoted=True)
        elif char == "'" and not quoted:
            text, at = _literal(word, at + 1)
        elif char == "$":
            text, at = _variable(word, at + 1, env, depth)
        elif char == "\\":
            plain = not quoted or following in ('"', "$", "\\")
            text, at = following if plain else char + following, at + 2
        else:
            text, at = char, at + 1
        out.append(text)
    if quoted:
        raise Invalid("unexpected end of statement while looking for matching double-quote")
    return "".join(out), at


def _literal(word: str, at: int) -> tuple[str, int]:
    end = word.find("'", at)
    if end < 0:
        raise Invalid("unexpected end of statement while looking for matching single-quote")
    return word[at:end], end + 1


def _variable(word: str, at: int, env: Mapping[str, str], depth: int) -> tuple[str, int]:
    """What stands after ``$`` at ``at``: its value and where the word goes on."""
    if word[at : at + 1] != "{":
        found = _NAME.match(word, at)
        if found is None:
            return "$", at
        return env.get(found[0], ""), found.end()
    found = _NAME.match(word, at + 1)
    if found is None:
        raise Invalid(f"syntax error: bad substitution in {word!r}")
    name, at = found[0], found.end()
    if word[at : at + 1] == "}":
        return env.get(name, ""), at + 1
    colon = word[at : at + 1] == ":"
    at += colon
    operator = word[at : at + 1]
    if operator not in ("-", "+", "?"):
        raise Invalid(f"unsupported modifier ({operator}) in substitution")
    end = _closing(word, at + 1)
    other = _expand(word[at + 1 : end], env, depth + 1)
    value = env.get(name)
    given = bool(value) if colon else value is not None
    if operator == "-":
        return (value or "") if given else other, end + 1
    if operator == "+":
        return other if given else "", end + 1
    if not given:
        raise Invalid(f"{name}: {other or 'not allowed to be unset'}")
    return value or "", end + 1


def _closing(word: str, at: int) -> int:
    depth = 1
    while at < len(word):
        if word[at] == "\\":
            at += 1
        elif word[at] == "{":
            depth += 1
        elif word[at] == "}":
            depth -= 1
            if not depth:
                return at
        at += 1
    raise Invalid("syntax error: missing '}' in substitution")
