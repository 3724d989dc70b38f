"""Reads files of OpenMetrics text with the official parser, and prints for each that it refuses its
path, a tab and why."""

import sys

from prometheus_client.openmetrics import parser

for path in sys.argv[1:]:
    with open(path, encoding="utf-8", newline="") as file:
        try:
            for _ in parser.text_string_to_metric_families(file.read()):
                pass
        except Exception as error:
            print(path, " ".join(repr(error).split()), sep="\t")
