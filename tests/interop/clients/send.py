"""send.py MODE PORT CA USER PASSWORD FROM TO FILE: smtplib sends the bytes of FILE.

MODE: mx (no TLS, no login), starttls, tls.
"""

import smtplib
import ssl
import sys

mode, port, ca, user, password, sender, to, file = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
if mode == "tls":
    server = smtplib.SMTP_SSL("localhost", int(port), context=context)
else:
    server = smtplib.SMTP("localhost", int(port))
with server:
    server.ehlo("client.remote.test")
    if mode == "starttls":
        server.starttls(context=context)
        server.ehlo("client.remote.test")
    if mode != "mx":
        server.login(user, password)
    options = ["BODY=8BITMIME"]
    if not (sender + to).isascii():
        options.append("SMTPUTF8")
    with open(file, "rb") as message:
        refused = server.sendmail(sender, [to], message.read(), mail_options=options)
    if refused:
        sys.exit(f"refused: {refused}")
