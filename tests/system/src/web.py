"""The HTTPS server of every MTA-STS policy of the world.

web.py ADDRESS DIRECTORY      prints its process id once it listens
"""
import http.server
import ssl
import sys

import background


class Policy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        domain = self.headers["Host"].removeprefix("mta-sts.")
        text = f"version: STSv1\r\nmode: enforce\r\nmx: mx.{domain}\r\nmax_age: 86400\r\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


address, here = sys.argv[1:]
server = http.server.HTTPServer((address, 443), Policy)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(here + "/cert.pem", here + "/key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
background.detach()
server.serve_forever()
