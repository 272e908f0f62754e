"""Who answers the prompts: ours without and with drafts, and llama.cpp likewise."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from slipstream.apps.bench.llama_cpp_answers import LlamaCppAnswers
from slipstream.apps.bench.llama_cpp_drafts import (
    Drafts,
    LlamaCppDraftModel,
    no_drafts,
    prompt_lookup,
)
from slipstream.apps.bench.slipstream_side import SlipstreamSide
from slipstream.apps.bench.speculation import Answer, AnsweringSide
from slipstream.apps.bench.workload import Workload
from slipstream.runtime.checkpoint import ModelFile
from slipstream.runtime.draft_choice import chosen_draft
from slipstream.runtime.llm import LLM
from slipstream.runtime.options import Options
from slipstream.runtime.speculation import drafter_names, drafter_of

OFF = "slipstream off"  # what the others are compared with
LLAMA_CPP = "llama.cpp"
LLAMA_CPP_LOOKUP = "llama.cpp lookup"
LLAMA_CPP_DRAFT = "llama.cpp draft"


@contextmanager
def open_sides(
    path: Path,
    workload: Workload,
    drafters: Sequence[str],
    end_ids: frozenset[int],
    *,
    draft: str | None = None,
    lookup_tokens: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Iterator[list[AnsweringSide]]:
    """The sides, loaded, in the order in which a report names them; let go of at the end.

    drafters      : one side of ours for each, beside the one without drafts
    draft         : model that drafts, on those sides that have such a drafter; for llama.cpp too
    lookup_tokens : most tokens of llama.cpp's drafts; None to leave llama.cpp out
    Raises as `LLM` does, and OptionError when llama.cpp is missing or can't load the file.
    """
    with ExitStack() as stack:
        theirs: list[AnsweringSide] = []
        if lookup_tokens is not None:  # first, since it may be missing
            kinds = _their_drafts(path, workload, lookup_tokens, draft, stack)
            theirs = _their_sides(path, workload, kinds, end_ids, stack)
        ours = []
        for speculate in ("off", *drafters):
            has_use = draft is not None and drafter_of(draft) in drafter_names(speculate)
            its_draft = draft if has_use else None
            side = SlipstreamSide(path, workload, progress, speculate=speculate, draft=its_draft)
            stack.callback(side.close)
            answer = partial(_answer, side.llm)
            name = f"{side.name} {speculate}"
            ours.append(AnsweringSide(name=name, version=side.version, answer=answer))
        yield ours + theirs


def _their_drafts(
    path: Path, workload: Workload, lookup_tokens: int, draft: str | None, stack: ExitStack
) -> dict[str, Drafts]:
    """What llama.cpp's sides draft with, by their names."""
    kinds = {LLAMA_CPP: no_drafts, LLAMA_CPP_LOOKUP: prompt_lookup(lookup_tokens)}
    draft_path = _draft_model(path, draft)
    if draft_path is not None:
        model = LlamaCppDraftModel(draft_path, workload)
        stack.callback(model.close)
        kinds[LLAMA_CPP_DRAFT] = model
    return kinds


def _their_sides(
    path: Path,
    workload: Workload,
    kinds: Mapping[str, Drafts],
    end_ids: frozenset[int],
    stack: ExitStack,
) -> list[AnsweringSide]:
    """One loaded model for all of them."""
    theirs = LlamaCppAnswers(path, workload)
    stack.callback(theirs.close)
    return [
        AnsweringSide(
            name=name,
            version=theirs.version,
            answer=partial(theirs.answer, end_ids=end_ids, drafts=drafts),
        )
        for name, drafts in kinds.items()
    ]


def _draft_model(target: Path, draft: str | None) -> Path | None:
    """The file of the model that drafts, if there is one."""
    with ModelFile.open(target) as file, chosen_draft(file, Options(draft=draft)) as choice:
        return None if choice.file is None else choice.file.path


def _answer(llm: LLM, prompt: Sequence[int], max_tokens: int) -> Answer:
    done = llm.generate(prompt, temperature=0, max_tokens=max_tokens)
    return Answer(
        tokens=done.token_ids,
        decode_tokens=done.timings.decode_tokens,
        decode_s=done.timings.decode_s,
        drafted_tokens=done.stats.get("drafted_tokens", 0),
        accepted_tokens=done.stats.get("accepted_tokens", 0),
        verified_drafts=done.stats.get("verified_drafts", 0),
        accepted_by_depth=done.stats.get("accepted_by_depth", ()),
    )
