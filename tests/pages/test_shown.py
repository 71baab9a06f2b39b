"""Every name that a template of `app.pages` uses is one that its page gives, and every name that a page gives is used."""

import ast
from collections import defaultdict
from collections.abc import Set
from pathlib import Path

import pytest
from jinja2 import meta, nodes

from app.pages import answer_pages, home, jobs, label_pages, new_job, rendering
from app.pages.library import fleet, models
from app.pages.rendering import ENVIRONMENT
from app.pages.trying import routes as trying

EVERYWHERE = {"viewer", "csrf", "keys", "here", "asset"}
JOBS, FLEET, FORM = home.Listing.__annotations__.keys(), fleet.Fleet.__annotations__.keys(), new_job.Filled.__annotations__.keys()
TRYING = trying.Trying.__annotations__.keys()
SPREAD: dict[str, Set[str]] = {
    "answers.jinja": answer_pages.Compared.__annotations__.keys(),
    "fleet.jinja": FLEET,
    "fleet_part.jinja": FLEET,
    "form.jinja": FORM,
    "form_parts.jinja": FORM,
    "hold.jinja": fleet.Hold.__annotations__.keys(),
    "home.jinja": JOBS,
    "job.jinja": jobs.Standing.__annotations__.keys(),
    "jobs.jinja": JOBS,
    "label.jinja": label_pages.Labelling.__annotations__.keys(),
    "models.jinja": models.Models.__annotations__.keys(),
    "pushes.jinja": TRYING,
    "standing.jinja": jobs.Standing.__annotations__.keys(),
    "try.jinja": TRYING,
}
"""The names that a page gives a template as a dict, `page(request, template, **shown)`."""
PARTS = {"form_parts.jinja", "pushes.jinja", "standing.jinja"}
"""Parts of a page that are also sent alone, with all names of the page."""


def used(source: str) -> set[str]:
    """The names that a template of this source uses from outside, and those of the templates that it extends, includes or imports. A name of
    `set` counts as known everywhere in it, a loop's only within the loop."""
    tree = ENVIRONMENT.parse(source)
    stored = (name for statement in tree.find_all(nodes.Assign) for name in statement.find_all(nodes.Name) if name.ctx == "store")
    own = {name.name for name in stored}.union(*(statement.names for statement in tree.find_all(nodes.FromImport)))
    return meta.find_undeclared_variables(tree).union(*(used(text_of(other)) for other in others(source))) - own - EVERYWHERE


def others(source: str) -> set[str]:
    """The templates that one of this source extends, includes or imports."""
    return {name for name in meta.find_referenced_templates(ENVIRONMENT.parse(source)) if name is not None}


def text_of(template: str) -> str:
    assert ENVIRONMENT.loader is not None
    return ENVIRONMENT.loader.get_source(ENVIRONMENT, template)[0]


def given() -> dict[str, list[Set[str]]]:
    """For each template the names that each call of `page` gives it."""
    calls = defaultdict[str, list[Set[str]]](list)
    for path in Path(rendering.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "page":
                template = ast.literal_eval(node.args[1])
                names = {keyword.arg for keyword in node.keywords if keyword.arg is not None}
                spread = len(names) < len(node.keywords)
                calls[template].append(names | SPREAD[template] if spread else names)
    return calls


GIVEN = given()


@pytest.mark.parametrize("template", sorted(GIVEN))
def test_a_page_gives_what_its_template_uses(template: str) -> None:
    names = used(text_of(template))
    assert [shown & names if template in PARTS else shown for shown in GIVEN[template]] == [names] * len(GIVEN[template])


def test_every_template_is_that_of_a_page_or_part_of_another() -> None:
    templates = set(ENVIRONMENT.list_templates())
    assert templates - set(GIVEN) == set().union(*(others(text_of(template)) for template in templates)) - set(GIVEN)


def test_a_name_outside_its_loop_is_seen() -> None:
    assert used("{% for one in rows %}{{ one.name }}{% endfor %}{{ one.name }}") == {"rows", "one"}
    assert used("{% for one in rows %}{% set name = one.name %}{{ name }}{% endfor %}") == {"rows"}
