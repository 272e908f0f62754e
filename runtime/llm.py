"""The one class that a user needs: a model that completes prompts and chats."""

import operator
import os
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from slipstream.offload.plan import Plan
from slipstream.runtime.completion import Completion
from slipstream.runtime.engine import Engine, Generation, Scoring, TokenStream
from slipstream.runtime.errors import ChatTemplateError, PromptError
from slipstream.runtime.load_progress import terminal_progress
from slipstream.runtime.loading import Loaded, load
from slipstream.runtime.loading_steps import Progress
from slipstream.runtime.models import ModelConfig
from slipstream.runtime.options import Options
from slipstream.runtime.sampling import SamplingOptions
from slipstream.runtime.session import Session
from slipstream.runtime.tokenizer import ChatTemplate, Tokenizer

_FORGOTTEN_WAIT_S = 5.0  # for the step under way when an LLM goes without having been closed


class LLM:
    """A language model in this process. Thread-safe: concurrent callers share one engine.

    with LLM("smollm2-135m") as llm:
        for piece in llm.stream("Why is the sky blue?", max_tokens=128):
            print(piece.text, end="")
    """

    def __init__(
        self,
        model: str | Path,
        *,
        draft: str | Path | None = None,
        threads: int | None = None,
        vram_bytes: int | None = None,
        context: int | None = None,
        kv: str = "auto",
        speculate: str = "auto",
        acceptance: str = "match",
        strict: bool = False,
        seed: int | None = None,
    ) -> None:
        """Load a model: a catalogue name, a path, or hf:org/repo:file.gguf.

        threads   : None takes one for each performance core
        context   : tokens that prompt and answer may have together; None takes what the model was
                    trained for, if it fits in memory
        kv        : how keys and values are stored: "f16"; "q8_0" for half the memory, and faster
                    in long contexts; "q4_0" for about a quarter, which is less accurate and
                    refused for models with biases on keys; "auto" is f16
        speculate : what guesses at tokens that a step then verifies together: "off", or some of
                    "ngram" (how the text went on before), "recycling" (what the model found likely
                    before), "model" and "dovetail" (see draft) joined by +; "auto" is all that
                    there are. The text is the same with any (but see acceptance), and no step is
                    spent on guesses that do not pay
        draft     : a smaller model with the same vocabulary, named like `model`, or the
                    .safetensors file of a Dovetail draft that was trained for it; "auto" takes the
                    catalogue's model for this one, if it is here and small enough to pay
        acceptance: how sampled drafts of a draft model are verified: "match" samples as without
                    drafts, so a seed has one text; "rejection" and "spectr" let the draft model
                    draw too and accept more of it, with the same distribution of texts
        seed      : of every request that names none; None draws a new one for each
        vram_bytes: of a GPU's memory to use at most, and then a GPU has to be there; None and 0
                    leave it alone
        strict    : when the GPU has less free memory than planned, raise MemoryBudgetError; else a
                    smaller plan is made, and a warning logged
        Raises CatalogueError when a model is not on this machine, CheckpointError when its file is
        damaged, UnsupportedError when it needs something that is not implemented, OptionError, and
        MemoryBudgetError before loading what would not fit.
        """
        options = Options(
            draft=str(draft) if isinstance(draft, Path) else draft,
            threads=threads,
            vram_bytes=vram_bytes,
            context=context,
            kv=kv,
            speculate=speculate,
            acceptance=acceptance,
            strict=strict,
            seed=seed,
        )
        self._start(load(model, options, progress=terminal_progress()), options)

    @classmethod
    def open(
        cls,
        model: str | Path,
        options: Options,
        *,
        progress: Progress | None = None,
        backend: str = "auto",
        draft_backend: str | None = None,
    ) -> Self:
        """As `LLM(...)`, for programs that show progress or choose the backend themselves.

        progress      : called with (stage, done, total) while kernels compile and weights load
        draft_backend : of the model that drafts; None for the same one
        """
        llm = cls.__new__(cls)
        loaded = load(
            model,
            options,
            backend_name=backend,
            draft_backend_name=draft_backend,
            progress=progress,
        )
        llm._start(loaded, options)
        return llm

    def _start(self, loaded: Loaded, options: Options) -> None:
        self._loaded = loaded
        self._seed = options.seed
        # The collector may run this anywhere, even in another engine's step: not to wait for good.
        self._finalizer = weakref.finalize(self, loaded.engine.close, _FORGOTTEN_WAIT_S)

    def generate(self, prompt: str | Sequence[int], **sampling: Any) -> Completion:
        """Complete a prompt. Sampling options: see `SamplingOptions`; temperature=0 is greedy.

        Raises PromptError for a prompt that is empty or longer than the context, OptionError.
        """
        tokens = self._prompt_tokens(prompt)
        options = SamplingOptions.from_user(**sampling)
        return self._submit(tokens, options, in_pieces=False).completion

    def stream(self, prompt: str | Sequence[int], **sampling: Any) -> TokenStream:
        """Complete a prompt, text or token ids, piece by piece; `.completion` has the whole."""
        return self._submit(self._prompt_tokens(prompt), SamplingOptions.from_user(**sampling))

    def chat(self, messages: Sequence[Mapping[str, Any]], **sampling: Any) -> Completion:
        """Answer a conversation: messages with "role" and "content".

        Raises ChatTemplateError when the model has no chat template or it refuses the messages.
        """
        options = SamplingOptions.from_user(**sampling)
        return self._submit(self.chat_tokens(messages), options, in_pieces=False).completion

    def chat_stream(self, messages: Sequence[Mapping[str, Any]], **sampling: Any) -> TokenStream:
        """Answer a conversation piece by piece."""
        options = SamplingOptions.from_user(**sampling)
        return self._submit(self.chat_tokens(messages), options)

    def chat_tokens(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """The prompt that the chat template makes of a conversation."""
        if self.chat_template is None:
            raise ChatTemplateError(
                f"{self.config.name} has no chat template: it completes plain text; "
                "use `generate` or `stream`"
            )
        return self.chat_template.encode(messages, self.tokenizer)

    def session(self, system: str | None = None) -> Session:
        """A conversation that remembers its messages."""
        return Session(self, system)

    def tokenize(
        self, text: str, *, add_special: bool = True, parse_special: bool = False
    ) -> list[int]:
        """Token ids of a text, with the tokens that the model wants at its beginning."""
        return self.tokenizer.encode(text, add_special=add_special, parse_special=parse_special)

    def detokenize(self, ids: Iterable[int], *, skip_special: bool = True) -> str:
        """The text of token ids."""
        return self.tokenizer.decode(ids, skip_special=skip_special)

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        """What the model expects after each token: (T, V) float32.

        Raises PromptError for no tokens, more than the context, or what is no token id.
        """
        tokens = self._checked_ids(ids)
        self._check_length(tokens, self.plan.context)
        job = Scoring(tokens)
        self._loaded.engine.submit(job)
        return job.result()

    @property
    def plan(self) -> Plan:
        """What runs where, its cost, and why."""
        return self._loaded.plan

    @property
    def engine(self) -> Engine:
        """What runs the requests, for programs with jobs of their own."""
        return self._loaded.engine

    @property
    def config(self) -> ModelConfig:
        return self._loaded.config

    @property
    def path(self) -> Path:
        return self._loaded.path

    @property
    def tokenizer(self) -> Tokenizer:
        return self._loaded.tokenizer

    @property
    def chat_template(self) -> ChatTemplate | None:
        """None for a model that completes plain text."""
        return self._loaded.chat_template

    def close(self) -> None:
        """Stop running generations and let go of the model. Safe to call twice."""
        self._loaded.close()
        self._finalizer.detach()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prompt_tokens(self, prompt: str | Sequence[int]) -> list[int]:
        if isinstance(prompt, str):
            return self.tokenizer.encode(prompt, parse_special=True)
        return self._checked_ids(prompt)

    def _submit(
        self, tokens: list[int], options: SamplingOptions, *, in_pieces: bool = True
    ) -> TokenStream:
        context = self.plan.context
        self._check_length(tokens, context - 1)
        limit = context if options.max_tokens is None else len(tokens) + options.max_tokens
        seed = self._seed if options.seed is None else options.seed
        if seed is None:
            seed = int.from_bytes(os.urandom(4), "little")
        sampler, speculator = self._loaded.speculation.request(options, seed)
        generation = Generation(
            tokens,
            sampler,
            self.tokenizer,
            max_length=min(context, limit),
            load_s=self._loaded.load_s,
            in_pieces=in_pieces,
            speculator=speculator,
            vram_bytes=self._loaded.vram_bytes,
        )
        self._loaded.engine.submit(generation)
        return TokenStream(generation, owner=self)

    def _check_length(self, tokens: list[int], limit: int) -> None:
        if not tokens:
            raise PromptError("the prompt is empty; expected at least one token")
        if len(tokens) > limit:
            raise PromptError(
                f"the prompt has {len(tokens)} tokens, but at most {limit} fit in the context of "
                f"{self.plan.context}; shorten it or load the model with a larger context "
                f"(trained for {self.config.context_length})"
            )

    def _checked_ids(self, ids: Sequence[int]) -> list[int]:
        try:
            if isinstance(ids, bytes | bytearray | memoryview):
                raise TypeError(f"got {type(ids).__name__}, which has to be decoded to a str first")
            tokens = [operator.index(each) for each in ids]
        except TypeError as error:
            raise PromptError(
                f"expected a text or token ids, a sequence of whole numbers: {error}"
            ) from None
        wrong = next((each for each in tokens if not 0 <= each < self.config.vocab_size), None)
        if wrong is not None:
            raise PromptError(
                f"token id {wrong} is not in the vocabulary, which has ids 0 to "
                f"{self.config.vocab_size - 1}"
            )
        return tokens
