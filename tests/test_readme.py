"""The pages tell what was measured."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_tables_are_made_from_the_committed_results():
    spec = importlib.util.spec_from_file_location("tables", ROOT / "benchmarks" / "tables.py")
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    for page in tables.PAGES:
        text = page.read_text()
        assert tables.filled(text) == text, "run `python benchmarks/tables.py --write`"
    for path, draw in tables.PLOTS.items():
        assert draw() == path.read_text(), "run `python benchmarks/tables.py --write`"


def test_terminal_output_is_that_of_the_docs():
    text = (ROOT / "README.md").read_text()
    for name in ("chat-transcript", "plan-output", "doctor-output"):
        assert (ROOT / "docs" / f"{name}.txt").read_text().strip() in text, name
