"""A tiny catalogue model of three parts; run as a program, pulls it and prints each stage."""

import random

from slipstream.runtime.catalogue import CATALOGUE
from slipstream.runtime.catalogue.download import pull
from support.model_packages import make_entry

CONTENT = random.Random(5).randbytes(700_000)
ENTRY = make_entry("tiny", CONTENT, part_bytes=300_000)

if __name__ == "__main__":
    CATALOGUE[ENTRY.name] = ENTRY
    print(pull(ENTRY.name, progress=lambda event: print(event.stage, flush=True)))
