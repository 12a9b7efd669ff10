"""Text of a template to items: literal text, and tokens between ``{{`` and ``}}``.

Trim markers (``{{- `` and `` -}}``) cut the white space of the text beside them; comments are
dropped here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LEFT, RIGHT = "{{", "}}"
SPACES = " \t\r\n"


class TemplateError(Exception):
    """A syntax error at a byte offset of the text; the face turns it into ``Invalid``."""

    def __init__(self, pos: int, message: str) -> None:
        super().__init__(message)
        self.pos = pos
        self.message = message


@dataclass(frozen=True)
class Token:
    """``kind``: text, left, right, space, field, dot, var, ident, number, string, char, mark,
    eof, or the mark itself (``|``, ``(``, ``)``, ``,``, ``=``, ``:=``)."""

    kind: str
    text: str
    pos: int


_TRIM = re.compile(r"-[ \t\r\n]")
_SPACE = re.compile(r"[ \t\r\n]+")
_NAME = r"[^\W\d]\w*"
_FIELD = re.compile(rf"\.{_NAME}")
_VARIABLE = re.compile(rf"\$(?:{_NAME})?")
_WORD = re.compile(_NAME)
_NUMBER = re.compile(r"[+-]?\.?[0-9](?:[0-9a-zA-Z_.]|(?<=[eEpP])[+-])*")
_STRING = re.compile(r'"(?:[^"\\\n]|\\[^\n])*"')
_RAW = re.compile(r"`[^`]*`")
_CHAR = re.compile(r"'(?:[^'\\\n]|\\[^\n])+'")
_TERMINATORS = SPACES + ".,|:()="
_WORDS = (("field", _FIELD), ("var", _VARIABLE), ("ident", _WORD))


def lex(text: str) -> list[Token]:
    """All tokens, ended by ``eof``; ``TemplateError`` for what is no token."""
    tokens: list[Token] = []
    at = 0
    trim = False
    while True:
        start = text.find(LEFT, at)
        piece = text[at:] if start < 0 else text[at:start]
        if trim:
            shorter = piece.lstrip(SPACES)
            at += len(piece) - len(shorter)
            piece = shorter
        if start < 0:
            if piece:
                tokens.append(Token("text", piece, at))
            tokens.append(Token("eof", "", len(text)))
            return tokens
        inside = start + len(LEFT)
        if _TRIM.match(text, inside):
            piece = piece.rstrip(SPACES)
            inside += 2
        if piece:
            tokens.append(Token("text", piece, at))
        if text.startswith("/*", inside):
            at, trim = _comment(text, inside)
        else:
            tokens.append(Token("left", LEFT, start))
            at, trim = _action(text, inside, tokens)


def _closing(text: str, at: int) -> tuple[int, bool] | None:
    """(offset after ``}}``, whether it trims) when the action ends at ``at``."""
    if text.startswith(RIGHT, at):
        return at + len(RIGHT), False
    if text[at : at + 1] and text[at] in SPACES and text.startswith("-" + RIGHT, at + 1):
        return at + 2 + len(RIGHT), True
    return None


def _comment(text: str, at: int) -> tuple[int, bool]:
    end = text.find("*/", at)
    if end < 0:
        raise TemplateError(at, "unclosed comment")
    closed = _closing(text, end + 2)
    if closed is None:
        raise TemplateError(at, "comment ends before closing delimiter")
    return closed


def _action(text: str, at: int, tokens: list[Token]) -> tuple[int, bool]:
    depth = 0
    while True:
        closed = _closing(text, at)
        if closed is not None:
            if depth:
                raise TemplateError(at, "unclosed left paren")
            tokens.append(Token("right", RIGHT, at))
            return closed
        if at >= len(text):
            raise TemplateError(at, "unclosed action")
        token = _token(text, at)
        depth += {"(": 1, ")": -1}.get(token.kind, 0)
        if depth < 0:
            raise TemplateError(at, "unexpected right paren")
        tokens.append(token)
        at += len(token.text)


def _token(text: str, at: int) -> Token:
    char = text[at]
    if char in SPACES:
        found = _SPACE.match(text, at)
        assert found is not None
        piece = found[0]
        after = at + len(piece)
        if text.startswith("-" + RIGHT, after) and len(piece) > 1:
            piece = piece[:-1]
        return Token("space", piece, at)
    if char in "|(),":
        return Token(char, char, at)
    if char == "=":
        return Token("=", "=", at)
    if char == ":":
        if text[at + 1 : at + 2] != "=":
            raise TemplateError(at, "expected :=")
        return Token(":=", ":=", at)
    if char in "\"`'":
        return _quoted(text, at, char)
    if char in "+-" or (char.isascii() and char.isdigit()) or re.match(r"\.[0-9]", text[at:]):
        return _number(text, at)
    for kind, pattern in _WORDS:
        found = pattern.match(text, at)
        if found is not None:
            _terminated(text, found.end())
            return Token(kind, found[0], at)
    if char == ".":
        return Token("dot", ".", at)
    if char.isascii() and char.isprintable():
        return Token("mark", char, at)
    raise TemplateError(at, f"unrecognized character in action: U+{ord(char):04X} {char!r}")


def _terminated(text: str, at: int) -> None:
    if at < len(text) and text[at] not in _TERMINATORS and not text.startswith(RIGHT, at):
        raise TemplateError(at, f"bad character U+{ord(text[at]):04X} {text[at]!r}")


def _quoted(text: str, at: int, mark: str) -> Token:
    pattern, kind, name = {
        '"': (_STRING, "string", "quoted string"),
        "`": (_RAW, "string", "raw quoted string"),
        "'": (_CHAR, "char", "character constant"),
    }[mark]
    found = pattern.match(text, at)
    if found is None:
        raise TemplateError(at, f"unterminated {name}")
    return Token(kind, found[0], at)


def _number(text: str, at: int) -> Token:
    found = _NUMBER.match(text, at)
    if found is None:
        raise TemplateError(at, f'bad number syntax: "{text[at]}"')
    return Token("number", found[0], at)
