"""Client methods for traits, and for vectors made elsewhere."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from binnacle import uploads
from binnacle.errors import BinnacleError
from binnacle.parts.calls import Body, Calls
from binnacle.results import Trait, TraitDetail, Vector
from binnacle.served import quoted


class Traits(Calls):
    """The part of the client for traits and vectors that users upload."""

    def traits(self, **filters: Any) -> list[Trait]:
        """Returns every version of every trait you may use, newest first; filters: name, owner.

        >>> [trait["name"] for trait in client.traits(name="refusal")]
        ['refusal']
        """
        return list(self._pages(Trait, "/v1/traits", filters, None))

    def trait(self, reference: str) -> TraitDetail:
        """Returns a trait by name, name@version or id: its counts, the values that were filled in, its versions.

        >>> client.trait("refusal")["counts"]["positive"] > 0
        True
        """
        return self._get(TraitDetail, f"/v1/traits/{quoted(reference)}")

    def trait_dataset(self, reference: str) -> Body:
        """Returns the dataset of a trait as jobs read it.

        >>> sorted(client.trait_dataset("refusal"))[:3]
        ['definition', 'made_for', 'name']
        """
        return self._get(Body, f"/v1/traits/{quoted(reference)}/dataset.json")

    def add_trait(
        self,
        source: str | Path | Sequence[str | Path] | Body,
        name: str | None = None,
        *,
        file_format: str | None = None,
        visibility: str | None = None,
        group: str | None = None,
        on_note: Callable[[str], None] = lambda _: None,
    ) -> Trait:
        """Uploads a folder (trait-interp's files), a file or files of another tool, or a dataset. Equal content creates nothing new.

        The trait has the folder's or the first file's name unless `name`. `file_format` (folder, caa, persona_vectors, repeng, pairs, messages)
        is detected from the content when missing; the trait's `notes` name the content that is used and the content that is dropped,
        and `on_note` hears which files of a folder were not sent.

        >>> rows = {"positive": ["Thank them.", "Praise it."], "negative": ["Snub them.", "Scorn it."]}
        >>> questions = {"questions": ["How do I ask?", "What do I write?"]}
        >>> client.add_trait({**rows, "steering": questions}, "praise")["name"]
        'praise'
        """
        shown = {"visibility": visibility, "group": group}
        if isinstance(source, dict):
            if file_format is not None:
                raise BinnacleError("bad_option", "file_format says how files are read; a dataset in memory needs none.")
            body = {**source, **{key: value for key, value in {"name": name, **shown}.items() if value is not None}}
            return self._send(Trait, "POST", "/v1/traits", body)
        fields = {"format": file_format, **shown}
        if isinstance(source, str | Path):
            path = uploads.resolved(source)
            return uploads.upload_trait(
                self._connection, path, {"name": name or (path.stem if path.is_file() else path.name), **fields}, on_note
            )
        files = [uploads.resolved(file) for file in source]
        if not files:
            raise BinnacleError("no_files", "add_trait was given an empty list: name a folder, a file or several files.")
        return uploads.upload_trait(self._connection, files, {"name": name or files[0].stem, **fields})

    def import_vectors(
        self, file: str | Path, model: str, *, on_note: Callable[[str], None] = lambda _: None, **fields: Any
    ) -> list[Vector]:
        """Uploads a file of vectors: safetensors, .npy, GGUF, or .pt, which is converted on this machine (`binnacle.pickled` lists the layouts).

        fields as in the API: vector_layers, component, position, method, trait, name. Reading a .pt file needs torch; `on_note` hears what is
        left out.

        >>> import numpy as np
        >>> np.save("mine.npy", np.ones((1, 160), dtype=np.float32))
        >>> [vector["layer"] for vector in client.import_vectors("mine.npy", "demo-severe", vector_layers=[3], name="ones")]
        [3]
        """
        return uploads.upload_vectors(self._connection, Path(file), {"model": model, **fields}, on_note)
