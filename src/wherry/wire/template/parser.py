"""Tokens to a tree (grammar of Go's ``text/template/parse``)."""

from __future__ import annotations

import ast
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from wherry.wire.template.gofmt import quote
from wherry.wire.template.lexer import TemplateError, Token, lex


@dataclass(frozen=True)
class Node:
    """``pos``: offset in the text; ``text``: how an error message shows it."""

    pos: int
    text: str


@dataclass(frozen=True)
class Text(Node):
    """Literal output."""


@dataclass(frozen=True)
class Dot(Node):
    pass


@dataclass(frozen=True)
class Nil(Node):
    pass


@dataclass(frozen=True)
class Literal(Node):
    value: Any


@dataclass(frozen=True)
class Field(Node):
    names: tuple[str, ...]


@dataclass(frozen=True)
class Variable(Node):
    name: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Identifier(Node):
    pass


@dataclass(frozen=True)
class Chain(Node):
    """Fields of a parenthesised pipeline or a literal."""

    base: Node
    names: tuple[str, ...]


@dataclass(frozen=True)
class Command(Node):
    args: tuple[Node, ...]


@dataclass(frozen=True)
class Pipe(Node):
    commands: tuple[Command, ...]
    declared: tuple[str, ...] = ()
    assign: bool = False


@dataclass(frozen=True)
class Action(Node):
    pipe: Pipe


@dataclass(frozen=True)
class Break(Node):
    pass


@dataclass(frozen=True)
class Continue(Node):
    pass


@dataclass(frozen=True)
class Branch(Node):
    """``kind``: if, range or with."""

    kind: str
    pipe: Pipe
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...] = field(default=())


_UNSUPPORTED = frozenset({"define", "template", "block"})
_MAX_DEPTH = 100
_OPERANDS = frozenset({"field", "dot", "var", "ident", "number", "string", "char", "("})
_KEYWORDS = frozenset(
    ("block", "break", "continue", "define", "else", "end", "if", "nil", "range", "template")
) | {"with", "."}


def parse(text: str, functions: Collection[str]) -> tuple[Node, ...]:
    """The tree of ``text``; ``TemplateError`` with Go's words."""
    parser = _Parser(text, functions)
    nodes, ended = parser.block(())
    if ended is not None:
        raise TemplateError(ended.pos, f"unexpected {{{{{ended.text}}}}}")
    return nodes


