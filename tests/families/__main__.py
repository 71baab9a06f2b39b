"""Examine families and write what was found: `python -m tests.families` (all, or those named), with `--table` docs/families.md alone."""

import json
import sys

from tests.families.checks import examine
from tests.families.models import LABS, families
from tests.families.table import DOCUMENT, FOUND, document, read_table


def main() -> None:
    names = [name for name in sys.argv[1:] if not name.startswith("--")] or sorted(families(), key=lambda name: name not in LABS)
    if "--table" not in sys.argv:
        known = read_table()
        for name in names:
            known[name] = found = examine(name)
            sys.stdout.write(f"{name}: {found.verdict} {found.engine} {found.reason}\n")
            sys.stdout.flush()
            listed = [known[one] for one in families() if one in known]
            FOUND.write_text("".join(json.dumps(one.to_dict()) + "\n" for one in listed), encoding="utf-8")
    DOCUMENT.write_text(document(), encoding="utf-8")


if __name__ == "__main__":
    main()
