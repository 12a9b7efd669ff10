"""Go templates: outputs and error texts as Go 1.23 and the Docker CLI 28 give them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import Invalid
from wherry.wire.template import HEADER_FUNCTIONS, Missing, Template
from wherry.wire.template.gofmt import float_text, quote, sprintf

DATA: dict[str, Any] = {
    "Name": "default",
    "ID": "0123456789abcdef",
    "Count": 3,
    "Ratio": 0.5,
    "On": True,
    "Off": False,
    "Nothing": None,
    "Empty": [],
    "List": ["a", "b", "c"],
    "Labels": {"b": "2", "a": "1", "com.x": "dotted"},
    "State": {"Status": "running", "Health": None, "Log": [{"Code": 0}, {"Code": 7}]},
    "Label": lambda name: {"x": "y"}.get(name, ""),
}


def render(text: str, data: Any = DATA, **options: Any) -> str:
    return Template(text).render(data, **options)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain } text", "plain } text"),
        ("{{.Name}}", "default"),
        ("{{ .State.Status }}", "running"),
        ("{{$.State.Status}}", "running"),
        ("{{.Nope}} {{.Nope.Deeper}}", "<no value> <no value>"),
        ("{{.Nothing}} {{.On}} {{.Count}} {{.Ratio}}", "<nil> true 3 0.5"),
        ("{{.List}} {{.Labels}} {{.Empty}}", "[a b c] map[a:1 b:2 com.x:dotted] []"),
        ("{{.State.Log}}", "[map[Code:0] map[Code:7]]"),
        ("{{- .Name -}} x", "defaultx"),
        ("a {{- /* c */ -}} b", "ab"),
        ("{{/* c */}}ok", "ok"),
        ("{{.Name | }}", "default"),
        ("{{1e6}} {{1.5}} {{100000000.0}} {{1e21}} {{'a'}}", "1e+06 1.5 1e+08 1e+21 97"),
        ("{{0x1F}} {{0b11}} {{0o17}} {{017}} {{1_000}} {{-3}}", "31 3 15 15 1000 -3"),
        (r'{{"a\tb\"c"}}{{`r\n`}}', 'a\tb"cr\\n'),
        ('{{range $i,$e := split "a,b" ","}}{{$i}}{{$e}};{{else}}z{{end}}', "0a;1b;"),
        ("{{range .List}}{{.}}{{end}}{{range .Empty}}{{else}}none{{end}}", "abcnone"),
        ("{{range $k, $v := .Labels}}{{$k}}={{$v}} {{end}}", "a=1 b=2 com.x=dotted "),
        ("{{range .List}}{{$.Count}}{{end}}", "333"),
        ("{{range 3}}x{{end}}", "xxx"),
        ('{{range .List}}{{if eq . "b"}}{{continue}}{{end}}{{.}}{{end}}', "ac"),
        ('{{range .List}}{{if eq . "b"}}{{break}}{{end}}{{.}}{{end}}', "a"),
        ("{{if .On}}a{{else}}b{{end}}{{if .Off}}a{{else}}b{{end}}", "ab"),
        ("{{if .Off}}a{{else if .On}}b{{else}}c{{end}}", "b"),
        ("{{with .State}}{{.Status}}{{end}}{{with .Nope}}a{{else}}b{{end}}", "runningb"),
        ("{{with .Off}}a{{else with .Name}}{{.}}{{end}}", "default"),
        ("{{with $x := .Name}}{{$x}}{{end}}", "default"),
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{$x := 1}}{{if true}}{{$x := 2}}{{end}}{{$x}}", "1"),
        ('{{index .Labels "com.x"}}|{{index .Labels "none"}}|', "dotted||"),
        ('{{index .Nothing "x"}}|{{index .List 1}}', "|b"),
        ("{{(index .State.Log 1).Code}}", "7"),
        ('{{slice "abc" 1 2}} {{slice .List 1}}', "b [b c]"),
        ("{{len .List}} {{len .Labels}} {{len .Name}}", "3 3 7"),
        ("{{.Name | upper | printf `%q`}}", '"DEFAULT"'),
        ('{{print 1 2 "a" "b" 3}}|{{println "x" 1}}', "1 2ab3|x 1\n"),
        ('{{join (split "a b" " ") "-"}}|{{title "hello world"}}', "a-b|Hello World"),
        ('{{pad "x" 1 2}}|{{truncate "abcdef" 3}}|{{pad "" 1 1}}', " x  |abc|"),
        ('{{html "<a&\\"\'>"}}', "&lt;a&amp;&#34;&#39;&gt;"),
        ('{{js "<a=\\"\'>"}}', "\\u003Ca\\u003D\\\"\\'\\u003E"),
        ('{{urlquery "a b&c"}}', "a+b%26c"),
        ('{{not 1}} {{and 1 0}} {{or 0 "x"}} {{and .Off .Nope.x}}', "false 0 x false"),
        ('{{eq 1 1}}{{eq "a" "b" "a"}}{{ne 1 2}}{{lt 1 2}}{{le 2 2}}', "true" * 5),
        ('{{gt "b" "a"}}{{ge 2 3}}', "truefalse"),
        (
            "{{json .State.Log}} {{json .Nope}} {{json .Name}}",
            '[{"Code":0},{"Code":7}] null "default"',
        ),
        ('{{json "<&é\\u2028"}}', '"<&é\\u2028"'),
        ('{{.Label "x"}}{{.Label "z"}}{{"x" | .Label}}', "yy"),
        (
            "{{printf `%d` `x`}} {{printf `%s`}} {{printf `a` 1}}",
            "%!d(string=x) %!s(MISSING) a%!(EXTRA int=1)",
        ),
        ("{{print nil}}", "<nil>"),
    ],
)
def test_output(text: str, expected: str) -> None:
    assert render(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{.ID", ":1: unclosed action"),
        ("{{foo}}", ':1: function "foo" not defined'),
        ("{{if}}x{{end}}", ":1: missing value for if"),
        ("{{if .Name}}", ":1: unexpected EOF"),
        ("{{end}}", ":1: unexpected {{end}}"),
        ("{{else}}", ":1: unexpected {{else}}"),
        ("{{}}", ":1: missing value for command"),
        ("{{.Name}", ":1: bad character U+007D '}'"),
        ("\n{{$x}}", ':2: undefined variable "$x"'),
        ('{{"a}}', ":1: unterminated quoted string"),
        ("{{.Name #}}", ':1: unexpected "#" in operand'),
        ("{{ /* c */ }}", ':1: unexpected "/" in command'),
        ("{{1 | 2}}", ":1: non executable command in pipeline stage 2"),
        ("{{.Name)}}", ":1: unexpected right paren"),
        ("{{(.Name}}", ":1: unclosed left paren"),
        ("{{break}}", ":1: {{break}} outside {{range}}"),
        ("{{.Name.}}", ":1: unexpected <.> in operand"),
        ('{{"x".Name}}', r':1: unexpected . after term "\"x\""'),
        ("{{true.x}}", ':1: unexpected . after term "true"'),
        ("{{if true}}a{{else}}b{{else}}c{{end}}", ":1: expected end; found {{else}}"),
        (
            "{{.Name.Bar}}",
            ':1:7: executing "" at <.Name.Bar>: can\'t evaluate field Bar in type string',
        ),
        (
            '{{index .Name "x"}}',
            ':1:2: executing "" at <index .Name "x">: error calling index: '
            "cannot index slice/array with type string",
        ),
        ("{{lower 1}}", ':1:8: executing "" at <1>: expected string; found 1'),
        (
            "{{lower .Count}}",
            ':1:8: executing "" at <.Count>: wrong type for value; expected string; got int',
        ),
        (
            "\n {{eq 1 `a`}}",
            ':2:3: executing "" at <eq 1 `a`>: error calling eq: incompatible types for comparison',
        ),
        (
            '{{(index (split "a,b" ",") 5)}}',
            ':1:3: executing "" at <index (split "a,b" ",") 5>: error calling index: '
            "index out of range: 5",
        ),
        (
            "{{lower}}",
            ':1:2: executing "" at <lower>: wrong number of args for lower: want 1 got 0',
        ),
        ("{{nil}}", ':1:2: executing "" at <nil>: nil is not a command'),
        (
            "{{lt true false}}",
            ':1:2: executing "" at <lt true false>: error calling lt: invalid type for comparison',
        ),
        ("{{range true}}{{end}}", ':1:8: executing "" at <true>: range can\'t iterate over true'),
        (
            "{{.Nothing.X}}",
            ':1:10: executing "" at <.Nothing.X>: nil pointer evaluating interface {}.X',
        ),
    ],
)
def test_errors(text: str, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        render(text)
    assert caught.value.message == f"template parsing error: template: {message}"


def test_struct_roots_are_strict() -> None:
    row = {"Name": "x", "Labels": {}}
    with pytest.raises(Invalid) as caught:
        render("{{.Foo}}", row, struct="*formatter.ContainerContext")
    assert caught.value.message == (
        'template parsing error: template: :1:2: executing "" at <.Foo>: '
        "can't evaluate field Foo in type *formatter.ContainerContext"
    )
    with pytest.raises(Invalid, match="wrong number of args for Name: want 0 got 1"):
        render('{{.Name "x"}}', row, struct="T")
    assert render("{{.Labels.x}}", row, struct="T") == "<no value>"


def test_missing_keys_may_be_errors() -> None:
    with pytest.raises(Invalid, match='map has no entry for key "Foo"'):
        render("{{.Foo}}", missing=Missing.ERROR)


def test_heading_functions() -> None:
    shown = render(
        "{{truncate .Name 2}} {{.Label `x`}}",
        {"Name": "NAME", "Label": lambda n: n},
        functions=HEADER_FUNCTIONS,
    )
    assert shown == "NAME x"


def test_name_in_messages() -> None:
    with pytest.raises(Invalid, match="template: log-tag:1: unclosed action"):
        Template("{{", "log-tag")


def test_methods_are_no_data() -> None:
    assert render("{{json .}}{{.}}", {"a": 1, "m": lambda: 1}) == '{"a":1}map[a:1]'


@pytest.mark.parametrize(
    ("pattern", "values", "expected"),
    [
        (
            "%5.2f|%-5s|%05d|%q|%x|%T",
            [1.0, "a", 3, "b\n", "hi", 1],
            ' 1.00|a    |00003|"b\\n"|6869|int',
        ),
        ("%v %v", [1.0, 3.5e-7], "1 3.5e-07"),
        ("%+d %x %X %o %b %c %U", [5, 255, 255, 8, 5, 65, 65], "+5 ff FF 10 101 A U+0041"),
        ("%*d|%-*d|", [5, 1, 3, 2], "    1|2  |"),
        ("%t %5t", [True, False], "true false"),
        ("%s %d", [["a", "b"], [1, 2]], "[a b] [1 2]"),
        ("%#v %v", ["x", {"b": 1, "a": None}], '"x" map[a:<nil> b:1]'),
        ("%.2s %%", ["abc"], "ab %"),
        ("%z %d", [1, None], "%!z(int=1) %!d(<nil>)"),
        ("%", [], "%!(NOVERB)"),
        ("%06.2f %e %g", [-1.5, 1234.5, 1e10], "-01.50 1.234500e+03 1e+10"),
    ],
)
def test_printf(pattern: str, values: list[Any], expected: str) -> None:
    assert sprintf(pattern, values) == expected


def test_numbers_and_quotes() -> None:
    shown = [float_text(n) for n in (0.0, 1.0, 123456.5, 1234567.0, 1e-4, 1e-5, -2.5)]
    assert shown == ["0", "1", "123456.5", "1.234567e+06", "0.0001", "1e-05", "-2.5"]
    assert quote('a"\\\x01\x7f\u200b') == '"a\\"\\\\\\x01\\x7f\\u200b"'


_WORDS = (
    "{{ }} {{- -}} . .Name .List $ $x := = | ( ) , if else end range with index printf json len eq "
    'and or 1 - 0x 1e \'a\' "s" " ` /* */ nil true é % slice'
)
_PIECES = st.sampled_from([" ", "\n", *_WORDS.split()])


def _value_or_invalid(text: str) -> str:
    try:
        return render(text)
    except Invalid as error:
        return error.message.removeprefix("template parsing error: template: :")


@given(st.lists(_PIECES, max_size=14).map("".join))
def test_value_or_invalid(text: str) -> None:
    assert isinstance(_value_or_invalid(text), str)


@given(st.lists(_PIECES, max_size=8).map(" ".join))
def test_action_value_or_invalid(inner: str) -> None:
    assert isinstance(_value_or_invalid("{{" + inner + "}}"), str)


@given(
    st.text(max_size=30),
    st.lists(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=3)
        | st.lists(st.integers()),
        max_size=3,
    ),
)
def test_printf_never_fails(pattern: str, values: list[Any]) -> None:
    assert isinstance(sprintf("%" + pattern, values), str)


@given(st.text().filter(lambda text: "{{" not in text))
def test_text_is_kept(text: str) -> None:
    assert render(text) == text
