"""Turns a job back into the request that would make it again, for `Again with changes`. Leaves out inputs that are looked up or made again."""

from app.jobs.schemas import JobOut
from app.jobs.specs import extraction_spec, generation_spec, steering_spec
from app.pages.forms.kinds import FORMS, FormKind
from terms.specs import ExtractionSpec, GenerationSpec, SteeringSpec
from terms.values import Json, JsonObject


def form_of(job: JobOut) -> FormKind | None:
    """Returns the form for such a job; None for kinds without a form."""
    return FORMS.get("steer" if job.kind == "rescore" else job.kind)


def request_again(form: FormKind, job: JobOut) -> JsonObject:
    """Returns the fields of the request that differ from their defaults, with an empty list only where the default list holds something."""
    spec: JsonObject = (job.spec.get("study") or {}) if job.kind == "report" else job.spec
    asked = {name: _named(name, value) for name, value in spec.items()} | _anew(job)
    about = {"name": job.name, "tags": job.tags}
    request = {
        form.renamed.get(first, first): value for first, value in {**asked, **about}.items() if first in form.request.model_fields
    }
    return {
        name: value
        for name, value in request.items()
        if value != (default := form.default(name)) and (value not in (None, {}, []) or (value == [] and default))
    }


def _named(name: str, value: Json) -> Json:
    """Returns a trait or a judge by its name; leaves out a calibration, which is found or made again."""
    if name == "calibration":
        return None
    if name == "trait" and isinstance(value, dict):
        return f"{value['name']}@{value['version'][:12]}"
    if name == "judge" and isinstance(value, dict):
        return str(value["name"])
    if name == "vetting" and isinstance(value, dict):
        return {**value, "judge": _named("judge", value.get("judge"))}
    if name == "off_target" and isinstance(value, list):
        return [{**other, "trait": _named("trait", other["trait"])} for other in value]
    return value


def _anew(job: JobOut) -> JsonObject:
    """Returns the fields that a request of the job's kind writes in another way than its spec."""
    if job.kind == "extract":
        return _counted(extraction_spec(job))
    if job.kind == "steer":
        return _selected(steering_spec(job))
    return _dosed(generation_spec(job)) if job.kind == "generate" else {}


def _selected(spec: SteeringSpec) -> JsonObject:
    """Returns vectors by id, or the selection from an extraction."""
    sources = spec.get("from")
    if not sources:
        return _vectors(spec)
    first = sources[0]
    methods = [method for method in first.get("methods") or [] if "__refit" not in method]
    chosen = {"layers": first.get("layers"), "positions": first.get("positions"), "components": first.get("components")}
    return {"vectors": None, "extraction": first["job"], "methods": methods, **chosen}


def _vectors(spec: SteeringSpec | GenerationSpec) -> JsonObject:
    """Returns vectors by id."""
    vectors = spec.get("vectors")  # a spec of an earlier version may lack it
    return {"vectors": [vector["id"] for vector in vectors], "extraction": None, "methods": None} if vectors else {}


def _counted(spec: ExtractionSpec) -> JsonObject:
    """Replaces the controls and refits that an extraction's spec lists by their numbers, as in a request."""
    return {
        "controls": sum(control.startswith("random") for control in spec.get("controls") or ()),
        "refits": len({refit.rpartition("__refit")[2] for refit in spec.get("refits") or ()}),
    }


def _dosed(spec: GenerationSpec) -> JsonObject:
    """Returns vectors by id, and leaves out the doses that every spec lists where none is used: a request may not name them there."""
    return _vectors(spec) | ({"doses": None} if not spec.get("vectors") or spec.get("operation") == "ablate" else {})
