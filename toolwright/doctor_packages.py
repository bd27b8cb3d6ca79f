"""Which packages are installed, against what ``pyproject.toml`` asks for and ``constraints.txt`` was tested with."""

import importlib.metadata
import importlib.util
import platform
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).resolve().parents[1]
NAMED = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "mcp")
"""Packages whose versions decide most: each has a line of its own."""
EXTRAS = {"qlora": "4-bit training", "jupyter": "Python tool on a Jupyter kernel", "wandb": "tracking"}


class Finding(NamedTuple):
    """One line of the report; ``cure`` is empty when nothing is to be done."""

    what: str
    found: str
    cure: str = ""
    fatal: bool = False


def packages(root: Path = ROOT) -> Iterator[Finding]:
    """Python, the packages that are required, those that are optional."""
    project, tested = _project(root), _tested(root / "constraints.txt")
    yield _python(str(project.get("requires-python", ">=3.11")))
    required = _requirements(project.get("dependencies", ()))
    looked = {requirement.name: look_at(requirement, tested, root=root) for requirement in required}
    fine = [name for name, finding in looked.items() if not finding.fatal and not finding.cure]
    yield from (finding for name, finding in looked.items() if name in NAMED or name not in fine)
    yield Finding("packages", f"{len(fine)} of {len(looked)} required ones as tested")
    for extra, what in EXTRAS.items():
        for requirement in _requirements(project.get("optional-dependencies", {}).get(extra, ())):
            finding = look_at(requirement, tested, extra, root)
            yield finding._replace(what=f"{finding.what} ({what})")


def look_at(
    requirement: Requirement, tested: Mapping[str, str], extra: str | None = None, root: Path = ROOT
) -> Finding:
    """Whether a package is there in a version that goes; another than the tested one is said, and goes."""
    name = requirement.name
    pip = _pip(requirement, extra, root)
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "not installed" + (" (optional)" if extra else ""), pip, fatal=extra is None)
    if not allows(requirement.specifier, version):
        return Finding(name, f"{version}, needs {requirement.specifier}", pip, fatal=extra is None)
    known = tested.get(_plain(name))
    if known is not None and known != version.partition("+")[0]:
        return Finding(name, f"{version}, tested with {known}", pip)
    return Finding(name, version)


def _pip(requirement: Requirement, extra: str | None, root: Path) -> str:
    """The line that installs a package, as a shell takes it wherever it is; an installed toolwright has no checkout."""
    here = Path.cwd() == root
    constraints = root / "constraints.txt"
    tested = f"-c {shlex.quote(constraints.name if here else str(constraints))} " if constraints.is_file() else ""
    if extra is None:
        return f"pip install {tested}{shlex.quote(f'{requirement.name}{requirement.specifier}')}"
    if not (root / "pyproject.toml").is_file():
        return f"pip install {shlex.quote(f'toolwright[{extra}]')}"
    place = "." if here else root
    return f"pip install {tested}-e {shlex.quote(f'{place}[{extra}]')}"


def allows(specifier: SpecifierSet, version: str) -> bool:
    """Whether a version goes; a build's own label (+cu128) does not matter."""
    try:
        return specifier.contains(Version(version.partition("+")[0]), prereleases=True)
    except InvalidVersion:
        return False


def spec_exists(module: str) -> bool:
    """Whether a module can be imported, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _python(wanted: str) -> Finding:
    version = platform.python_version()
    if allows(SpecifierSet(wanted), version.partition("rc")[0].rstrip("+")):
        return Finding("python", version)
    return Finding("python", f"{version}, needs {wanted}", "install Python 3.11 or later", fatal=True)


def _project(root: Path) -> Mapping[str, Any]:
    """The ``project`` table of a checkout; of an installed package, what its metadata say."""
    path = root / "pyproject.toml"
    if path.is_file():
        project: Mapping[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        return project
    try:
        listed = importlib.metadata.requires("toolwright") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    plain = [line for line in listed if "extra ==" not in line]
    extras = {name: [line for line in listed if re.search(rf"extra == ['\"]{name}['\"]", line)] for name in EXTRAS}
    return {"dependencies": plain, "optional-dependencies": extras}


def _requirements(lines: Sequence[str]) -> list[Requirement]:
    found = []
    for line in lines:
        try:
            found.append(Requirement(line))
        except InvalidRequirement:
            continue
    return found


def _tested(path: Path) -> Mapping[str, str]:
    """Versions of ``constraints.txt`` by plain name; nothing where there is no such file."""
    if not path.is_file():
        return {}
    pairs = (line.split("==") for line in path.read_text(encoding="utf-8").splitlines() if "==" in line)
    return {_plain(name): version.strip().partition("+")[0] for name, version in pairs}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()
