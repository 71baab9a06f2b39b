"""`python -m tests.families [FAMILY ...]`: examines these families, or all that are not yet in found.jsonl, and writes found.jsonl and
docs/families.md. With `--table` it only writes docs/families.md."""

import gc
import json
import sys

from tests.families.checks import examine
from tests.families.models import LABS, families
from tests.families.table import DOCUMENT, FOUND, document, read_table


def main() -> None:
    left = [name for name in sorted(families(), key=lambda name: name not in LABS) if name not in read_table()]
    names = [name for name in sys.argv[1:] if not name.startswith("--")] or left
    if "--table" not in sys.argv:
        known = read_table()
        gc.freeze()  # a pass that runs out of memory collects garbage; what is imported need not be scanned each time
        for name in names:
            known[name] = found = examine(name)
            sys.stdout.write(f"{name}: {found.verdict} {found.engine} {found.reason}\n")
            sys.stdout.flush()
            listed = [known[one] for one in families() if one in known]
            FOUND.write_text("".join(json.dumps(one.to_dict()) + "\n" for one in listed), encoding="utf-8")
    DOCUMENT.write_text(document(), encoding="utf-8")


if __name__ == "__main__":
    main()
