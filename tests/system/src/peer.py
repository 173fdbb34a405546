"""Mail hosts that misbehave, each at an address of its own, until they are told to behave.

peer.py DIRECTORY NAME ADDRESS [NAME ADDRESS]...      prints its process id once all listen

Whatever their names say they do as long as the file DIRECTORY/behave is not there; "met" gets a line for each connection they did it to.
Messages that they take are put into DIRECTORY/mail/NAME/new, as they were on the wire.
"""
import os
import socket
import struct
import sys
import threading
import time

import background

MIB = 1 << 20
here, hosts = sys.argv[1], list(zip(sys.argv[2::2], sys.argv[3::2]))
number = iter(range(1_000_000))


def behaves():
    return os.path.exists(here + "/behave")


class Session:
    def __init__(self, client, name):
        self.client, self.name = client, name
        self.manner = None if behaves() else name
        self.stream = client.makefile("rb")
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.manner:
            with open(here + "/met", "a") as file:
                file.write(name + "\n")

    def say(self, text):
        data = text.encode() + b"\r\n"
        # drip: one byte at a time, and all of them in the end.
        for piece in [data[i : i + 1] for i in range(len(data))] if self.manner == "drip" else [data]:
            self.client.sendall(piece)
            if self.manner == "drip":
                time.sleep(0.005)

    def reset(self):
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def greet(self):
        if self.manner == "stuck":
            # A greeting without end, too slow to be too long.
            while not behaves():
                self.client.sendall(b"2")
                time.sleep(0.05)
            return False
        self.say("220 " + "x" * MIB if self.manner == "line" else "220 mx")
        return True

    def content(self):
        if self.manner == "cut":
            self.stream.read(10_000)
            self.reset()
            return None
        lines = []
        while (line := self.stream.readline()) != b".\r\n":
            if not line:
                return None
            lines.append(line[1:] if line.startswith(b".") else line)
        if self.manner == "silent":
            return None
        return b"".join(lines)

    def keep(self, message):
        new = f"{here}/mail/{self.name}/new"
        os.makedirs(new, exist_ok=True)
        part = f"{here}/mail/{self.name}/{next(number)}"
        with open(part, "wb") as file:
            file.write(message)
        os.rename(part, f"{new}/{os.path.basename(part)}")

    def speak(self):
        if not self.greet():
            return
        while line := self.stream.readline():
            verb = line[:4].upper()
            if verb == b"EHLO" and self.manner == "endless":
                while True:
                    self.client.sendall(b"250-and so on\r\n" * 1000)
            elif verb == b"EHLO":
                self.say("250-mx\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 50000000")
            elif verb == b"RCPT" and self.manner == "lines":
                self.say(("550-5.1.1 " + "x" * 400 + "\r\n") * (MIB // 412) + "550 5.1.1 nobody")
            elif verb == b"DATA":
                self.say("354 go on")
                message = self.content()
                if message is None:
                    return
                self.keep(message)
                self.say("250 2.0.0 taken")
            elif verb == b"QUIT":
                return self.say("221 bye")
            else:
                self.say("250 ok")


def serve(client, name):
    with client:
        try:
            Session(client, name).speak()
        except OSError:
            pass


def accept(listener, name):
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0], name), daemon=True).start()


listeners = [(background.listen(address, 25), name) for name, address in hosts]
background.detach()
for arguments in listeners[1:]:
    threading.Thread(target=accept, args=arguments, daemon=True).start()
accept(*listeners[0])
