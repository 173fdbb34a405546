"""How a server of the world goes into the background: whoever started it goes on once it listens, and has its process id."""
import os
import socket
import sys


def listen(address, port):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(64)
    return listener


def detach():
    child = os.fork()
    if child:
        print(child)
        sys.exit(0)
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
