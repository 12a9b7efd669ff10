"""Walking a template's tree over data (rules of Go's ``text/template`` execution)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from wherry.errors import Invalid
from wherry.wire.template import parser as tree
from wherry.wire.template.functions import (
    FUNCTIONS,
    LAZY,
    NAMES,
    NO_VALUE,
    CallError,
    Function,
    WrongType,
    truth,
)
from wherry.wire.template.gofmt import go_type, sorted_keys, text_of
from wherry.wire.template.lexer import TemplateError

_NOTHING: Any = object()
_OUTPUT_LIMIT = 1 << 26
_RANGE_LIMIT = 1 << 20


class Missing(Enum):
    """What an unknown key of a map does: print ``<no value>``, or fail (``missingkey=error``)."""

    NO_VALUE = "no value"
    ERROR = "error"


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


class Template:
    """A compiled template. ``name`` is what error messages call it (Docker: empty).

    Raises ``Invalid``: "template parsing error: template: :1: ...".
    """

    def __init__(self, text: str, name: str = "") -> None:
        self.text = text
        self.name = name
        try:
            self._nodes = tree.parse(text, NAMES)
        except TemplateError as error:
            line = 1 + text.count("\n", 0, error.pos)
            raise Invalid(
                f"template parsing error: template: {name}:{line}: {error.message}"
            ) from error

    def render(
        self,
        data: Any,
        *,
        struct: str | None = None,
        missing: Missing = Missing.NO_VALUE,
        functions: Mapping[str, Function] | None = None,
    ) -> str:
        """Run over ``data``.

        ``struct``: the Go type name of the root; given, the root behaves as a struct and a field
        that it lacks is an error ("can't evaluate field X in type T"). A value that is callable
        is a method: ``{{.Label "x"}}``. ``functions`` replaces functions of the same names.
        """
        walker = _Walker(self, data, struct, missing, {**FUNCTIONS, **(functions or {})})
        try:
            walker.walk(self._nodes, data)
        except RecursionError as error:
            raise Invalid("template parsing error: exceeded maximum template depth") from error
        return "".join(walker.out)


class _Walker:
    def __init__(
        self,
        template: Template,
        root: Any,
        struct: str | None,
        missing: Missing,
        functions: Mapping[str, Function],
    ) -> None:
        self._template = template
        self._root = root
        self._struct = struct
        self._missing = missing
        self._functions = functions
        self._variables: list[tuple[str, Any]] = [("$", root)]
        self.out: list[str] = []
        self._size = 0

    def _fail(self, node: tree.Node, message: str) -> Invalid:
        before = self._template.text[: node.pos]
        line = 1 + before.count("\n")
        column = len(before.rpartition("\n")[2].encode())
        name = self._template.name
        return Invalid(
            f"template parsing error: template: {name}:{line}:{column}: "
            f'executing "{name}" at <{node.text}>: {message}'
        )

    def _write(self, text: str, node: tree.Node) -> None:
        self._size += len(text)
        if self._size > _OUTPUT_LIMIT:
            raise self._fail(node, "output too large")
        self.out.append(text)

    def walk(self, nodes: Sequence[tree.Node], dot: Any) -> None:
        for node in nodes:
            if isinstance(node, tree.Text):
                self._write(node.text, node)
            elif isinstance(node, tree.Action):
                value = self._pipe(dot, node.pipe)
                if not node.pipe.declared:
                    self._write("<no value>" if value is NO_VALUE else text_of(value), node)
            elif isinstance(node, tree.Branch):
                mark = len(self._variables)
                self._branch(node, dot)
                del self._variables[mark:]
            elif isinstance(node, tree.Break):
                raise _Break
            elif isinstance(node, tree.Continue):
                raise _Continue

    def _branch(self, node: tree.Branch, dot: Any) -> None:
        if node.kind == "range":
            self._range(node, dot)
            return
        value = self._pipe(dot, node.pipe)
        if not truth(value):
            self.walk(node.otherwise, dot)
        else:
            self.walk(node.body, value if node.kind == "with" else dot)

    def _range(self, node: tree.Branch, dot: Any) -> None:
        mark = len(self._variables)
        value = self._pipe(dot, node.pipe)
        pairs = self._pairs(node, value)
        if not pairs:
            self.walk(node.otherwise, dot)
            return
        names = node.pipe.declared
        try:
            for key, element in pairs:
                self._loop_variables(names, node.pipe.assign, key, element, mark)
                inner = len(self._variables)
                try:
                    self.walk(node.body, element)
                except _Continue:
                    pass
                del self._variables[inner:]
        except _Break:
            pass

    def _loop_variables(
        self, names: Sequence[str], assign: bool, key: Any, element: Any, mark: int
    ) -> None:
        values = (element,) if len(names) == 1 else (key, element)
        if assign:
            for name, value in zip(names, values, strict=False):
                self._assign(name, value)
            return
        del self._variables[mark:]
        self._variables += zip(names, values, strict=False)

    def _pairs(self, node: tree.Branch, value: Any) -> list[tuple[Any, Any]]:
        if value is None or value is NO_VALUE:
            return []
        if isinstance(value, dict):
            return [(key, value[key]) for key in sorted_keys(value)]
        if isinstance(value, list | tuple):
            return list(enumerate(value))
        if isinstance(value, int) and not isinstance(value, bool):
            if value > _RANGE_LIMIT:
                raise self._fail(node.pipe, f"range of {value} is too long")
            return [(number, number) for number in range(value)]
        raise self._fail(node.pipe, f"range can't iterate over {text_of(value)}")

    def _assign(self, name: str, value: Any) -> None:
        for at in range(len(self._variables) - 1, -1, -1):
            if self._variables[at][0] == name:
                self._variables[at] = (name, value)
                return

    def _pipe(self, dot: Any, pipe: tree.Pipe) -> Any:
        value = _NOTHING
        for command in pipe.commands:
            value = self._command(dot, command, value)
        if len(pipe.declared) == 1:
            if pipe.assign:
                self._assign(pipe.declared[0], value)
            else:
                self._variables.append((pipe.declared[0], value))
        return value

    def _command(self, dot: Any, command: tree.Command, final: Any) -> Any:
        first = command.args[0]
        if isinstance(first, tree.Identifier):
            return self._function(dot, command, first.text, final)
        if isinstance(first, tree.Field | tree.Variable | tree.Chain):
            return self._fields_of(dot, first, command.args[1:], final)
        if len(command.args) > 1 or final is not _NOTHING:
            raise self._fail(first, f"can't give argument to non-function {first.text}")
        if isinstance(first, tree.Nil):
            raise self._fail(first, "nil is not a command")
        return self._argument(dot, first)

    def _argument(self, dot: Any, node: tree.Node) -> Any:
        if isinstance(node, tree.Literal):
            return node.value
        if isinstance(node, tree.Dot):
            return dot
        if isinstance(node, tree.Pipe):
            return self._pipe(dot, node)
        if isinstance(node, tree.Field | tree.Variable | tree.Chain):
            return self._fields_of(dot, node, (), _NOTHING)
        if isinstance(node, tree.Identifier):
            return self._function(
                dot, tree.Command(node.pos, node.text, (node,)), node.text, _NOTHING
            )
        return None

    def _fields_of(
        self,
        dot: Any,
        node: tree.Field | tree.Variable | tree.Chain,
        args: Sequence[tree.Node],
        final: Any,
    ) -> Any:
        if isinstance(node, tree.Field):
            value = dot
        elif isinstance(node, tree.Variable):
            known = (each for name, each in reversed(self._variables) if name == node.name)
            value = next(known, _NOTHING)
            if value is _NOTHING:  # {{$x := $x}} parses, in Go as well
                raise self._fail(node, f"undefined variable: {node.name}")
        else:
            value = self._argument(dot, node.base)
        if not node.names and (args or final is not _NOTHING):
            raise self._fail(node, f"can't give argument to non-function {node.text}")
        for number, name in enumerate(node.names):
            last = number == len(node.names) - 1
            value = self._field(node, value, name)
            given = args if last else ()
            tail = final if last else _NOTHING
            if callable(value):
                value = self._method(dot, node, value, name, given, tail)
            elif given or tail is not _NOTHING:
                raise self._fail(
                    node, self._not_a_method(name, len(given) + (tail is not _NOTHING))
                )
        return value

    def _not_a_method(self, name: str, got: int) -> str:
        if self._struct is not None:
            return f"wrong number of args for {name}: want 0 got {got}"
        return f"{name} is not a method but has arguments"

    def _method(
        self, dot: Any, node: tree.Node, method: Any, name: str, args: Sequence[Any], final: Any
    ) -> Any:
        values = [self._argument(dot, each) for each in args]
        if final is not _NOTHING:
            values.append(final)
        try:
            return method(*values)
        except TypeError as error:
            raise self._fail(node, f"wrong number of args for {name}: got {len(values)}") from error
        except CallError as error:
            raise self._fail(node, f"error calling {name}: {error}") from error

    def _field(self, node: tree.Node, value: Any, name: str) -> Any:
        if isinstance(value, dict):
            if name in value:
                return value[name]
            if self._struct is not None and value is self._root:
                raise self._fail(node, f"can't evaluate field {name} in type {self._struct}")
            if self._missing is Missing.ERROR:
                raise self._fail(node, f'map has no entry for key "{name}"')
            return NO_VALUE
        if value is NO_VALUE:
            return NO_VALUE
        if value is None:
            raise self._fail(node, f"nil pointer evaluating interface {{}}.{name}")
        raise self._fail(node, f"can't evaluate field {name} in type {go_type(value)}")

    def _function(self, dot: Any, command: tree.Command, name: str, final: Any) -> Any:
        args = command.args[1:]
        if name in LAZY:
            return self._lazy(dot, command, name, final)
        values = [self._argument(dot, each) for each in args]
        if final is not _NOTHING:
            values.append(final)
        function = self._functions[name]
        self._count(command, name, len(values), function)
        try:
            return function.call(*values)
        except WrongType as error:
            raise self._wrong_type(command, args, values, error) from error
        except CallError as error:
            raise self._fail(command, f"error calling {name}: {error}") from error

    def _wrong_type(
        self,
        command: tree.Command,
        args: Sequence[tree.Node],
        values: Sequence[Any],
        error: WrongType,
    ) -> Invalid:
        for node, value in zip(args, values, strict=False):
            if value is error.value:
                if isinstance(node, tree.Literal):
                    return self._fail(node, f"expected {error.expected}; found {node.text}")
                return self._fail(node, str(error))
        return self._fail(command, str(error))

    def _count(self, command: tree.Node, name: str, got: int, function: Function) -> None:
        if got < function.least:
            least = "at least " if function.most is None else ""
            message = f"wrong number of args for {name}: want {least}{function.least} got {got}"
            raise self._fail(command, message)
        if function.most is not None and got > function.most:
            message = f"wrong number of args for {name}: want {function.most} got {got}"
            raise self._fail(command, message)

    def _lazy(self, dot: Any, command: tree.Command, name: str, final: Any) -> Any:
        args = command.args[1:]
        if not args and final is _NOTHING:
            raise self._fail(command, f"wrong number of args for {name}: want at least 1 got 0")
        value: Any = _NOTHING
        for each in args:
            value = self._argument(dot, each)
            if truth(value) is (name == "or"):
                return value
        return value if final is _NOTHING else final
