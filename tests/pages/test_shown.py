"""Every name that a template uses is one that its page gives, and every name that a page gives is used."""

from collections.abc import Set

import pytest
from jinja2 import meta, nodes

from app.pages import answer_pages, home, jobs, label_pages, new_job
from app.pages.library import fleet, models
from app.pages.rendering import ENVIRONMENT
from app.pages.trying import routes as trying

EVERYWHERE = {"viewer", "csrf", "keys", "here", "asset"}
SHOWN: dict[str, Set[str]] = {
    "answers.jinja": answer_pages.Compared.__annotations__.keys(),
    "fleet_part.jinja": fleet.Fleet.__annotations__.keys() | {"etag"},
    "form.jinja": new_job.Filled.__annotations__.keys() | {"source"},
    "hold.jinja": fleet.Hold.__annotations__.keys(),
    "jobs.jinja": home.Listing.__annotations__.keys() | {"etag"},
    "label.jinja": label_pages.Labelling.__annotations__.keys(),
    "models.jinja": models.Models.__annotations__.keys(),
    "standing.jinja": jobs.Standing.__annotations__.keys() - {"title"},  # which job.jinja shows
    "tried.jinja": {"answers"},
    "try.jinja": trying.Trying.__annotations__.keys(),
}


def used(template: str) -> set[str]:
    """The names that the template uses, and the templates that it extends, includes or imports."""
    assert ENVIRONMENT.loader is not None
    tree = ENVIRONMENT.parse(ENVIRONMENT.loader.get_source(ENVIRONMENT, template)[0])
    own = {name.name for name in tree.find_all(nodes.Name) if name.ctx == "store"}
    imported = {name for source in tree.find_all(nodes.FromImport) for name in source.names}
    others = (other for other in meta.find_referenced_templates(tree) if other is not None)
    return (meta.find_undeclared_variables(tree) - own - imported - EVERYWHERE).union(*map(used, others))


@pytest.mark.parametrize("template", SHOWN)
def test_a_page_gives_what_its_template_uses(template: str) -> None:
    assert used(template) == SHOWN[template]
