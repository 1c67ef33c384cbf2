"""Parquet tables: manifests of a dataset, its pictures with landmarks, and embeddings of a run."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from speech2face.errors import UserError
from speech2face.files import atomic

if TYPE_CHECKING:
    import pyarrow as pa


def is_manifest(table: Path) -> bool:
    """Whether a table has the column `status`, as those of pipeline=prepare do.

    Raises UserError if it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return "status" in pq.read_schema(table).names
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{table}: not a table that can be read ({' '.join(str(error).split())})") from None


def open_table(parquet: Path) -> "pa.Table":
    """Memory-map a Parquet table. Parquet is compressed, so an uncompressed .arrow file beside it is mapped instead.

    The .arrow file is written if it is missing or older than the table. Raises UserError if the table cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    mapped = parquet.with_suffix(".arrow")
    try:
        if not mapped.exists() or mapped.stat().st_mtime_ns < parquet.stat().st_mtime_ns:
            with (
                pq.ParquetFile(parquet) as table,
                atomic(mapped) as partial,
                pa.ipc.new_file(str(partial), table.schema_arrow) as file,
            ):
                for batch in table.iter_batches(4096):
                    file.write_batch(batch)
        return pa.ipc.open_file(pa.memory_map(str(mapped))).read_all()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{parquet}: not a table that can be read ({' '.join(str(error).split())})") from None


def read_landmarks(file: Path) -> tuple[dict[str, str], dict[str, np.ndarray], dict[str, str]]:
    """Read a table of pictures: the path of each last picture by person, landmarks (72, 2) and masks by path.

    All are empty if the table has no landmarks. Raises UserError if it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = pq.read_schema(file).names
        if "landmarks" not in names:
            return {}, {}, {}
        table = pq.read_table(file, columns=["person", "path", "landmarks", *{"mask"} & set(names)])
        table = table.filter(table["landmarks"].is_valid())
        values = table["landmarks"].combine_chunks().flatten().to_numpy().reshape(-1, 72, 2)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise UserError(f"{file}: not a table of faces ({' '.join(str(error).split())})") from None
    people, paths = table["person"].to_pylist(), table["path"].to_pylist()
    masks = table["mask"].to_pylist() if "mask" in table.column_names else []
    landmarks = dict(zip(paths, values, strict=True))
    return dict(zip(people, paths, strict=True)), landmarks, dict(zip(paths, masks, strict=bool(masks)))


def write_embeddings(file: Path, batches: Iterable[tuple[Mapping[str, Sequence[str | None]], np.ndarray]]) -> None:
    """Write a table of embeddings in one piece: columns of text, and `embedding`, a list of fixed size of float32.

    batches: the columns (n,) by name, and the embeddings (n, d). Every batch becomes a row group.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    with atomic(file) as partial:
        for columns, embeddings in batches:
            flat = pa.array(np.ascontiguousarray(embeddings, np.float32).ravel())
            texts = {name: pa.array(values, pa.string()) for name, values in columns.items()}
            table = pa.table(texts | {"embedding": pa.FixedSizeListArray.from_arrays(flat, embeddings.shape[1])})
            writer = writer or pq.ParquetWriter(
                str(partial), table.schema, compression="zstd", use_dictionary=list(columns)
            )
            writer.write_table(table)
        if writer:
            writer.close()
