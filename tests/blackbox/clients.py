"""What users of the official client library do. Run with the address of a gateway and a step."""

import sys

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Enum,
    Gauge,
    Histogram,
    Info,
    Summary,
    delete_from_gateway,
    instance_ip_grouping_key,
    push_to_gateway,
    pushadd_to_gateway,
)

address, step = sys.argv[1:]


def registry(**gauges):
    made = CollectorRegistry()
    for name, value in gauges.items():
        Gauge(name, f"Help of {name}.", registry=made).set(value)
    return made


if step == "types":
    made = CollectorRegistry()
    Counter("work", "Work done.", ["kind"], registry=made).labels("a \"b\"\\\n").inc(3)
    Gauge("level", "Level.", registry=made).set(1.5)
    summary = Summary("took_seconds", "Took.", registry=made)
    summary.observe(2)
    summary.observe(4)
    histogram = Histogram("size_bytes", "Size.", buckets=[1, 10], registry=made)
    histogram.observe(5)
    Info("build", "Build.", registry=made).info({"version": "1.2"})
    Enum("state", "State.", states=["on", "off"], registry=made).state("off")
    push_to_gateway(address, job="types", registry=made)
elif step == "replace":
    push_to_gateway(address, job="j", registry=registry(first=1, second=2))
    pushadd_to_gateway(address, job="j", registry=registry(second=3))
    push_to_gateway(f"http://{address}", job="k", registry=registry(first=4, gone=5))
    push_to_gateway(f"http://{address}", job="k", registry=registry(first=6))
elif step == "delete":
    delete_from_gateway(address, job="j")
    delete_from_gateway(address, job="never-pushed")
elif step == "keys":
    for number, value in enumerate(["/var/tmp", "", "ü€𝄞", "a=b&c", "100%", "\"\\", "a", "/", "a/b/", "a b+c"]):
        key = {"value": value, "number": number}
        push_to_gateway(address, job="keys", registry=registry(m=number), grouping_key=key)
    push_to_gateway(address, job="a/b", registry=registry(m=1), grouping_key={})
elif step == "instance":
    key = instance_ip_grouping_key()
    push_to_gateway(address, job="instance", registry=registry(m=1), grouping_key=key)
    print(key["instance"])
elif step == "refused":
    # The library raises on what it was told, and does not hide the status.
    try:
        push_to_gateway(address, job="j", registry=registry(m=1), grouping_key={"__x": "1"})
    except Exception as error:
        print(error)
else:
    sys.exit(f"unknown step {step}")
