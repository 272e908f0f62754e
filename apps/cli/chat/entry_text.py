"""What may be typed at once: a line, or a block of lines between triple quotes."""

QUOTES = '"""'


def is_complete(entry: str) -> bool:
    """Whether nothing more is needed: a block is complete with its closing quotes."""
    text = entry.strip()
    if not text.startswith(QUOTES):
        return True
    return len(text) >= 2 * len(QUOTES) and text.endswith(QUOTES)


def unquoted(entry: str) -> str:
    """The message of an entry: without white space around it, and without a block's quotes."""
    text = entry.strip()
    if not text.startswith(QUOTES):
        return text
    return text.removeprefix(QUOTES).removesuffix(QUOTES).strip("\n")
