"""Asks a Prometheus. Lines of JSON in: a path and its parameters; lines of JSON out: its answers.

ask.py PORT < QUESTIONS
"""

import http.client
import json
import sys
import urllib.parse

connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=60)
for line in sys.stdin:
    path, parameters = json.loads(line)
    body = urllib.parse.urlencode(parameters)
    connection.request("POST", path, body, {"content-type": "application/x-www-form-urlencoded"})
    print(connection.getresponse().read().decode().strip())
