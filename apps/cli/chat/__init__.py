"""The conversation at a terminal: what is typed, what it means, and what is kept."""
