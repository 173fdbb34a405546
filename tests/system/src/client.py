"""A user's and a stranger's mail programs, in the rest of the world. The standard library of Python speaks the protocols.

client.py deliver CA HOST ADDRESS SENDER RECIPIENT        a message from standard input, to port 25 with STARTTLS; prints the reply
client.py submit  CA HOST ADDRESS USER PASSWORD RECIPIENT...   the same to port 465, logged in
client.py stream  CA HOST ADDRESS SENDER RECIPIENT SUBJECT  messages without end, numbered in the subject; prints "NUMBER taken", "not" or
                                                          "refused" for each, the last when any listening port refused a connection
client.py fetch   CA HOST ADDRESS USER PASSWORD SUBJECT     waits for messages with this subject at port 993; prints them as JSON

Every command but stream tries again until its time is up, as mail programs do; only a server that answers ends it earlier.
"""
import imaplib
import json
import smtplib
import socket
import ssl
import sys
import time

PATIENCE = 60
verb, ca, host, address = sys.argv[1:5]
rest = sys.argv[5:]
context = ssl.create_default_context(cafile=ca)
resolve = socket.getaddrinfo
socket.getaddrinfo = lambda name, *more, **named: resolve(address if name == host else name, *more, **named)


def deliver(message, sender, recipient):
    with smtplib.SMTP(host, 25, "remote.example.net", timeout=20) as smtp:
        smtp.starttls(context=context)
        return transaction(smtp, message, sender, recipient)


def submit(message, user, password, *recipients):
    with smtplib.SMTP_SSL(host, 465, "remote.example.net", timeout=20, context=context) as smtp:
        smtp.login(user, password)
        return transaction(smtp, message, user, *recipients)


def transaction(smtp, message, sender, *recipients):
    header = message.partition(b"\r\n\r\n")[0]
    # RFC 6531 3.1: who writes beyond ASCII in an address or a header says so.
    options = [] if header.isascii() and "".join(recipients).isascii() else ["SMTPUTF8", "BODY=8BITMIME"]
    expect(smtp.ehlo())
    expect(smtp.mail(sender, options))
    for recipient in recipients:
        expect(smtp.rcpt(recipient))
    return expect(smtp.data(message))


def expect(reply):
    code, text = reply
    if code != 250:
        raise OSError(f"{code} {text}")
    return text.decode()


def fetch(user, password, subject):
    with imaplib.IMAP4_SSL(host, 993, ssl_context=context, timeout=20) as imap:
        imap.login(user, password)
        imap.select("INBOX", readonly=True)
        numbers = imap.uid("SEARCH", "HEADER", "Subject", f'"{subject}"')[1][0].split()
        if not numbers:
            raise OSError("not there yet")
        found = []
        for at in range(0, len(numbers), 500):  # What fits into a command line.
            found += imap.uid("FETCH", b",".join(numbers[at:at + 500]).decode(), "(BODY.PEEK[])")[1]
        return json.dumps([part[1].decode() for part in found if isinstance(part, tuple)])


def stream(sender, recipient, subject):
    number = 0
    while True:
        number += 1
        text = f"From: {sender}\r\nSubject: {subject}\r\nMessage-ID: <{number}@stream>\r\n\r\n{number}\r\n"
        try:
            for port in (465, 993):
                socket.create_connection((address, port), timeout=20).close()
            deliver(text.encode(), sender, recipient)
            outcome = "taken"
        except ConnectionRefusedError:
            outcome = "refused"
        except (OSError, smtplib.SMTPException) as error:
            outcome = f"not {error!r}"
        print(number, outcome, flush=True)


if verb == "stream":
    stream(*rest)
message = sys.stdin.buffer.read()
tries = {"deliver": lambda: deliver(message, *rest), "submit": lambda: submit(message, *rest), "fetch": lambda: fetch(*rest)}
deadline = time.monotonic() + PATIENCE
while True:
    try:
        print(tries[verb]())
        sys.exit(0)
    except (OSError, smtplib.SMTPException, imaplib.IMAP4.error) as error:
        # A refusal for good is an answer.
        if time.monotonic() > deadline or (verb == "deliver" and str(error).startswith("5")):
            sys.exit(f"{verb}: {error!r}")
        time.sleep(0.1)
