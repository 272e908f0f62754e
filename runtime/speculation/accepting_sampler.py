"""A sampler that knows what a draft model drew for its request, and accepts it by a policy.

Tokens are drawn at a place, which is the text with a drafted path behind it, once and before
anything depends on them. Where the text gets there, the policy chooses among all of them, whether
or not they became nodes of a tree that was verified: it needs the target's p at that place only,
and a chosen token without a node merely ends the walk along the tree. So the text is a function of
what was drawn at the places that it comes by, and no tree, cut or pause can change it.

That is what makes it exact. A tree grows and is cut by the values of its nodes, and those depend on
which tokens were drawn. Were only the drawn tokens used that the cut left over, or were a place
drawn for anew when the text gets there without its node, then the used ones would be those that
look good, no longer distributed as q, and the text would not be distributed as p.
"""

from collections.abc import Sequence

import numpy as np

from slipstream.runtime.errors import OptionError
from slipstream.runtime.sampling import Sampler, SamplingOptions
from slipstream.runtime.sampling.selection import Floats
from slipstream.runtime.speculation.acceptance import AcceptancePolicy, Drawn

_NUM_DRAWN = 4  # at a place, unless q has fewer tokens


class AcceptingSampler(Sampler):
    """Samples by a policy where tokens were drawn, and as `Sampler` does elsewhere.

    Its uniform numbers are the policy's and the drawing's too, so a seed's text depends on which
    drafts were worth their time.
    """

    def __init__(
        self, options: SamplingOptions, policy: AcceptancePolicy, *, seed: int, vocab_size: int
    ) -> None:
        """As `Sampler` does; for options that are not greedy."""
        super().__init__(options, seed=seed, vocab_size=vocab_size)
        self._policy = policy
        self._drawn: dict[tuple[int, ...], tuple[Drawn, ...]] = {}  # by the path after the text

    def drawn(self, path: tuple[int, ...]) -> tuple[Drawn, ...] | None:
        """What was drawn after the text and a path of tokens; None where nothing was yet."""
        return self._drawn.get(path)

    def draw(
        self, text: Sequence[int], path: tuple[int, ...], logits: np.ndarray
    ) -> tuple[Drawn, ...]:
        """Draw what may follow a path, once, from a draft's logits after the request's samplers.

        logits : (N,) float32, of the draft; tokens that it does not know are not drawn
        Nothing is drawn where the draft is damaged or the options leave none of its tokens.
        """
        assert path not in self._drawn
        drawn: tuple[Drawn, ...] = ()
        if np.isfinite(logits).all():
            known = np.full(self.vocab_size, -np.inf, np.float32)
            known[: len(logits)] = logits[: self.vocab_size]
            try:
                q = self.distribution(known, [*text, *path])
            except OptionError:
                pass
            else:
                drawn = self._policy.draw(q, _NUM_DRAWN, self._generator.random)
        self._drawn[path] = drawn
        return drawn

    def sample(self, logits: Floats, history: Sequence[int]) -> int:
        """As `Sampler.sample`; the text is taken to go on with the token."""
        p = self.distribution(logits, history)
        token = self._policy.accept(p, self._drawn.get((), ()), self._generator.random)
        self._drawn = {
            path[1:]: drawn for path, drawn in self._drawn.items() if path[:1] == (token,)
        }
        return token
