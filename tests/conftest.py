"""Lets every test import the shared helpers in tests/support as `support.<module>`."""

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

# A shell starts background jobs with Ctrl-C ignored, and they pass it on to the programs they
# start; the tests that interrupt a program need what a terminal gives.
signal.signal(signal.SIGINT, signal.default_int_handler)
