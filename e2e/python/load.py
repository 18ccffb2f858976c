"""Who asks and who answers in e2e/tests/metrics.rs: HTTP on 8080, an echo of bytes on 9000. Only what Python itself has.

load.py serve
load.py load HOST REQUESTS [PACE]   prints what was sent and what came back, as JSON
"""

import collections
import http.client
import http.server
import json
import socket
import socketserver
import sys
import threading
import time

THREADS = 4
CODES = (200, 200, 200, 404, 500)


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = b"%d" % len(self.path)
        self.send_response(int(self.path.rsplit("/", 1)[1]))
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data)


class Threads(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


def serve():
    http.server.ThreadingHTTPServer.request_queue_size = 128
    threading.Thread(target=Threads(("0.0.0.0", 9000), Echo).serve_forever, daemon=True).start()
    http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Answer).serve_forever()


def ask(host, number, requests, pace, seen):
    """Requests on one connection after another, twenty each."""
    connection = None
    for n in range(number, requests, THREADS):
        if connection is None or n // THREADS % 20 == 0:
            if connection:
                connection.close()
            connection = http.client.HTTPConnection(host, 8080, timeout=30)
        try:
            connection.request("GET", f"/status/{CODES[n % len(CODES)]}")
            answer = connection.getresponse()
            answer.read()
            seen[str(answer.status)] += 1
        except (OSError, http.client.HTTPException):
            seen["broken"] += 1
            connection.close()
            connection = None
        if pace:
            time.sleep(pace)


def send(host, number, connections, pace, seen):
    """Connections that each send some bytes, wait until these have come back, and end."""
    for n in range(number, connections, THREADS):
        data = b"x" * (1 + n * 977 % 50000)
        try:
            with socket.create_connection((host, 9000), timeout=30) as connection:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                back = 0
                while got := connection.recv(65536):
                    back += len(got)
            seen["connections"] += 1
            seen["sent"] += len(data)
            seen["received"] += back
        except OSError:
            seen["cut"] += 1
        if pace:
            time.sleep(pace)


def load(host, requests, pace):
    kinds = [(ask, requests), (send, requests // 10)]
    tasks = []
    for kind, number in kinds:
        for thread in range(THREADS):
            seen = collections.Counter()
            task = threading.Thread(target=kind, args=(host, thread, number, pace, seen))
            tasks.append((task, seen))
            task.start()
    total = collections.Counter()
    for task, seen in tasks:
        task.join()
        total += seen
    print(json.dumps(total), flush=True)


if sys.argv[1] == "serve":
    serve()
else:
    load(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]) if len(sys.argv) > 4 else 0)
