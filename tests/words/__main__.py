"""`python -m tests.words`: writes every string that a person reads to strings.txt."""

from tests.words.collected import FILE, as_text

FILE.write_text(as_text())
