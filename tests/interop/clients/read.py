"""read.py PORT CA USER PASSWORD MAILBOX DIR: imaplib reads a mailbox into DIR/UID.eml, and what it says of each into DIR/UID.structure."""

import imaplib
import re
import ssl
import sys

port, ca, user, password, mailbox, directory = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
with imaplib.IMAP4_SSL("localhost", int(port), ssl_context=context) as imap:
    if user.isascii():
        imap.login(user, password)
    else:
        imap.authenticate("PLAIN", lambda _: f"\0{user}\0{password}".encode())
    status, data = imap.select(mailbox, readonly=True)
    if status != "OK":
        sys.exit(f"SELECT: {data}")
    status, data = imap.uid("SEARCH", None, "ALL")
    for uid in data[0].decode().split():
        status, data = imap.uid("FETCH", uid, "(RFC822.SIZE BODYSTRUCTURE BODY.PEEK[])")
        if status != "OK":
            sys.exit(f"FETCH {uid}: {data}")
        head, body = next(part for part in data if isinstance(part, tuple))
        rest = b" ".join(part for part in data if isinstance(part, bytes))
        size = int(re.search(rb"RFC822\.SIZE (\d+)", head + rest).group(1))
        if size != len(body):
            sys.exit(f"RFC822.SIZE {size}, but {len(body)} bytes came")
        with open(f"{directory}/{uid}.eml", "wb") as file:
            file.write(body)
        with open(f"{directory}/{uid}.structure", "wb") as file:
            file.write(head + rest)