class _Parser:
    def __init__(self, text: str, functions: Collection[str]) -> None:
        self._tokens = lex(text)
        self._at = 0
        self._functions = functions
        self._variables = ["$"]
        self._loops = 0
        self._depth = 0

    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _next(self) -> Token:
        token = self._tokens[self._at]
        self._at += token.kind != "eof"
        return token

    def _skip_space(self) -> Token:
        while self._peek().kind == "space":
            self._at += 1
        return self._peek()

    def block(self, closers: Collection[str]) -> tuple[tuple[Node, ...], Token | None]:
        """Nodes until the end of the text or a closing keyword, which is returned, consumed."""
        nodes: list[Node] = []
        while True:
            token = self._next()
            if token.kind == "eof":
                if closers:
                    raise TemplateError(token.pos, "unexpected EOF")
                return tuple(nodes), None
            if token.kind == "text":
                nodes.append(Text(token.pos, token.text))
                continue
            word = self._skip_space()
            if word.kind == "ident" and word.text in ("end", "else"):
                self._next()
                return tuple(nodes), word
            nodes.append(self._action(word))

    def _action(self, word: Token) -> Node:
        if word.kind == "ident":
            if word.text in ("if", "range", "with"):
                self._next()
                return self._branch(word)
            if word.text in ("break", "continue"):
                return self._jump(word)
            if word.text in _UNSUPPORTED:
                raise TemplateError(word.pos, f"{{{{{word.text}}}}} is not supported")
        pipe = self._pipeline("command", "right")
        return Action(word.pos, pipe.text, pipe)

    def _jump(self, word: Token) -> Node:
        self._next()
        if not self._loops:
            raise TemplateError(word.pos, f"{{{{{word.text}}}}} outside {{{{range}}}}")
        self._close(word.text)
        kind = Break if word.text == "break" else Continue
        return kind(word.pos, f"{{{{{word.text}}}}}")

    def _close(self, context: str) -> None:
        token = self._skip_space()
        if token.kind != "right":
            raise TemplateError(token.pos, f"unexpected {_shown(token)} in {context}")
        self._next()

    def _branch(self, word: Token) -> Branch:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise TemplateError(word.pos, "too deeply nested")
        known = len(self._variables)
        pipe = self._pipeline(word.text, "right")
        if word.text == "range":
            self._loops += 1
        body, ended = self.block(("end", "else"))
        if word.text == "range":
            self._loops -= 1
        otherwise: tuple[Node, ...] = ()
        assert ended is not None
        if ended.text == "else":
            otherwise = self._else(word)
        else:
            self._close("end")
        del self._variables[known:]
        self._depth -= 1
        return Branch(word.pos, pipe.text, word.text, pipe, body, otherwise)

    def _else(self, word: Token) -> tuple[Node, ...]:
        token = self._skip_space()
        chained = token.kind == "ident" and token.text == word.text and word.text != "range"
        if chained:
            self._next()
            return (self._branch(token),)
        self._close("else")
        nodes, ended = self.block(("end",))
        assert ended is not None
        if ended.text != "end":
            raise TemplateError(ended.pos, f"expected end; found {{{{{ended.text}}}}}")
        self._close("end")
        return nodes

    def _pipeline(self, context: str, end: str) -> Pipe:
        start = self._skip_space()
        declared, assign = self._declaration(context)
        commands: list[Command] = []
        while True:
            token = self._skip_space()
            if token.kind == end:
                self._next()
                self._check(commands, token, context)
                text = " | ".join(each.text for each in commands)
                if declared:
                    text = f"{', '.join(declared)} {'=' if assign else ':='} {text}"
                return Pipe(start.pos, text, tuple(commands), declared, assign)
            if token.kind not in _OPERANDS:
                raise TemplateError(token.pos, f"unexpected {_shown(token)} in {context}")
            commands.append(self._command())

    def _declaration(self, context: str) -> tuple[tuple[str, ...], bool]:
        start = self._at
        names: list[str] = []
        while (token := self._skip_space()).kind == "var":
            self._next()
            names.append(token.text)
            mark = self._skip_space()
            if mark.kind in (":=", "="):
                self._next()
                if mark.kind == ":=":
                    self._variables += names
                else:
                    for name in names:
                        self._known(name, token)
                if len(names) > 1 and context != "range":
                    raise TemplateError(token.pos, f"too many declarations in {context}")
                return tuple(names), mark.kind == "="
            if mark.kind != "," or context != "range" or len(names) > 1:
                break
            self._next()
        self._at = start
        return (), False

    def _known(self, name: str, token: Token) -> None:
        if name not in self._variables:
            raise TemplateError(token.pos, f'undefined variable "{name}"')

    def _check(self, commands: list[Command], token: Token, context: str) -> None:
        if not commands:
            raise TemplateError(token.pos, f"missing value for {context}")
        for number, command in enumerate(commands[1:], 2):
            if isinstance(command.args[0], Literal | Dot | Nil):
                raise TemplateError(
                    command.pos, f"non executable command in pipeline stage {number}"
                )

    def _command(self) -> Command:
        start = self._peek()
        args: list[Node] = []
        while True:
            token = self._skip_space()
            operand = self._operand()
            if operand is not None:
                args.append(operand)
            token = self._peek()
            if token.kind == "space":
                self._next()
                if self._peek().kind not in ("|", "right", ")"):
                    continue
                token = self._peek()
            if token.kind in ("right", ")"):
                break
            if token.kind == "|":
                self._next()
                break
            raise TemplateError(token.pos, f"unexpected {_shown(token)} in operand")
        if not args:
            raise TemplateError(start.pos, "empty command")
        return Command(args[0].pos, " ".join(_arg_text(each) for each in args), tuple(args))

    def _operand(self) -> Node | None:
        node = self._term()
        if node is None or self._peek().kind != "field":
            return node
        first = self._peek()
        names: list[str] = []
        while self._peek().kind == "field":
            names.append(self._next().text[1:])
        more = "".join(f".{name}" for name in names)
        if isinstance(node, Field):
            return Field(first.pos, node.text + more, (*node.names, *names))
        if isinstance(node, Variable):
            return Variable(first.pos, node.text + more, node.name, tuple(names))
        if isinstance(node, Dot | Nil | Literal):
            raise TemplateError(first.pos, f"unexpected . after term {quote(node.text)}")
        return Chain(first.pos, _arg_text(node) + more, node, tuple(names))

    def _term(self) -> Node | None:
        token = self._peek()
        kind, text, pos = token.kind, token.text, token.pos
        if kind not in _OPERANDS:
            return None
        self._next()
        if kind == "field":
            return Field(pos, text, (text[1:],))
        if kind == "dot":
            return Dot(pos, ".")
        if kind == "var":
            self._known(text, token)
            return Variable(pos, text, text)
        if kind == "(":
            self._depth += 1
            if self._depth > _MAX_DEPTH:
                raise TemplateError(pos, "too deeply nested")
            pipe = self._pipeline("parenthesized pipeline", ")")
            self._depth -= 1
            return pipe
        if kind == "ident":
            if text in ("true", "false"):
                return Literal(pos, text, text == "true")
            if text == "nil":
                return Nil(pos, text)
            if text not in self._functions:
                raise TemplateError(pos, f'function "{text}" not defined')
            return Identifier(pos, text)
        return Literal(pos, text, _literal(token))


