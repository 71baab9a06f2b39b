"""Client methods that submit jobs. Every call sends an idempotency key, so a retry never submits a second job."""

from collections.abc import Mapping, Sequence
from typing import Any

from binnacle.parts.calls import Body
from binnacle.parts.jobs import Jobs
from binnacle.results import Answer, Generation, Job, Vector
from binnacle.served import RESULTS, ROUTES, id_of, quoted

Prompt = str | Mapping[str, str | None]
"""A prompt, or `{"prompt": ..., "system_prompt": ...}`."""


class Making(Jobs):
    """The part of the client that submits jobs."""

    def submit(
        self, kind: str, *, idempotency_key: str | None = None, dry_run: bool = False, reuse: bool = False, **spec: Any
    ) -> Job:
        """Submits a job: kind is calibrate, extract, steer, generate or study; `spec` holds the fields of the request, as in the API.

        dry_run: return the validated spec and its estimated cost; no job is made. reuse: return a finished job of the same content if
        there is one. Raises ServiceError, which names the invalid field.

        >>> job = client.submit("calibrate", model="demo-severe", max_new_tokens=4, reuse=True)
        >>> job["kind"]
        'calibrate'
        """
        if kind not in ROUTES:
            raise ValueError(f"{kind!r} is not a kind of job; the kinds are {', '.join(ROUTES)}")
        return self._post_once(
            ROUTES[kind], json=spec, key=idempotency_key, params={"dry_run": dry_run or None, "reuse": reuse or None}
        )

    def calibrate(self, model: str, **spec: Any) -> Job:
        """Submits a job that finds a model's massive dimensions; `spec`: prompts, layers, rule, max_new_tokens, name, tags.

        >>> job = client.calibrate("demo-severe", max_new_tokens=4)
        >>> job["state"] in ("queued", "running")
        True
        """
        return self.submit("calibrate", model=model, **spec)

    def extract(self, model: str, trait: str, **spec: Any) -> Job:
        """Submits a job that extracts vectors; `spec`: methods, positions, components, layers, calibration, control_vectors, name, tags.

        >>> job = client.extract("demo-severe", "refusal", methods=["mean_diff"], layers=[3], resamples=0, reuse=True)
        >>> client.wait(job)["result"]["extraction"]["id"].startswith("ext_")
        True
        """
        return self.submit("extract", model=model, trait=trait, **spec)

    def steer(self, model: str, trait: str, **spec: Any) -> Job:
        """Submits a job that searches doses and reports gains; `spec`: vectors or extraction, methods, layers, budget, judge, name, tags.

        Without vectors and extraction, the newest fitting extraction is used, or made first when there is none.

        >>> job = client.steer("demo-severe", "refusal", methods=["mean_diff"], layers=[3], budget=2, max_new_tokens=4)
        >>> job["kind"]
        'steer'
        >>> client.cancel(job)["id"] == job["id"]
        True
        """
        return self.submit("steer", model=model, trait=trait, **spec)

    def generate(
        self,
        model: str,
        prompts: Prompt | Sequence[Prompt],
        *,
        vectors: str | Vector | Sequence[str | Vector] = (),
        doses: Sequence[float] | None = None,
        coefficients: Sequence[float] | None = None,
        max_new_tokens: int | None = None,
        wait: float = 120,
        **spec: Any,
    ) -> list[Answer]:
        """Returns answers to prompts: unsteered, and under each of `vectors` (or their ids) at each of `doses` or `coefficients`.

        Waits at most `wait` seconds for the answers. `spec`: operation, scope, calibration, sampling, name, tags.

        >>> vector = next(client.vectors(model="demo-severe", method="mean_diff"))
        >>> answers = client.generate("demo-severe", ["describe a river ."], vectors=[vector["id"]], doses=[0.5], max_new_tokens=4)
        >>> [(answer["vector"] == vector["id"], answer["dose"]) for answer in answers]
        [(False, None), (True, 0.5)]
        """
        given = {"doses": doses, "coefficients": coefficients, "max_new_tokens": max_new_tokens}
        fields = {name: value for name, value in given.items() if value is not None}
        several = [vectors] if isinstance(vectors, str | Mapping) else vectors  # a str is itself a sequence, of characters
        job = self.generate_job(model, prompts, vectors=[id_of(vector) for vector in several], **fields, **spec)
        self.wait(job, timeout=wait)
        return self.answers(job)

    def generate_job(self, model: str, prompts: Prompt | Sequence[Prompt], **spec: Any) -> Job:
        """Submits the job of `generate` without waiting for it; `client.answers(job)` returns the answers.

        >>> client.generate_job("demo-severe", ["describe a river ."], max_new_tokens=4)["kind"]
        'generate'
        """
        several = [prompts] if isinstance(prompts, str | Mapping) else prompts  # a str is itself a sequence, of characters
        asked = [prompt if isinstance(prompt, str) else dict(prompt) for prompt in several]
        return self.submit("generate", model=model, prompts=asked, **spec)

    def answers(self, job: str | Job) -> list[Answer]:
        """Returns the answers of a finished generation.

        >>> job = client.wait(client.generate_job("demo-severe", ["describe a river ."], max_new_tokens=4))
        >>> [answer["prompt"] for answer in client.answers(job)]
        ['describe a river .']
        """
        return self._get(Generation, f"/v1/generations/{quoted(id_of(job))}")["answers"]

    def study(self, models: list[str], traits: list[str], **spec: Any) -> Job:
        """Submits all jobs of a study and returns the last, the report; `spec`: methods, layers, evidence, budget, judge, name, tags.

        >>> plan = client.submit("study", models=["demo-severe"], traits=["refusal"], methods=["mean_diff", "probe"], dry_run=True)
        >>> job = client.study(["demo-severe"], ["refusal"], methods=["mean_diff", "probe"], layers=[3])
        >>> job["kind"]
        'report'
        >>> client.cancel(job)["id"] == job["id"]
        True
        """
        return self.submit("study", models=models, traits=traits, **spec)

    def label(self, study: str, labels: Mapping[str, float]) -> Job:
        """Submits a new report of a study with a person's labels (0-100) of the texts in its labelling.csv, by id.

        >>> client.label(next(client.jobs(kind="report", state="succeeded"))["id"], {"no such text": 50})
        Traceback (most recent call last):
        binnacle.errors.ServiceError: ...
        """
        return self._post_once(f"/v1/studies/{quoted(study)}/labels", json={"labels": dict(labels)})

    def export(self, result: str | Body, format: str, **chosen: Any) -> Job:  # noqa: A002 - the API's own word
        """Submits a job that writes an extraction as `trait-interp`, `pt`, `gguf` or `npy`; chosen: methods, layers, positions, components.

        A calibration (`cal_...`) is written in trait-interp's folders; `beside`: further calibrations.

        >>> extraction = next(client.extractions(model="demo-severe"))
        >>> client.export(extraction["id"], "npy")["kind"]
        'export'
        """
        name = id_of(result)
        route = RESULTS.get(name.partition("_")[0], RESULTS["ext"])
        return self._post_once(f"{route}/{quoted(name)}/exports", json={"format": format, **chosen})

    def estimate(self, kind: str, **spec: Any) -> Body:
        """Returns the estimated cost of a job and its validated spec; submits nothing.

        >>> client.estimate("calibrate", model="demo-severe")["spec"]["model"]
        'demo-severe'
        """
        return dict(self.submit(kind, dry_run=True, **spec))
