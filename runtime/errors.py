"""Every error that a user of Slipstream can meet.

SlipstreamError
├── OptionError            an option or sampling value that can't be used
├── CheckpointError        a model file that is missing, damaged, hostile or not GGUF
│   └── UnsupportedError   a sound file that needs something not implemented; names it
├── PromptError            an empty prompt, or one longer than the context
├── ChatTemplateError      a chat template that is missing, broken or refuses the messages
├── MemoryBudgetError      the model or its KV cache does not fit in the memory there is
├── CatalogueError         a model name that is unknown or not downloaded
│   └── DownloadError      a download that failed, was interrupted or does not match its hash
└── EngineError            the engine stopped; the cause is chained

A message says what was wrong, what was expected, what was found, and what to do. Kernels raise
`slipstream.cpu_kernels.ShapeError` for a caller's mistake; users never see it.
"""


class SlipstreamError(Exception):
    """Base of every error that Slipstream raises on purpose."""


class OptionError(SlipstreamError, ValueError):
    """An option or sampling value is unknown, of the wrong type or out of range."""


class CheckpointError(SlipstreamError):
    """A model file is missing, truncated, damaged, hostile or not a GGUF file."""


class UnsupportedError(CheckpointError):
    """A sound model file needs an architecture or feature that is not implemented."""


class PromptError(SlipstreamError, ValueError):
    """A prompt is empty or longer than the context."""


class ChatTemplateError(SlipstreamError):
    """A chat template is missing, can't be compiled, or refuses the messages."""


class MemoryBudgetError(SlipstreamError, MemoryError):
    """A model or its KV cache does not fit in the memory available."""


class CatalogueError(SlipstreamError):
    """A model name is not in the catalogue, or the model is not on this machine."""


class DownloadError(CatalogueError):
    """A download failed, was interrupted, or does not match its expected hash."""


class EngineError(SlipstreamError):
    """The engine stopped because of an unexpected error, which is chained as the cause."""
