"""A conversation that remembers what was said."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from slipstream.runtime.completion import Completion, Piece
from slipstream.runtime.engine import TokenStream

if TYPE_CHECKING:
    from slipstream.runtime.llm import LLM

__all__ = ["Reply", "Session"]


class Session:
    """Messages of one conversation. What was computed for them stays in the KV cache."""

    def __init__(self, llm: "LLM", system: str | None = None) -> None:
        self._llm = llm
        self._system = system
        self.messages: list[dict[str, Any]] = []
        self.reset()

    def reset(self) -> None:
        """Forget everything but the system message."""
        self.messages[:] = []
        if self._system is not None:
            self.messages.append({"role": "system", "content": self._system})

    def send(self, text: str, **sampling: Any) -> "Reply":
        """Say something; the reply streams, and joins the messages when it ends.

        Raises as `LLM.chat_stream` does, with the messages unchanged.
        """
        messages = [*self.messages, {"role": "user", "content": text}]
        stream = self._llm.chat_stream(messages, **sampling)
        self.messages[:] = messages
        return Reply(self, stream)

    def undo(self) -> bool:
        """Take back the last question and its answer; False when there is none."""
        for index in range(len(self.messages) - 1, -1, -1):
            if self.messages[index]["role"] == "user":
                del self.messages[index:]
                return True
        return False


class Reply(Iterator[Piece]):
    """The pieces of an answer in a session. A cancelled answer is remembered as far as it got."""

    def __init__(self, session: Session, stream: TokenStream) -> None:
        self._session = session
        self._stream = stream
        self._messages = len(session.messages)

    def __iter__(self) -> "Reply":
        return self

    def __next__(self) -> Piece:
        try:
            return next(self._stream)
        except StopIteration:
            self._remember()
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

    def _remember(self) -> None:
        messages = self._session.messages
        if len(messages) == self._messages:
            messages.append({"role": "assistant", "content": self._stream.completion.text})
            self._messages = -1
