"""The official client library for Python, step by step; says what came of each. See main.rs."""

import base64
import os
import sys
from urllib.error import HTTPError

from prometheus_client import (
    CollectorRegistry, Counter, Enum, Gauge, Histogram, Info, Summary,
    delete_from_gateway, disable_created_metrics, push_to_gateway, pushadd_to_gateway,
)
from prometheus_client.exposition import basic_auth_handler, default_handler, tls_auth_handler

url, user, password, ca, certificate = sys.argv[1:]


def handler(url, method, timeout, headers, data):
    if not ca:
        if not user:
            return default_handler(url, method, timeout, headers, data)
        return basic_auth_handler(url, method, timeout, headers, data, user, password)
    # The library's handlers for users and for TLS cannot be put together.
    if user:
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        headers = [*headers, ("Authorization", f"Basic {token}")]
    return tls_auth_handler(url, method, timeout, headers, data, certificate, certificate, ca)


def step(name, function, job, registry=None, **more):
    arguments = more if registry is None else {**more, "registry": registry}
    try:
        function(url, job=job, handler=handler, **arguments)
        outcome = "ok"
    except HTTPError as error:
        outcome = f"{error}: {error.read().decode()}"
    except Exception as error:
        outcome = f"{type(error).__name__}: {error}"
    print(f"{name}: " + " ".join(outcome.split()))


def gauges(**values):
    registry = CollectorRegistry()
    for name, value in values.items():
        Gauge(name, f"Help of {name}.", registry=registry).set(value)
    return registry


if os.environ.get("STEPS") == "ttl":
    step("label", push_to_gateway, "label", gauges(of=1), grouping_key={"__ttl__": "2h"})
    step("gauge", push_to_gateway, "gauge", gauges(push_ttl_seconds=7200))
    step("malformed", push_to_gateway, "malformed", gauges(of=1), grouping_key={"__ttl__": "soon"})
    sys.exit()

# They say when the script ran.
disable_created_metrics()
types = CollectorRegistry()
Counter("jobs", "Jobs, \"quoted\\\nand broken.", ["kind"], registry=types).labels("a\"b\\c\n").inc(3)
level = Gauge("level", "Level.", ["of"], registry=types)
for value in [1e9, 1e-7, float("nan"), float("inf"), float("-inf"), -0.0]:
    level.labels(str(value)).set(value)
Histogram("took_seconds", "Time.", buckets=[0.1, 1], registry=types).observe(0.5)
Summary("size_bytes", "Bytes.", registry=types).observe(7)
Info("build", "Build.", registry=types).info({"version": "1"})
Enum("state", "State.", states=["on", "off"], registry=types).state("off")

step("types", push_to_gateway, "types", types, grouping_key={"instance": "i", "zone": "z"})
step("gzip", push_to_gateway, "gzip", types, compression="gzip")
step("snappy", push_to_gateway, "snappy", types, compression="snappy")
values = ["/var/tmp", "", "ü€𝄞", "a=b&c", "100%", "\"\\", "/", "a/b/", "a b+c", "..", "a?b#c", "a\nb"]
for number, value in enumerate(values):
    step(f"value {number}", push_to_gateway, "values", gauges(of=number), grouping_key={"value": value})
step("job", push_to_gateway, "a/b", gauges(of=1))
step("two", push_to_gateway, "added", gauges(first=1, second=2))
step("add", pushadd_to_gateway, "added", gauges(second=3), compression="gzip")
step("more", push_to_gateway, "replaced", gauges(first=4, second=5))
step("less", push_to_gateway, "replaced", gauges(first=6))
step("push", push_to_gateway, "gone", gauges(first=7), grouping_key={"path": "/gone"})
step("delete", delete_from_gateway, "gone", grouping_key={"path": "/gone"})
step("delete none", delete_from_gateway, "never")
step("reserved", push_to_gateway, "reserved", gauges(first=8), grouping_key={"__x": "y"})
conflict = CollectorRegistry()
Summary("first", "Help of first.", registry=conflict).observe(1)
step("conflict", push_to_gateway, "conflict", conflict)
# A delete is only queued when it is answered; what is pushed after it is applied after it.
step("last", push_to_gateway, "last", gauges(first=9))
