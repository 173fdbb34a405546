"""Verifies the DKIM signatures of everything that arrived in the world with dkimpy, by the records that "postern dns --json" printed.

verify.py RECORDS MAIL      every file in MAIL/*/new; prints how many there are

Each message must have signatures by RSA and by Ed25519 of its author's domain, and every signature must hold.
"""
import email.utils
import glob
import json
import re
import sys

import dkim

documents = json.load(open(sys.argv[1]))
records = {r["name"].rstrip("."): r["data"] for d in documents for r in d["records"] if r["type"] == "TXT"}


def text(name, timeout=5):
    data = records.get(name.decode().rstrip("."), "")
    return "".join(re.findall(r'"([^"]*)"', data) or [data]).encode()


def verify(message):
    headers = [(name.lower(), value) for name, value in dkim.DKIM(message).headers]
    author = email.utils.parseaddr(next(v for n, v in headers if n == b"from").decode())[1].rpartition("@")[2].encode()
    algorithms = set()
    for number in range(len([name for name, _ in headers if name == b"dkim-signature"])):
        signed = dkim.DKIM(message)
        if not signed.verify(idx=number, dnsfunc=text):
            raise ValueError(f"signature {number} does not hold")
        if signed.signature_fields[b"d"] == author:
            algorithms.add(signed.signature_fields[b"a"])
    if algorithms != {b"rsa-sha256", b"ed25519-sha256"}:
        raise ValueError(f"signed for {author} with {algorithms}")


paths = glob.glob(sys.argv[2] + "/*/new/*")
for path in paths:
    try:
        verify(open(path, "rb").read().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    except (ValueError, dkim.DKIMException) as error:
        sys.exit(f"{path}: {error!r}\n{open(path, 'rb').read()[:8000]!r}")
print(len(paths))
