"""Text to token ids and back, and conversations to prompts, from a model file's own data."""

from slipstream.runtime.tokenizer.chat_template import ChatTemplate
from slipstream.runtime.tokenizer.stream_decoder import StreamDecoder
from slipstream.runtime.tokenizer.tokenizer import Tokenizer

__all__ = ["ChatTemplate", "StreamDecoder", "Tokenizer"]
