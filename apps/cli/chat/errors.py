"""The one error of a chat's own input."""


class ChatInputError(Exception):
    """A command or file given to the chat can't be used. Shown to the user; the chat goes on."""
