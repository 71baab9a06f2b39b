"""Renders the report as one HTML file without network access or scripts: its style sheet is inside, and it links to no outside address.

All text from a model or a request is escaped by the template.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from markupsafe import Markup

from app.pages.answers import study
from app.pages.assets import FOLDER
from app.pages.templating import TEMPLATES, environment
from binnacle.version import VERSION
from terms.documents.study import Finding, Missing
from terms.specs import StudySpec
from workers.reports.frame import Frame
from workers.reports.origins import Origin

HERE = Path(__file__).resolve().parent


def render(  # noqa: PLR0913 - the parts of one page, each by name
    frame: Frame,
    *,
    title: str,
    facts: Mapping[str, str],
    findings: Sequence[Finding],
    missing: Sequence[Missing],
    asked: StudySpec,
    origins: Sequence[Origin],
    written: date,
) -> str:
    """The whole page. `asked` is the study's request, `written` the date shown at the end."""
    style = "".join(sheet.read_text(encoding="utf-8") for sheet in (FOLDER / "page.css", HERE / "report.css"))
    page: str = (
        environment(HERE, TEMPLATES)
        .get_template("report.html.jinja")
        .render(
            title=title,
            answer=study(findings, missing) if findings or missing else None,
            frame=frame,
            missing=missing,
            facts=facts,
            spec=json.dumps(asked, indent=1, ensure_ascii=False),
            origins=origins,
            written=written,
            version=VERSION,
            style=Markup(style),
            policy=f"default-src 'none'; style-src 'sha256-{_sha256(style)}'; base-uri 'none'; form-action 'none'",
        )
    )
    return page


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
