"""Says of every message in a directory what its ARC chain is, by the records beside them; "ended" is one whose last seal says cv=fail."""

import pathlib
import sys

import dkim

directory = pathlib.Path(sys.argv[1])
records = dict(line.split(" ", 1) for line in (directory / "records").read_text().splitlines())


def dnsfunc(name, timeout=5):
    name = name.decode() if isinstance(name, bytes) else name
    return records.get(name, "").encode() or None


for path in sorted(directory.glob("*.eml")):
    result, sets, reason = dkim.arc_verify(path.read_bytes(), dnsfunc=dnsfunc)
    print(path.stem, result.decode() if result else "ended", len(sets), reason if result != dkim.CV_Pass else "")
