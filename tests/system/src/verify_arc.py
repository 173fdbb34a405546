"""Says what dkimpy makes of the ARC chain of a message, by the records that "postern dns --json" printed.

verify_arc.py RECORDS MESSAGE      prints what holds of it and how many sets it has
"""
import json
import re
import sys

import dkim

documents = json.load(open(sys.argv[1]))
records = {r["name"].rstrip("."): r["data"] for d in documents for r in d["records"] if r["type"] == "TXT"}


def text(name, timeout=5):
    data = records.get(name.decode().rstrip("."), "")
    return "".join(re.findall(r'"([^"]*)"', data) or [data]).encode()


message = open(sys.argv[2], "rb").read().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
result, sets, reason = dkim.arc_verify(message, dnsfunc=text)
print(result.decode() if result else "ended", len(sets), "" if result == dkim.CV_Pass else reason)
