"""Prompts as a model's token ids, the same for every side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slipstream.apps.bench.prompt_files import Prompt
from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.errors import OptionError
from slipstream.runtime.models import read_model_config
from slipstream.runtime.tokenizer import ChatTemplate, Tokenizer

# Of no benchmark: drafters learn from it, so it must not be asked again.
_WARM_UP = Prompt(
    category="",
    message="Write a short story about a lighthouse keeper.",
    text="The lighthouse keeper climbed the stairs and",
    place="the prompt that warms up",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedPrompts:
    """What a model is asked.

    warm_up    : a prompt whose answer does not count
    tokens     : of each prompt
    categories : of each prompt
    end_ids    : tokens that end an answer
    """

    warm_up: list[int]
    tokens: list[list[int]]
    categories: list[str]
    end_ids: frozenset[int]

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt."""
        return max(map(len, [self.warm_up, *self.tokens]))


def encode_prompts(path: Path, prompts: Sequence[Prompt], decode_tokens: int) -> EncodedPrompts:
    """Prompts as messages where the model has a chat template, else as text that it continues.

    Raises OptionError when one does not fit in the model's context with `decode_tokens` after its
    answer's first, CheckpointError and ChatTemplateError as `LLM` does.
    """
    with ModelFile.open(path) as file:
        context = read_model_config(file).context_length
        tokenizer = Tokenizer.from_metadata(file.metadata, path=file.path)
        template = ChatTemplate.from_metadata(file.metadata, tokenizer)
    encoded = []
    for prompt in (_WARM_UP, *prompts):
        tokens = _encode(prompt, tokenizer, template)
        if len(tokens) + decode_tokens + 1 > context:
            raise OptionError(
                f"{prompt.place} has {len(tokens):,} tokens; with {decode_tokens + 1:,} more they "
                f"don't fit in the {context:,} that {path.name} was trained for; lower --decode or "
                "remove the line"
            )
        encoded.append(tokens)
    return EncodedPrompts(
        warm_up=encoded[0],
        tokens=encoded[1:],
        categories=[prompt.category for prompt in prompts],
        end_ids=frozenset(tokenizer.end_ids),
    )


def _encode(prompt: Prompt, tokenizer: Tokenizer, template: ChatTemplate | None) -> list[int]:
    if template is None:
        return tokenizer.encode(prompt.text)
    return template.encode([{"role": "user", "content": prompt.message}], tokenizer)
