"""A Jinja environment for chat templates, which come with model files and may be hostile.

Jinja's sandbox keeps a template from Python's internals. This adds budgets, so that one can't run
for ever or fill the memory: steps (a turn of a loop, the start of a macro, a call, a filter, an
operator), seconds, and characters of all the texts made. They are counted between steps and, where
a step could be huge, estimated before it; within its budgets a template may still take some
seconds and about a gigabyte.
"""

import functools
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import Template, nodes
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from slipstream.runtime.errors import ChatTemplateError
from slipstream.runtime.tokenizer import template_limits as limits

# They pad a text, or a list, to any length that they are told.
_PADDING_METHODS = frozenset({"center", "expandtabs", "ljust", "rjust", "zfill"})
_PADDING_FILTERS = frozenset({"batch", "center", "slice", "urlize", "wordwrap", "xmlattr"})


class TemplateSandbox(ImmutableSandboxedEnvironment):
    """The environment that chat templates are written for: Jinja as transformers sets it up."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=_printed,
            extensions=[LoopControlExtension, _GenerationMarks],
        )
        del self.globals["lipsum"]
        self.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
        self.filters["tojson"] = _tojson
        self.filters = {
            name: _limited(function)
            for name, function in self.filters.items()
            if name not in _PADDING_FILTERS
        }

    def prepare(self, source: str) -> Template:
        """Compile a template, with its steps counted. Raises Jinja's errors."""
        with limits.budget():  # compiling computes what is constant
            tree = _CountingTree().visit(self.parse(source))
            tree.set_environment(self)
            return self.from_string(tree)

    def render(self, template: Template, variables: dict[str, Any]) -> str:
        """Render a prepared template.

        Raises ChatTemplateError when it uses up a budget, and whatever the template itself raises.
        """
        with limits.budget():
            return self.concat(template.generate(variables))

    def concat(self, parts: Iterable[str]) -> str:
        """Join what a template or a block of it printed."""
        return "".join(limits.made_each(parts))

    def joined(self, *values: object) -> str:
        """What the operator ~ makes."""
        limits.check_printed(*values)
        return self.concat(map(str, values))

    @property
    def step(self) -> None:
        """Counts a turn of a loop or the start of a macro where a template reads it."""
        limits.step()

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Whether a template may use an attribute."""
        if isinstance(obj, str) and attr in _PADDING_METHODS:
            return False
        return super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """An intercepted operator, if its result stays small."""
        limits.step()
        limits.check_operands(operator, left, right)
        return limits.made(super().call_binop(context, operator, left, right))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """A call that the template makes, if its result stays small."""
        limits.step()
        method = getattr(__obj, "__wrapped__", __obj)
        text = getattr(method, "__self__", None)
        if isinstance(text, str):
            limits.check_method(method.__name__, text, args)
        return limits.made(super().call(__context, __obj, *args, **kwargs))


def _limited(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that counts as a step, if its result stays small."""
    name = function.__name__.removeprefix("do_")
    num_passed = 1 if hasattr(function, "jinja_pass_arg") else 0

    @functools.wraps(function)  # keeps the mark of a filter that is passed the environment
    def limited(*args: Any, **kwargs: Any) -> Any:
        limits.step()
        limits.check_filter(name, args[num_passed:], kwargs)
        result = function(*args, **kwargs)
        # A list, unlike an iterator, can be measured before it is joined.
        return limits.made(list(result) if isinstance(result, Iterator) else result)

    return limited


class _CountingTree(NodeTransformer):
    """Counts the steps of a parsed template, and bounds what the operator ~ makes."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        return self._count(node)

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:  # noqa: N802
        return self._count(node)

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:  # noqa: N802
        return self._count(node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        joined = nodes.EnvironmentAttribute("joined", lineno=node.lineno)
        return nodes.Call(joined, node.nodes, [], None, None, lineno=node.lineno)

    def _count(self, node: nodes.For | nodes.Macro | nodes.CallBlock) -> nodes.Node:
        self.generic_visit(node)
        step = nodes.EnvironmentAttribute("step", lineno=node.lineno)
        node.body.insert(0, nodes.ExprStmt(step, lineno=node.lineno))
        return node


class _GenerationMarks(Extension):
    """{% generation %} marks what a model is trained to say; here its body stands for itself."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))


def _printed(value: object) -> object:
    """A value that is about to be printed."""
    limits.check_printed(value)
    return value


def _raise_exception(message: object) -> NoReturn:
    raise ChatTemplateError(f"the chat template refuses the conversation: {message}")


def _strftime_now(pattern: str) -> str:
    return datetime.now().strftime(pattern)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as models were trained on: Jinja's own filter would escape <, > and &."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )
