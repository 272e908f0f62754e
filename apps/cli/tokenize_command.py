"""`slipstream tokenize`: how a model cuts a text into tokens."""

from typing import TYPE_CHECKING

import click

from slipstream.apps.cli.console import put, put_json
from slipstream.apps.cli.shared_options import json_option
from slipstream.apps.cli.standard_input import piped_text
from slipstream.offload.table import aligned

if TYPE_CHECKING:
    from slipstream.runtime.tokenizer import Tokenizer


@click.command("tokenize", short_help="Show the tokens of a text.")
@click.argument("model")
@click.argument("text")
@click.option("--no-special", is_flag=True, help="Leave out the tokens that begin and end a text.")
@click.option("--parse-special", is_flag=True, help="Take <|im_start|> and the like for a token.")
@json_option
def tokenize_command(
    model: str, text: str, no_special: bool, parse_special: bool, as_json: bool
) -> None:
    """Show the tokens of TEXT, or of standard input when it is "-": their ids and pieces."""
    from slipstream.runtime.catalogue import resolve
    from slipstream.runtime.checkpoint import ModelFile
    from slipstream.runtime.tokenizer import Tokenizer

    with ModelFile.open(resolve(model)) as file:
        tokenizer = Tokenizer.from_metadata(file.metadata, path=file.path)
    if text == "-":
        text = piped_text()
    ids = tokenizer.encode(text, add_special=not no_special, parse_special=parse_special)
    pieces = [piece(tokenizer, token_id) for token_id in ids]
    if as_json:
        tokens = [
            {"id": token_id, "text": data.decode(errors="replace"), "bytes": data.hex()}
            for token_id, data in zip(ids, pieces, strict=True)
        ]
        put_json({"model": model, "tokens": tokens})
    elif ids:
        rows = [(str(token_id), quoted(data)) for token_id, data in zip(ids, pieces, strict=True)]
        put("\n".join(aligned(rows)) + "\n")


def piece(tokenizer: "Tokenizer", token_id: int) -> bytes:
    """What a token stands for; the name of one that adds nothing to a text."""
    data = tokenizer.token_bytes(token_id)
    return data or tokenizer.decode([token_id], skip_special=False).encode()


def quoted(data: bytes) -> str:
    """The text, in quotes that show its spaces, or the bytes of a part of a character."""
    try:
        return repr(data.decode())
    except UnicodeDecodeError:
        return repr(data)
