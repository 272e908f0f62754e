"""Writes JSONL files of prompts in the forms of published benchmarks."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CODE = {"task_id": "HumanEval/0", "prompt": "def f():\n", "test": "assert f()"}
CHAT = {"question_id": 81, "category": "writing", "turns": ["Write in the on.", "And again."]}


def write_lines(path: Path, *records: Mapping[str, Any]) -> None:
    """One JSON object a line."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def write_prompts(path: Path) -> Path:
    """Four prompts of the categories humaneval, writing, qa and writing again; returns the path."""
    question = CHAT | {"category": "qa", "turns": ["Who in the and?"]}
    write_lines(path, CODE, CHAT, question, CHAT | {"turns": ["More of the and."]})
    return path
