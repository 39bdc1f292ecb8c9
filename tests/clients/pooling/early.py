"""http.client: a refused request, and the next one on the same connection.

usage: early.py BROKER TOKEN
"""

import http.client
import sys
import time
from urllib.parse import urlsplit

BODY = b'{"subdomain":"acme","app":"saas-approuter"}'
REFUSED = [
    ("PUT", "/routes/t1", {}, 401),
    ("POST", "/nowhere", {}, 404),
    ("PATCH", "/routes", {}, 405),
    ("GET", "/spaces", {}, 400),
    ("PUT", "/routes/t1", {"Authorization": True, "Content-Type": "text/plain"}, 415),
]


def main(broker, token):
    host = urlsplit(broker).netloc
    wrong = 0
    for method, path, headers, status in REFUSED:
        headers = {name: f"Bearer {token}" if value is True else value for name, value in headers.items()}
        for wait in [0, 0.0005, 0.002, 0.01]:
            connection = http.client.HTTPConnection(host, timeout=10)
            connection.putrequest(method, path)
            for name, value in {**headers, "Content-Length": str(len(BODY))}.items():
                connection.putheader(name, value)
            connection.endheaders()
            time.sleep(wait)
            try:
                connection.send(BODY)
                answer = connection.getresponse()
                answer.read()
                seen = [answer.status]
                # http.client opens a new connection by itself only if it was told of the end.
                connection.request("GET", "/health")
                seen.append(connection.getresponse().status)
            except OSError as error:
                seen = [repr(error)]
            if seen != [status, 200]:
                print(method, path, wait, seen)
                wrong += 1
            connection.close()
    print("ok: every next request was served" if not wrong else f"{wrong} failures")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
