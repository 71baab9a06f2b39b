"""Writes a .tar.gz with bytes that depend only on its files: sorted, without owner or time."""

import gzip
import io
import tarfile
from collections.abc import Mapping

MEDIA_TYPE = "application/gzip"


def tar_gz(files: Mapping[str, bytes]) -> bytes:
    """Returns the archive of `files`, which are given by path; equal files give equal bytes."""
    out = io.BytesIO()
    with (
        gzip.GzipFile(filename="", fileobj=out, mode="wb", compresslevel=6, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in sorted(files):
            member = tarfile.TarInfo(path)
            member.size, member.mode, member.mtime = len(files[path]), 0o644, 0
            archive.addfile(member, io.BytesIO(files[path]))
    return out.getvalue()
