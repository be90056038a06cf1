#!/usr/bin/env python3
"""Reports the steps of two orders to Spex over HTTP; needs nothing but Python 3.8.

    spex dev                                        # in another terminal
    python3 docs/examples/python/spex_example.py    # or with another address as its argument
"""
import json, os, random, sys, time, urllib.error, urllib.parse, urllib.request, uuid

BASE = (sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:7380") + "/v1/namespaces/default"


class SpexError(Exception):
    def __init__(self, status):
        details = status.get("details") or [{}]
        self.reason = details[0].get("reason", "")
        super().__init__(self.reason + ": " + status.get("message", ""))


def request_id():
    """A UUIDv7: it carries its time, so that the cluster never takes a late retry for a new request."""
    value = int(time.time() * 1000) << 80 | random.SystemRandom().getrandbits(80)
    return str(uuid.UUID(int=value & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62))


def call(method, path, body=None, patience=10.0):
    """Retries what may work later; what is sent again has the same request id."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    end, pause = time.monotonic() + patience, 0.02
    while True:
        try:
            request = urllib.request.Request(BASE + path, data, {"Content-Type": "application/json"}, method=method)
            with urllib.request.urlopen(request, timeout=patience) as response:
                return json.load(response)
        except urllib.error.HTTPError as e:
            if e.code not in (429, 503, 504) or time.monotonic() + pause > end:
                raise SpexError(json.load(e)) from None
        except OSError:  # no connection, or it broke
            if time.monotonic() + pause > end:
                raise
        time.sleep(pause * random.uniform(0.5, 1))
        pause *= 2


def run(order, steps):
    call("POST", "/instances", {"spec": "order", "id": order, "request_id": request_id()})
    for seq, (action, state) in enumerate(steps, start=2):
        step = {"action": action, "to_state": state, "expected_seq": seq, "request_id": request_id()}
        answer = call("POST", "/instances/" + urllib.parse.quote(order, safe="") + "/transitions", step)
        print(order, seq, action, "->", state, answer["verdict"])
        if answer["judgement"]:
            print("   ", answer["judgement"]["explanation"])


with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "order.yaml"), "rb") as specification:
    call("POST", "/specifications", specification.read())
run("python/" + request_id(), [("checkout", "pending"), ("pay", "paid"), ("ship", "shipped"), ("deliver", "delivered")])
call("POST", "/models/order/seal", {}, patience=60)
run("python/" + request_id(), [("pay", "paid"), ("ship", "shipped")])  # nobody checked out
for d in call("GET", "/deviations?spec=order")["deviations"]:
    print("deviation:", d["transition"]["from"], d["transition"]["action"], d["transition"]["to"], "seen", d["count"], "times")
