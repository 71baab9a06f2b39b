"""Client methods that read results and download their files."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from binnacle import downloads, placing, steered
from binnacle.parts.jobs import Jobs
from binnacle.results import Calibration, CalibrationFile, Extraction, Job, Node, Steering, Study, Tables, Vector
from binnacle.served import id_of, quoted

if TYPE_CHECKING:
    import numpy as np


class Results(Jobs):
    """The part of the client that reads results."""

    def calibration(self, calibration: str) -> CalibrationFile:
        """Returns calibration.json of a calibration (`cal_...`), or of the job that made it (`job_...`).

        >>> calibration = client.calibration(next(client.calibrations(model="demo-severe"))["id"])
        >>> calibration["aggregate"]["severity"]["verdict"]
        'severe'
        """
        return self._get(CalibrationFile, f"/v1/calibrations/{quoted(calibration)}/calibration.json")

    def calibrations(self, *, limit: int | None = None, **filters: Any) -> Iterator[Calibration]:
        """Yields calibrations, newest first; filters: model, experiment, model_variant.

        >>> next(client.calibrations(model="demo-severe"))["model"]
        'demo-severe'
        """
        yield from self._pages(Calibration, "/v1/calibrations", filters, limit)

    def extraction(self, extraction: str) -> Extraction:
        """Returns an extraction (`ext_...`, or its job), with the facts of each of its vectors.

        >>> client.extraction(next(client.extractions(model="demo-severe"))["id"])["trait"]
        'refusal'
        """
        return self._get(Extraction, f"/v1/extractions/{quoted(extraction)}")

    def extractions(self, *, limit: int | None = None, **filters: Any) -> Iterator[Extraction]:
        """Yields extractions, newest first, without their vectors; filters: model, trait, experiment, model_variant.

        >>> next(client.extractions(trait="refusal"))["methods"]
        ['mean_diff']
        """
        yield from self._pages(Extraction, "/v1/extractions", filters, limit)

    def vector(self, vector: str) -> Vector:
        """Returns a vector (`vec_...`): its origin, its norm and how well it separates the classes.

        >>> client.vector(next(client.vectors(model="demo-severe"))["id"])["layer"]
        3
        """
        return self._get(Vector, f"/v1/vectors/{quoted(vector)}")

    def vectors(self, *, limit: int | None = None, **filters: Any) -> Iterator[Vector]:
        """Yields vectors; filters: model, trait, method, layer, position, component, source, extraction; sort: a separation metric.

        >>> [vector["method"] for vector in client.vectors(model="demo-severe", layer=3, source="extracted", limit=1)]
        ['mean_diff']
        """
        yield from self._pages(Vector, "/v1/vectors", filters, limit)

    def load(self, vector: str | Vector) -> "np.ndarray[Any, np.dtype[np.float32]]":
        """Returns the numbers of a vector: a unit vector, float32, [D].

        >>> client.load(next(client.vectors(model="demo-severe"))).shape
        (160,)
        """
        from binnacle.arrays import load

        return load(self._connection, id_of(vector))

    def steering(self, steering: str) -> Steering:
        """Returns a steering (`str_...`, or its job): per method the chosen layer and dose and its gain on the test questions.

        >>> client.steering(next(client.steerings(model="demo-severe"))["id"])["trait"]
        'refusal'
        """
        return self._get(Steering, f"/v1/steerings/{quoted(steering)}")

    def steerings(self, *, limit: int | None = None, **filters: Any) -> Iterator[Steering]:
        """Yields steerings, newest first; filters: model, trait.

        >>> next(client.steerings(model="demo-severe"))["judge"]
        'reference'
        """
        yield from self._pages(Steering, "/v1/steerings", filters, limit)

    def studies(self, *, limit: int | None = None, **filters: Any) -> Iterator[Study]:
        """Yields studies, newest first.

        >>> "succeeded" in [study["state"] for study in client.studies()]
        True
        """
        yield from self._pages(Study, "/v1/studies", filters, limit)

    def study_of(self, study: str) -> Study:
        """Returns a study (`std_...`, or its job): the current state of its graph, and its result once the report is written.

        >>> client.study_of(next(client.jobs(kind="report", state="succeeded"))["id"])["progress"]["succeeded"] > 0
        True
        """
        return self._get(Study, f"/v1/studies/{quoted(study)}")

    def tables(self, study: str) -> Tables:
        """Returns tables.json of a study (`std_...`) or of its job.

        >>> tables = client.tables(next(client.jobs(kind="report", state="succeeded"))["id"])
        >>> {recommendation["model"] for recommendation in tables["recommendations"]}
        {'demo-severe'}
        """
        return self._get(Tables, f"/v1/studies/{quoted(study)}/tables.json")

    def nodes(self, study: str) -> dict[str, Node]:
        """Returns the current jobs of a study's graph by name: job, kind, model, trait, state.

        >>> sorted(client.nodes(next(client.jobs(kind="report", state="succeeded"))["id"]))[0]
        'calibrate/demo-severe'
        """
        return self.study_of(study)["nodes"]

    def download(
        self,
        source: downloads.Source,
        to: str | Path = "./",
        *,
        format: str = "safetensors",  # noqa: A002
        overwrite: bool = False,
    ) -> Path:
        """Downloads a file to a path or into a folder (ending in `/`); resumes a partial download, and checks the SHA-256.

        source: an artifact of a job; a vector or its id, in a `format` (safetensors, gguf, npy); or a path of the API.
        Raises BinnacleError when the file exists with other content, unless `overwrite`.

        >>> vector = next(client.vectors(model="demo-severe"))
        >>> client.download(vector, "vectors/").suffix
        '.safetensors'
        >>> job = next(client.jobs(kind="calibrate", state="succeeded"))
        >>> client.download(job["artifacts"][0], "results/").name
        'calibration.json'
        """
        return downloads.download(self._connection, source, to, file_format=format, overwrite=overwrite)

    def download_all(self, job: str | Job, to: str | Path | None = None, *, overwrite: bool = False) -> list[Path]:
        """Downloads every artifact of a job into a folder, by default one named by the job's id.

        Raises BinnacleError, and writes nothing, when one of the files exists there with other content, unless `overwrite`.

        >>> job = next(client.jobs(kind="calibrate", state="succeeded"))
        >>> [str(path.relative_to(job["id"])) for path in client.download_all(job)]
        ['calibration.json']
        """
        fetched = self.job(job)
        return downloads.download_all(
            self._connection, fetched["artifacts"], Path(fetched["id"] if to is None else to), overwrite=overwrite
        )

    def write_steered(
        self,
        vector: str | Vector,
        to: str | Path,
        *,
        coefficient: float,
        hookpoint: str = steered.HOOKPOINT,
        overwrite: bool = False,
    ) -> Path:
        """Writes a vector of the residual stream for lm-evaluation-harness' `steered` models to `to` (.pt); needs torch.

        coefficient: times the unit vector. hookpoint: the block's name inside the model, with `{layer}` for its number.
        Raises BinnacleError when the file exists with other content, unless `overwrite`.

        >>> client.write_steered(next(client.vectors(model="demo-severe")), "results/steer.pt", coefficient=4.0).name
        'steer.pt'
        """
        held = self.vector(id_of(vector))
        return steered.write(
            self.load(held),
            Path(to),
            layer=held["layer"],
            component=held["component"],
            coefficient=coefficient,
            hookpoint=hookpoint,
            overwrite=overwrite,
        )

    def place_calibration(
        self,
        which: str,
        to: str | Path = "./",
        *,
        experiment: str | None = None,
        model_variant: str | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Saves calibration.json in trait-interp's folders below `to`; experiment, model_variant: by default the file's own.

        Raises BinnacleError for a job of another kind and when another file is there, unless `overwrite`.

        >>> client.place_calibration(next(client.calibrations())["id"], "work", experiment="mine").parts[:3]
        ('work', 'experiments', 'mine')
        """
        job = self.job(self.job_of(which))
        return placing.place_calibration(self._connection, job, Path(to), experiment, model_variant, overwrite=overwrite)
