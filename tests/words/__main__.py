"""`python -m tests.words`: writes to strings.txt every string that a person reads."""

from tests.words.collected import FILE, as_text

FILE.write_text(as_text())
