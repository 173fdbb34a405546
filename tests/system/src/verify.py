"""Verifies every DKIM signature of a message with dkimpy, by the records that "postern dns --json" printed.

verify.py RECORDS MESSAGE      prints the algorithm of each signature that holds; any that does not hold ends it with an error
"""
import json
import re
import sys

import dkim

documents = json.load(open(sys.argv[1]))
documents = documents if isinstance(documents, list) else [documents]
records = {r["name"].rstrip("."): r["data"] for d in documents for r in d["records"] if r["type"] == "TXT"}


def text(name, timeout=5):
    data = records.get(name.decode().rstrip("."), "")
    return "".join(re.findall(r'"([^"]*)"', data) or [data]).encode()


message = open(sys.argv[2], "rb").read().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
count = len([name for name, _ in dkim.DKIM(message).headers if name.lower() == b"dkim-signature"])
for number in range(count):
    signed = dkim.DKIM(message)
    if not signed.verify(idx=number, dnsfunc=text):
        sys.exit(f"signature {number} does not hold")
    print(signed.signature_fields[b"a"].decode())
