"""Reads an XML stream with expat, and prints the meaning of each top-level element as a JSON line for forwarded.ts."""
import json
import sys
from xml.parsers import expat

SEPARATOR = '\x01'


def split(name):
    uri, found, local = name.rpartition(SEPARATOR)
    return (uri, local) if found else ('', name)


def key(name):
    uri, local = split(name)
    return local if uri == '' else '{%s}%s' % (uri, local)


class Reader:
    def __init__(self):
        self.open = []

    def start(self, name, attributes):
        uri, local = split(name)
        # Sorted as JavaScript sorts strings: by UTF-16 code units.
        pairs = sorted(([key(n), v] for n, v in attributes.items()), key=lambda pair: pair[0].encode('utf-16-be'))
        self.open.append([uri, local, pairs, []])

    def text(self, data):
        nodes = self.open[-1][3] if self.open else []
        if nodes and isinstance(nodes[-1], str):
            nodes[-1] += data
        else:
            nodes.append(data)

    def end(self, _):
        element = self.open.pop()
        if len(self.open) == 1:
            print(json.dumps(element, ensure_ascii=True, separators=(',', ':')))
        elif self.open:
            self.open[-1][3].append(element)


reader = Reader()
parser = expat.ParserCreate('utf-8', SEPARATOR)
parser.StartElementHandler = reader.start
parser.EndElementHandler = reader.end
parser.CharacterDataHandler = reader.text
parser.ParseFile(sys.stdin.buffer)
