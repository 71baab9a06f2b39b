"""Names the fields of a form by their labels in the service's sentences, which name them by JSON pointer."""

import re

from app.pages.forms.kinds import FormKind
from binnacle.words.judging import REMEDY, SHORT_REMEDY


def labelled(form: FormKind | None, text: str) -> str:
    """Returns the text with `"Layers" (value 1)` for `/layers/0`, and without commands for administrators. Fields that the form lacks keep
    their pointers: such a field was in the form's JSON.
    """
    text = text.replace(REMEDY, SHORT_REMEDY)
    labels = {} if form is None else {field.name: field.label for field in form.all_fields if field.control != "json"}
    if not labels:
        return text
    names = "|".join(sorted(labels, key=len, reverse=True))

    def label(match: re.Match[str]) -> str:
        said = f'"{labels[match[1]]}"'
        return said if match[2] is None else f"{said} (value {int(match[2]) + 1})"

    return re.sub(rf"(?<![\w/.:])/({names})(?:/(\d+)\b)?(?![\w/])", label, text)
