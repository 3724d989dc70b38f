"""Says which groups a damaged store still has, by its file alone: shares no code with Tidegate.

Prints, as JSON, for each group of which some version is whole the values of its families in the latest
such version, by the value of its label `group`. The format is described in docs/design.md and src/store.
"""

import json
import struct
import sys
import zlib
from collections import defaultdict
from pathlib import Path

MARK = b"\xf1Tg\x02"
HEADER = struct.Struct("<QIIIQI")
TOMBSTONE = 2**32 - 1


def pieces(data):
    """All whole pieces: (group, chunk, write) -> {place: (pieces, part)}."""
    found = defaultdict(dict)
    at = data.find(MARK)
    while at >= 0:
        step = len(MARK)
        if at + 40 <= len(data):
            group, chunk, place, count, write, length = HEADER.unpack_from(data, at + 4)
            (checksum,) = struct.unpack_from("<I", data, at + 36)
            part = data[at + 40 : at + 40 + length] if length <= 4056 else b""
            if len(part) == length and zlib.crc32(data[at : at + 36] + part) == checksum:
                found[group, chunk, write][place] = (count, part)
                step = 40 + length
        at = data.find(MARK, at + step)
    return found


def payloads(data):
    """group -> chunk -> [(write, payload)], the latest first."""
    chunks = defaultdict(lambda: defaultdict(list))
    for (group, chunk, write), parts in pieces(data).items():
        count = next(iter(parts.values()))[0]
        if set(parts) == set(range(count)):
            payload = b"".join(parts[place][1] for place in range(count))
            chunks[group][chunk].append((write, payload))
    for group in chunks.values():
        for versions in group.values():
            versions.sort(reverse=True)
    return chunks


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def fields(data):
    """The fields of a protobuf message."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        elif key & 7 == 1:
            value, at = data[at : at + 8], at + 8
        elif key & 7 == 2:
            length, at = varint(data, at)
            value, at = data[at : at + length], at + length
        else:
            raise ValueError(key)
        yield key >> 3, value


def families(message):
    for number, family in fields(message):
        if number == 15:
            parts = dict(fields(family))
            metrics = [metric for number, metric in fields(parts[8]) if number == 1]
            values = [dict(fields(metric))[2] for metric in metrics]
            yield parts[1].decode(), [struct.unpack("<d", value)[0] for value in values]


def checksum(group, chunk, payload):
    return zlib.crc32(struct.pack("<QI", group, chunk) + payload)


def latest(number, chunks):
    """The latest version of a group that is whole."""
    for write, head in chunks.get(0, []):
        said = dict(fields(head))
        count = said.get(9, 0)
        its = {}
        for chunk in range(1, count + 1):
            older = [payload for at, payload in chunks.get(chunk, []) if at <= write]
            its.update({chunk: payload for payload in older[:1]})
        total = sum(checksum(number, chunk, payload) for chunk, payload in its.items())
        if len(its) == count and total == said.get(10, 0):
            values = {}
            for message in [head, *its.values()]:
                values.update(families(message))
            labels = said[1].split(b"\xff")
            return dict(zip(labels[::2], labels[1::2])), values
    return None


def main():
    data = Path(sys.argv[1], "db").read_bytes()
    groups = {}
    for number, chunks in payloads(data).items():
        if number != 0 and TOMBSTONE not in chunks and (found := latest(number, chunks)):
            labels, values = found
            groups[labels[b"group"].decode()] = values
    json.dump(groups, sys.stdout)


main()
