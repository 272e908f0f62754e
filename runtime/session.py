"""A conversation that remembers what was said."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from slipstream.runtime.completion import Completion, Piece
from slipstream.runtime.engine import TokenStream
from slipstream.runtime.errors import SlipstreamError

if TYPE_CHECKING:
    from slipstream.runtime.llm import LLM

__all__ = ["Reply", "Session"]


class Session:
    """Messages of one conversation. What was computed for them stays in the KV cache.

    messages : dictionaries with "role" and "content"; the caller may change them between questions
    """

    def __init__(self, llm: "LLM", system: str | None = None) -> None:
        self._llm = llm
        self._system = system
        self._pending: tuple[dict[str, Any], TokenStream] | None = None
        self.messages: list[dict[str, Any]] = []
        self.reset()

    def reset(self) -> None:
        """Forget everything but the system message."""
        self._drop_answer()
        self.messages[:] = []
        if self._system is not None:
            self.messages.append({"role": "system", "content": self._system})

    def send(self, text: str, **sampling: Any) -> "Reply":
        """Say something; the reply streams, and joins the messages when it ends.

        An earlier reply that was left before its end is stopped and remembered as far as it got.
        Raises as `LLM.chat_stream` does, with `text` not among the messages.
        """
        self._remember_answer()
        question = {"role": "user", "content": text}
        stream = self._llm.chat_stream([*self.messages, question], **sampling)
        self.messages.append(question)
        self._pending = question, stream
        return Reply(self, stream)

    def undo(self) -> bool:
        """Take back the last question and its answer; False when there is none."""
        self._drop_answer()
        for index in range(len(self.messages) - 1, -1, -1):
            if self.messages[index]["role"] == "user":
                del self.messages[index:]
                return True
        return False

    def _drop_answer(self) -> None:
        if self._pending is not None:
            self._pending[1].cancel()
            self._pending = None

    def _remember_answer(self, of: TokenStream | None = None) -> None:
        """Write down the answer under way (if it is that of `of`), as far as it has got.

        A question whose answer failed, or was stopped before its first word, is taken back.
        """
        if self._pending is None or of not in (None, self._pending[1]):
            return
        (question, stream), self._pending = self._pending, None
        stream.cancel()
        if not self.messages or self.messages[-1] is not question:
            return  # the caller has changed the messages
        try:
            said = stream.completion
        except SlipstreamError:  # whoever reads the reply gets it from there
            del self.messages[-1]
            return
        if said.finish_reason == "cancelled" and not said.text:
            del self.messages[-1]
        else:
            self.messages.append({"role": "assistant", "content": said.text})


class Reply(Iterator[Piece]):
    """The pieces of an answer in a session. Leaving it early, or `cancel`, stops the answer."""

    def __init__(self, session: Session, stream: TokenStream) -> None:
        self._session = session
        self._stream = stream

    def __iter__(self) -> "Reply":
        return self

    def __next__(self) -> Piece:
        try:
            return next(self._stream)
        except (StopIteration, SlipstreamError):
            self._session._remember_answer(self._stream)
            raise

    def cancel(self) -> None:
        """Stop the answer between two steps."""
        self._stream.cancel()

    @property
    def completion(self) -> Completion:
        """The finished answer; waits for the pieces that were not taken yet."""
        for _ in self:
            pass
        return self._stream.completion

    def __del__(self) -> None:
        self.cancel()
