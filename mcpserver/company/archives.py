"""Archives with fixed times: zip, tar and gzip; and the same treatment for office files, which are zip files."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Mapping

from mcpserver.company.made import MOMENT, Files, Made

_ZIP_TIME = (MOMENT.year, MOMENT.month, MOMENT.day, MOMENT.hour, MOMENT.minute, 0)
_UNIX_TIME = 1741968000  # 2025-03-14 16:00 UTC


def zip_files(members: Mapping[str, bytes]) -> bytes:
    """A zip file whose bytes depend on nothing but the members and their order."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name, _ZIP_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            info.create_system = 3
            archive.writestr(info, content)
    return out.getvalue()


def unzip_files(content: bytes) -> dict[str, bytes]:
    """The members of a zip file that this package made."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def tar_files(members: Mapping[str, bytes]) -> bytes:
    """A tar file with fixed times and owners."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(content), _UNIX_TIME, 0o644
            info.uname = info.gname = "alderwick"
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def gzip_bytes(content: bytes) -> bytes:
    """A gzip stream without a name and with a fixed time."""
    return gzip.compress(content, mtime=_UNIX_TIME)


def make_archives(files: Mapping[str, bytes]) -> Files:
    """The archives, from files of the world.

    Args:
        files: the content of other files by path.
    """
    reports = {path.removeprefix("reports/"): files[path] for path in sorted(files) if path.startswith("reports/")}
    reports["figures/chart.png"] = files["images/chart.png"]
    logs = {path: files[path] for path in ("logs/server.log", "logs/access.log", "logs/jobs.log")}
    old = {
        "old/products_2019.csv": b"product_id,name,price\nP-001,Hydra 20 Pump,219.9\nP-002,Lock Valve Mk1,24.9\n",
        "old/readme.txt": b"Price list of 2019. Kept for the auditors until the end of 2026.\n",
        "old/memo.txt": b"From: Finance\nTo: Sales\nThe 2019 prices are withdrawn. Please use data/products.csv.\n",
    }
    note = b"Meter readings of the Leeds plant were moved to data/meters.parquet on 3 March 2025.\nAsk Operations.\n"
    return {
        "archives/reports.zip": Made(zip_files(reports), "The monthly reports and a chart, zipped."),
        "archives/logs.tar.gz": Made(gzip_bytes(tar_files(logs)), "The three log files in a compressed tar archive."),
        "archives/old.tar": Made(tar_files(old), "The withdrawn price list of 2019 with a memo."),
        "archives/note.txt.gz": Made(gzip_bytes(note), "A compressed note on meter readings."),
    }
