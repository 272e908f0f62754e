"""The cost profile of a machine: what its devices and its link take, measured once and kept."""
