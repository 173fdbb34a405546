"""How a server of the world goes into the background: whoever started it goes on once it listens, and has its process id."""
import os
import socket
import sys
import time

# Seconds for whoever had the address before to end.
PATIENCE = 20


def listen(address, port):
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_server((address, port), backlog=64)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def detach():
    child = os.fork()
    if child:
        print(child)
        sys.exit(0)
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
