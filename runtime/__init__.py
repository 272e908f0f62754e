"""Models, tokenizer, KV cache, sampling, sessions, and the LLM class."""
