"""Training a Dovetail draft: features of the target on disk, then torch."""
