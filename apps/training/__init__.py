"""Making a Dovetail draft: hidden states of a model on disk, then torch."""
