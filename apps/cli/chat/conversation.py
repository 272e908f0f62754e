"""The state of a chat and what can be done with it."""

from typing import Any

from slipstream.apps.cli.chat.errors import ChatInputError
from slipstream.apps.cli.chat.transcript import Messages
from slipstream.apps.cli.chat.typing_echo import typing_hidden
from slipstream.apps.cli.console import put, say, visible
from slipstream.apps.cli.interrupt import stopped_by_interrupt
from slipstream.runtime.completion import Completion
from slipstream.runtime.llm import LLM
from slipstream.runtime.sampling import SamplingOptions

# Why an answer ended, where that is not its own end.
ENDINGS = {
    "cancelled": "(stopped)",
    "length": "(cut off: max_tokens or the end of the context is reached)",
}


class Conversation:
    """A session with a model, the options in force, and the last answer."""

    def __init__(self, llm: LLM, *, system: str | None, sampling: dict[str, Any]) -> None:
        self.llm = llm
        self.session = llm.session(system)
        self.sampling = sampling
        self.last: Completion | None = None

    @property
    def options(self) -> SamplingOptions:
        """The sampling options, with their defaults."""
        return SamplingOptions.from_user(**self.sampling)

    def ask(self, text: str) -> None:
        """Send a message and print the answer as it comes; Ctrl-C stops it.

        A message that got no answer is taken back. Raises SlipstreamError.
        """
        before = list(self.session.messages)
        reply = self.session.send(text, **self.sampling)
        try:
            with typing_hidden(), stopped_by_interrupt(reply.cancel):
                for piece in reply:
                    put(visible(piece.text))
        except BaseException:
            reply.cancel()
            self.session.messages[:] = before
            raise
        put("\n")
        self.last = reply.completion
        if self.last.finish_reason in ENDINGS:
            say(ENDINGS[self.last.finish_reason])

    def retry(self) -> None:
        """Ask the last question again. Raises ChatInputError when there is none."""
        before = list(self.session.messages)
        question = next((each for each in reversed(before) if each["role"] == "user"), None)
        if question is None:
            raise ChatInputError("there is no message to answer again")
        self.session.undo()
        try:
            self.ask(question["content"])
        except BaseException:
            self.session.messages[:] = before
            raise

    def undo(self) -> None:
        """Take back the last question and its answer."""
        if not self.session.undo():
            raise ChatInputError("there is nothing to take back")

    def clear(self) -> None:
        """Forget all messages but the system message."""
        self.session.reset()

    def set_system(self, text: str) -> None:
        """Replace the system message; the conversation goes on."""
        said = [each for each in self.session.messages if each["role"] != "system"]
        self.session.messages[:] = [{"role": "system", "content": text}, *said]

    def replace(self, messages: Messages) -> None:
        """Go on with another conversation, its system message included."""
        self.session.messages[:] = messages
