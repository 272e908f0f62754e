"""The machine and its memory: what there is, what a model costs, what goes where."""
