"""Pushes with the official client library for Python. See clients.rs."""

import ssl
import sys
import urllib.request

from prometheus_client import (
    CollectorRegistry, Counter, Gauge, Histogram, Info, Summary,
    delete_from_gateway, disable_created_metrics, push_to_gateway, pushadd_to_gateway,
)

url, user, password, ca = sys.argv[1:]


def handler(url, method, timeout, headers, data):
    def handle():
        request = urllib.request.Request(url, data=data, method=method)
        for name, value in headers:
            request.add_header(name, value)
        context = ssl.create_default_context(cafile=ca) if ca else None
        manager = urllib.request.HTTPPasswordMgrWithPriorAuth()
        manager.add_password(None, url, user, password, is_authenticated=True)
        handlers = [urllib.request.HTTPBasicAuthHandler(manager)] if user else []
        if context:
            handlers.append(urllib.request.HTTPSHandler(context=context))
        urllib.request.build_opener(*handlers).open(request, timeout=timeout)
    return handle


# They say when the script ran.
disable_created_metrics()
registry = CollectorRegistry()
Counter("py_jobs", "Jobs.", ["kind"], registry=registry).labels("a\"b\\c\n").inc(3)
Gauge("py_size", "Size.", registry=registry).set(1e9)
Histogram("py_seconds", "Time.", buckets=[0.1, 1], registry=registry).observe(0.5)
Summary("py_bytes", "Bytes.", registry=registry).observe(7)
Info("py_build", "Build.", registry=registry).info({"version": "1"})
more = CollectorRegistry()
Gauge("py_size", "Size.", registry=more).set(2)
for key in [{"zone": "z"}, {"instance": "i", "path": "/var/tmp", "empty": "", "text": "a b ü"}]:
    for job in ["py", "a/b"]:
        push_to_gateway(url, job=job, registry=registry, grouping_key=key, handler=handler)
        pushadd_to_gateway(url, job=job, registry=more, grouping_key=key, handler=handler)
push_to_gateway(url, job="gone", registry=registry, handler=handler)
delete_from_gateway(url, job="gone", handler=handler)
