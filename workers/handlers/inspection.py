"""`inspect`: checks a model folder before any job may use it: is it complete, is its architecture known, what are its facts."""

from dataclasses import replace

from app.settings import get_settings
from app.storage.space import hub_cache
from terms.specs import ModelSpec
from workers.job import JobContext, JobFault, Outcome
from workers.lm.errors import ModelFault
from workers.lm.hub import fetched_folder
from workers.lm.inspection import inspect_folder
from workers.lm.room import rooms


def run(spec: ModelSpec, context: JobContext) -> Outcome:
    """Spec: `model` (its registered name), `source` (folder or hub id), `revision` (commit of a hub id, else None).

    Result: `{"facts": ModelFacts.to_dict()}`. Raises JobFault with the ModelFault's code (`inspect_folder`, `fetched_folder`).
    """
    size: int | None = None

    def progress(done: int, total: int) -> None:
        nonlocal size
        if size is None:
            context.phase("reading weights", total, "bytes")
        size = total
        context.progress(done)

    try:
        folder = fetched_folder(spec["source"], spec.get("revision"), hub_cache(get_settings()))
        facts = inspect_folder(folder, progress)
    except ModelFault as fault:
        raise JobFault(fault.code, fault.sentence) from fault
    if size is not None:
        context.progress(size)  # the files' headers are not part of any tensor's bytes
    return Outcome(result={"facts": replace(facts, room=rooms(folder, facts)).to_dict()})