def _arg_text(node: Node) -> str:
    return f"({node.text})" if isinstance(node, Pipe) else node.text


def _shown(token: Token) -> str:
    if token.kind == "eof":
        return "EOF"
    if token.text in _KEYWORDS:
        return f"<{token.text}>"
    return quote(token.text[:10]) + ("..." if len(token.text) > 10 else "")


def _literal(token: Token) -> Any:
    text = token.text
    try:
        if token.kind == "number":
            return _number(text)
        if text[0] == "`":
            return text[1:-1].replace("\r", "")
        value = ast.literal_eval(("'" if token.kind == "char" else "") + _python(text, token.kind))
        if token.kind == "string":
            return str(value)
        if len(value) == 1:
            return ord(value)
        raise ValueError("more than one character")
    except (ValueError, SyntaxError, OverflowError, MemoryError) as error:
        name = {"number": "number", "char": "character constant"}.get(token.kind, "string")
        raise TemplateError(token.pos, f"bad {name} syntax: {text}") from error


_ESCAPES = frozenset("abfnrtv\\xuU01234567")


def _python(text: str, kind: str) -> str:
    """A Go quoted literal as a Python one; ``ValueError`` for escapes that Go lacks."""
    quote = text[0]
    at = 1
    while at < len(text) - 1:
        if text[at] == "\\":
            if text[at + 1] not in _ESCAPES and text[at + 1] != quote:
                raise ValueError(f"unknown escape \\{text[at + 1]}")
            at += 1
        at += 1
    return text[1:] if kind == "char" else text


def _number(text: str) -> int | float:
    clean = text.replace("_", "")
    sign = -1 if clean.startswith("-") else 1
    digits = clean.lstrip("+-").lower()
    if digits.startswith(("0x", "0b", "0o")) and "p" not in digits and "." not in digits:
        value = int(digits, 0)
    elif digits.startswith("0x"):
        return sign * float.fromhex(digits)
    elif digits.isdigit():
        value = int(digits, 8) if len(digits) > 1 and digits[0] == "0" else int(digits)
    else:
        real = float(digits)
        if real in (float("inf"),) or real != real:
            raise ValueError("not finite")
        return sign * real
    if value >= 1 << 64:
        raise OverflowError("integer overflow")
    return sign * value
