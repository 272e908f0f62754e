"""Conversations to prompts, by the template that comes with a model file."""

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from slipstream.runtime.errors import ChatTemplateError, CheckpointError
from slipstream.runtime.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    from jinja2 import Template

    from slipstream.runtime.tokenizer.template_sandbox import TemplateSandbox

_MAX_SOURCE_CHARACTERS = 1 << 18  # the longest published ones have about 20,000


class ChatTemplate:
    """A Jinja template over messages. Safe to share between threads.

    source : the template as it is in the file
    """

    def __init__(self, source: str, *, bos_token: str | None, eos_token: str | None) -> None:
        """bos_token, eos_token : texts of these tokens, None where the vocabulary has none"""
        self.source = source
        tokens = {"bos_token": bos_token, "eos_token": eos_token}
        self._tokens = {name: text for name, text in tokens.items() if text is not None}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any], tokenizer: Tokenizer) -> Self | None:
        """The template of a model file, None if it has none.

        Raises CheckpointError when it is not text. Whether it is valid shows when it is rendered,
        since such a model can still complete plain text.
        """
        source = metadata.get("tokenizer.chat_template")
        if source is None or source == "":
            return None
        if not isinstance(source, str):
            raise CheckpointError(
                "metadata key 'tokenizer.chat_template' should be a text, got "
                f"{type(source).__name__}; the file is damaged"
            )

        def text(token_id: int | None) -> str | None:
            return None if token_id is None else tokenizer.decode([token_id], skip_special=False)

        return cls(source, bos_token=text(tokenizer.bos_id), eos_token=text(tokenizer.eos_id))

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = True,
        **variables: Any,
    ) -> str:
        """The prompt for a conversation.

        messages              : each with a "role", and "content" or "tool_calls"
        add_generation_prompt : end with the beginning of an answer
        variables             : more of what the template reads, such as tools or documents

        Encode it with add_special=False, parse_special=True: it holds the special tokens' texts.
        Raises ChatTemplateError for messages that are no conversation, and for a template that is
        invalid, refuses the messages or does too much.
        """
        try:
            values = {"tools": None, "documents": None} | self._tokens | _plain(variables)
            values["messages"] = _copied(messages)
            values["add_generation_prompt"] = add_generation_prompt
            return self._sandbox.render(self._template, values)
        except ChatTemplateError:
            raise
        except RecursionError:
            raise ChatTemplateError("the chat template or a message is nested too deep") from None
        except Exception as error:  # a template can raise whatever Python can
            raise ChatTemplateError(
                f"the chat template fails for these messages: {type(error).__name__}: {error}"
            ) from error

    def encode(self, messages: Sequence[Mapping[str, Any]], tokenizer: Tokenizer) -> list[int]:
        """The prompt for a conversation in token ids. Raises as `render` does."""
        tokens = tokenizer.encode(self.render(messages), add_special=False, parse_special=True)
        bos = tokenizer.bos_id
        if tokenizer.adds_bos and bos is not None and tokens[:1] != [bos]:
            tokens.insert(0, bos)  # most templates write it themselves
        return tokens

    @functools.cached_property
    def _sandbox(self) -> "TemplateSandbox":
        # Imported for the first conversation: Jinja takes 3 MB that a plain text does not need.
        from slipstream.runtime.tokenizer.template_sandbox import TemplateSandbox

        return TemplateSandbox()

    @functools.cached_property
    def _template(self) -> "Template":
        from jinja2 import TemplateError

        if len(self.source) > _MAX_SOURCE_CHARACTERS:
            raise ChatTemplateError(
                f"the chat template has {len(self.source):,} characters; expected at most "
                f"{_MAX_SOURCE_CHARACTERS:,}"
            )
        try:
            return self._sandbox.prepare(self.source)
        except (TemplateError, SyntaxError, ValueError) as error:
            raise ChatTemplateError(
                f"the chat template of this model is invalid: {error}"
            ) from error


def _copied(messages: object) -> list[Any]:
    """Checked copies of the messages, in plain lists and dictionaries."""
    if not isinstance(messages, Sequence) or isinstance(messages, str | bytes):
        raise ChatTemplateError(
            f"messages should be a list of messages, got {type(messages).__name__}"
        )
    if not messages:
        raise ChatTemplateError("there are no messages; expected at least one")
    for index, message in enumerate(messages):
        problem = _problem(message)
        if problem:
            raise ChatTemplateError(
                f"message {index} {problem}; expected something like "
                '{"role": "user", "content": "Hello"}'
            )
    return [_plain(message) for message in messages]


def _problem(message: object) -> str | None:
    """What keeps an object from being a message."""
    if not isinstance(message, Mapping):
        return f"is not a mapping but {type(message).__name__}"
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or not role:
        return f'has no "role" that is a text: {role!r}'
    if content is None and message.get("tool_calls"):
        return None
    if not isinstance(content, str | list | tuple):
        return f'has no "content" that is a text or a list of parts: {content!r}'
    return None


def _plain(value: Any) -> Any:
    """A copy that shares no list or mapping with the caller's."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
