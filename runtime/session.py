"""A conversation that remembers what was said."""

import functools
import threading
from typing import TYPE_CHECKING, Any

from slipstream.runtime.engine import Generation, TokenStream

if TYPE_CHECKING:
    from slipstream.runtime.llm import LLM


class Session:
    """Messages of one conversation. What was computed for them stays in the KV cache.

    messages : dictionaries with "role" and "content"; the caller may change them between questions
    Threads that share a session take turns: each question stops the answer to the one before.
    """

    def __init__(self, llm: "LLM", system: str | None = None) -> None:
        self._llm = llm
        self._lock = threading.RLock()  # of `messages` and `_pending`
        self._pending: tuple[dict[str, Any], Generation] | None = None
        self.messages: list[dict[str, Any]] = []
        if system is not None:
            self.messages.append({"role": "system", "content": system})

    def reset(self) -> None:
        """Forget everything but the system message."""
        with self._lock:
            self._drop_answer()
            self.messages[:] = [each for each in self.messages[:1] if each.get("role") == "system"]

    def send(self, text: str, **sampling: Any) -> TokenStream:
        """Say something; the reply streams, and joins the messages when it ends.

        An earlier reply that was left before its end is stopped and remembered as far as it got.
        Raises as `LLM.chat_stream` does, with `text` not among the messages.
        """
        with self._lock:
            self._remember_answer()
            question = {"role": "user", "content": text}
            stream = self._llm.chat_stream([*self.messages, question], **sampling)
            self.messages.append(question)
            # Not the stream: whoever drops that stops the answer.
            self._pending = question, stream.generation
            stream.on_end = functools.partial(self._remember_answer, stream.generation)
            return stream

    def undo(self) -> bool:
        """Take back the last question and all that came after it; False when there is none.

        Messages of the user in a row are one question: none of them stays without its answer.
        """
        with self._lock:
            self._drop_answer()
            end = len(self.messages)
            while end and self.messages[end - 1].get("role") != "user":
                end -= 1
            if end == 0:
                return False
            while end and self.messages[end - 1].get("role") == "user":
                end -= 1
            del self.messages[end:]
            return True

    def _drop_answer(self) -> None:
        if self._pending is not None:
            self._pending[1].cancelled = True
            self._pending = None

    def _remember_answer(self, of: Generation | None = None) -> None:
        """Write down the answer under way (if it is that of `of`), as far as it has got.

        A question whose answer failed, or was stopped before its first word, is taken back.
        """
        with self._lock:
            if self._pending is None or of not in (None, self._pending[1]):
                return
            (question, generation), self._pending = self._pending, None
            stream = TokenStream(generation)
            stream.cancel()
            if not self.messages or self.messages[-1] is not question:
                return  # the caller has changed the messages
            try:
                said = stream.completion
            except Exception:  # whoever reads the reply gets it from there
                del self.messages[-1]
                return
            if said.finish_reason == "cancelled" and not said.text:
                del self.messages[-1]
            else:
                self.messages.append({"role": "assistant", "content": said.text})
