"""Verifies the two newest signatures of every message in a directory against the records beside them."""

import pathlib
import sys

import dkim

directory = pathlib.Path(sys.argv[1])
records = dict(line.split(" ", 1) for line in (directory / "records").read_text().splitlines())


def dnsfunc(name, timeout=5):
    name = name.decode() if isinstance(name, bytes) else name
    return records.get(name, "").encode() or None


verified, unreadable, failed = 0, 0, []
for path in sorted(directory.glob("*.eml")):
    message = path.read_bytes()
    for index in range(2):
        try:
            good = dkim.DKIM(message).verify(idx=index, dnsfunc=dnsfunc)
        except dkim.MessageFormatError:
            # dkimpy does not read the obsolete syntax of RFC 5322 4.5.8, a blank before the colon.
            unreadable += 1
            continue
        except dkim.DKIMException as error:
            good = False
            print(f"{path.name} {index}: {error}")
        if good:
            verified += 1
        else:
            failed.append(f"{path.name} {index}")
print(f"verified {verified}, unreadable {unreadable}")
if failed:
    sys.exit("not verified: " + ", ".join(failed))
