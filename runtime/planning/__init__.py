"""From a model that is asked for to a plan, and what carries it out."""
