"""The report as one HTML file that needs no network: tables, plots with their renderer, and links back to the service's results.

Whatever came from a model or a request is escaped by the template. Plots run with Vega's expression interpreter (`ast`), so the file works
under a content security policy without unsafe-eval.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from binnacle.words.visible import visible
from workers.reports.table import Table

HERE = Path(__file__).resolve().parent
SCRIPTS = ("vega.min.js", "vega-lite.min.js", "vega-embed.min.js")


def render(
    *,
    title: str,
    facts: Mapping[str, str],
    findings: Sequence[Mapping[str, Any]],
    sections: Sequence[Mapping[str, Any]],
    missing: Sequence[Mapping[str, Any]],
) -> str:
    """The whole page. Each section holds a `table` (Table) or a `plot` (a Vega-Lite specification with `title` and `note`)."""
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=select_autoescape(["html", "jinja"]),
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    scripts = [(HERE / "static" / name).read_text(encoding="utf-8").strip() for name in SCRIPTS]
    plots = [section["plot"] for section in sections if "plot" in section]
    start = _start(plots)
    hashes = " ".join(f"'sha256-{_sha256(script)}'" for script in [*scripts, start])
    page: str = environment.get_template("report.html.jinja").render(
        title=title,
        facts=facts,
        findings=findings,
        blocks=_blocks(sections),
        missing=missing,
        scripts=[Markup(script) for script in scripts],
        start=Markup(start),
        policy=f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'",
    )
    return page


def _shown(value: Any) -> Any:
    """A text with its control and bidi characters written out; line breaks are spaces to HTML."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else visible(" ".join(value.splitlines()))


def _blocks(sections: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Tables, and plots side by side: those that follow each other are one block. Plots are numbered in the order of `_start`."""
    blocks: list[dict[str, Any]] = []
    count = 0
    for section in sections:
        if isinstance(section.get("table"), Table):
            blocks.append({"table": section["table"], "groups": _groups(section["table"])})
            continue
        if not blocks or "plots" not in blocks[-1]:
            blocks.append({"plots": []})
        blocks[-1]["plots"].append({"title": section["title"], "note": section["note"], "element": f"plot-{count}"})
        count += 1
    return blocks


GROUPED = ("model", "trait")
"""Columns that become a heading over the rows that share them, where a table begins with both."""


def _groups(table: Table) -> list[dict[str, Any]]:
    """The table's rows under a heading each where they are many of one model and trait, else under none."""
    leading = tuple(column.key for column in table.columns[: len(GROUPED)])
    rows = list(zip(table.rows, table.cells(), strict=True))
    pairs = [tuple(row.get(key) for key in GROUPED) for row, _ in rows]
    if leading != GROUPED or len(pairs) < 3 * len(set(pairs)):
        return [{"heading": None, "skip": 0, "cells": [cells for _, cells in rows]}]
    return [
        {"heading": f"{trait} on {model}", "skip": len(GROUPED), "cells": [cells[len(GROUPED) :] for _, cells in members]}
        for (model, trait), members in groupby(rows, key=lambda one: tuple(one[0].get(key) for key in GROUPED))
    ]


def _start(plots: Sequence[Any]) -> str:
    """The script that draws the plots. Model text may stand in them: no "<" is left that could close the script element."""
    data = json.dumps(list(plots), separators=(",", ":")).replace("<", "\\u003c")
    return (
        f"const plots={data};"
        "plots.forEach((plot,i)=>vegaEmbed('#plot-'+i,plot,{ast:true,renderer:'svg',actions:{export:true,source:false,compiled:false,editor:false}})"
        ".catch(error=>{document.getElementById('plot-'+i).textContent=String(error)}));"
    )


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
