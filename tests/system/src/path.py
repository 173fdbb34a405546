"""Something in the path to a mail host: passes everything on, or meddles.

path.py LISTEN TARGET MODE SEEN      prints its process id once it listens

MODE   through   every byte goes on as it is
       strip     the host's offer of STARTTLS becomes unreadable, as some firewalls make it
       refuse    STARTTLS is answered here, with a refusal, and the host never hears of it
SEEN   a file that gets every line of a client that it could read while it meddled
"""
import socket
import sys
import threading

import background

address, target, mode, seen = sys.argv[1:]


def from_client(line, client):
    with open(seen, "ab") as file:
        file.write(line)
    if mode == "refuse" and line.strip().upper() == b"STARTTLS":
        client.sendall(b"454 4.7.0 TLS is not available now\r\n")
        return b""
    return line


def from_host(line):
    return line.replace(b"STARTTLS", b"XXXXXXXX") if mode == "strip" else line


def pump(source, sink, change):
    try:
        pieces = iter(lambda: source.recv(65536), b"") if mode == "through" else source.makefile("rb")
        for piece in pieces:
            sink.sendall(piece if mode == "through" else change(piece))
    except OSError:
        pass
    for side in (source, sink):
        try:
            side.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(client):
    with client, socket.create_connection((target, 25)) as host:
        back = threading.Thread(target=pump, args=(host, client, from_host), daemon=True)
        back.start()
        pump(client, host, lambda line: from_client(line, client))
        back.join()


listener = background.listen(address, 25)
background.detach()
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
