"""Setup steps of cases, as code that the environment's own Python runs: nothing on the host is touched."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import FunctionType
from typing import Any

from attacks import inside, inside_archives, inside_formats
from toolwright.errors import DataError
from toolwright.words import nearest

_MODULES = (inside, inside_archives, inside_formats)
_OTHER_NAMES = {
    "mkfifo": "fifo pipe named_pipe",
    "symlink": "link ln ln_s soft_link",
    "hardlink": "hard_link",
    "unix_socket": "socket",
    "mkdir": "dir folder makedirs mkdirs",
    "write": "write_text file write_file create touch",
    "write_base64": "write_b64",
    "write_hex": "hex",
    "write_bytes_name": "bytes_name",
    "sparse": "truncate sparse_file write_sparse",
    "write_zeros": "zeros big write_big",
    "write_repeat": "repeat",
    "write_many": "many_files files",
    "deep_dirs": "deep mkdir_deep nested_dirs deep_tree",
    "race_swap": "swap_race race",
    "zip_zeros": "zip_bomb",
    "zip_symlink": "zip_link",
    "zip_duplicate": "zip_dup zip_duplicates zip_same_name",
    "zip_nested": "zip_quine zip_recursive",
    "tar_symlink": "tar_link tar_sym",
    "tar_hardlink": "tar_hard",
    "tar_device": "tar_dev tar_chr tar_block",
    "tar_fifo": "tar_mkfifo",
    "tar_setuid": "tar_suid tar_mode",
    "tar_zeros": "tar_bomb tgz_zeros tar_gz_zeros targz_zeros",
    "gzip_zeros": "gz_zeros gzip_bomb gz_bomb gz",
    "bz2_zeros": "bz2_bomb",
    "xz_zeros": "xz_bomb lzma_zeros",
    "png_dims": "png png_bomb image",
    "png_text": "png_ztxt png_text_bomb",
    "gif_frames": "gif_many gif_bomb gif",
    "bmp_dims": "bmp",
    "write_pickle": "pickle pkl joblib",
    "write_npy_object": "npy npy_object write_npy npy_pickle",
    "json_deep": "deep_json write_json_deep",
    "csv_wide": "csv_columns wide_csv",
    "csv_rows": "csv_many",
    "xml_bomb": "billion_laughs xml_laughs xml_entities",
    "yaml_bomb": "yaml_aliases yaml_laughs",
    "xlsx_zeros": "xlsx_bomb docx_zeros",
    "database": "sqlite sql db write_db sqlite_db",
}


@lru_cache(maxsize=1)
def steps() -> Mapping[str, Callable[..., None]]:
    """The steps by name."""
    items = [item for module in _MODULES for item in vars(module).items()]
    found = {name: item for name, item in items if isinstance(item, FunctionType) and name[0] != "_"}
    return found | {other: found[name] for name, others in _OTHER_NAMES.items() for other in others.split()}


def setup_code(setup: object) -> str:
    """Code that takes the steps of a ``setup``: a list of objects, or one object, from step to its arguments.

    Raises:
        DataError: a step that nobody knows.
    """
    rows: Sequence[Any] = setup if isinstance(setup, list) else [setup]
    calls = []
    for row in rows:
        if not isinstance(row, dict):
            raise DataError(f"setup: expected objects such as {{'write': ['a.txt', 'hi']}}, got {row!r:.60}")
        for name, given in row.items():
            arguments = given if isinstance(given, list) else [] if given is None else [given]
            calls.append([_step(name), arguments])
    lines = [line for module in _MODULES for line in Path(str(module.__file__)).read_text().splitlines()]
    source = "\n".join(line for line in lines if not line.startswith("from attacks"))
    source += f"\nfor _name, _arguments in {calls!r}:\n    globals()[_name](*_arguments)\n"
    return f"exec({source!r}, {{'__name__': 'setup'}})"  # in a namespace of its own


def _step(name: str) -> str:
    """The function that takes a step: by its name, an alias, or all of its words in the name."""
    known = steps()
    if name in known:
        return known[name].__name__
    words = set(name.lower().split("_"))
    fitting = [option for option in known if set(option.split("_")) <= words]
    if not fitting:
        raise DataError(f"setup: no step {name!r}{nearest(name, list(known))}")
    return known[max(fitting, key=lambda option: (option.count("_"), len(option)))].__name__


def race_of(setup: object) -> tuple[str, str, str] | None:
    """The two names and the target that a race swaps while calls run."""
    for row in setup if isinstance(setup, list) else [setup]:
        for name, given in row.items() if isinstance(row, dict) else ():
            if steps().get(name) is inside.race_swap and isinstance(given, list) and len(given) == 3:
                return str(given[0]), str(given[1]), str(given[2])
    return None
