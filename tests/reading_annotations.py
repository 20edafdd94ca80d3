"""Strict readers of ELAN's and Praat's files, by their specifications and not by our writers."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from datetime import datetime
from xml.etree import ElementTree

# EAFv3.0.xsd: attributes that must and that may be there, of the elements that we use.
ATTRIBUTES: dict[str, tuple[set[str], set[str]]] = {
    "ANNOTATION_DOCUMENT": ({"DATE", "AUTHOR", "VERSION"}, {"FORMAT"}),
    "HEADER": (set(), {"MEDIA_FILE", "TIME_UNITS"}),
    "MEDIA_DESCRIPTOR": ({"MEDIA_URL", "MIME_TYPE"}, {"RELATIVE_MEDIA_URL"}),
    "PROPERTY": (set(), {"NAME"}),
    "TIME_ORDER": (set(), set()),
    "TIME_SLOT": ({"TIME_SLOT_ID"}, {"TIME_VALUE"}),
    "TIER": ({"TIER_ID", "LINGUISTIC_TYPE_REF"}, {"PARTICIPANT", "PARENT_REF"}),
    "ANNOTATION": (set(), set()),
    "ALIGNABLE_ANNOTATION": ({"ANNOTATION_ID", "TIME_SLOT_REF1", "TIME_SLOT_REF2"}, set()),
    "REF_ANNOTATION": ({"ANNOTATION_ID", "ANNOTATION_REF"}, set()),
    "ANNOTATION_VALUE": (set(), set()),
    "LINGUISTIC_TYPE": (
        {"LINGUISTIC_TYPE_ID"},
        {"TIME_ALIGNABLE", "CONSTRAINTS", "GRAPHIC_REFERENCES"},
    ),
    "CONSTRAINT": ({"STEREOTYPE"}, {"DESCRIPTION"}),
}
ORDER = ("HEADER", "TIME_ORDER", "TIER", "LINGUISTIC_TYPE", "CONSTRAINT")
INSTANCE = "{http://www.w3.org/2001/XMLSchema-instance}noNamespaceSchemaLocation"


@dataclass
class EafTier:
    """Annotations in milliseconds; of a dependent tier those of their parents."""

    parent: str | None
    annotations: list[tuple[int, int, str]] = field(default_factory=list)


def read_eaf(text: str) -> tuple[ElementTree.Element, dict[str, EafTier]]:
    """The header and the tiers by name; AssertionError for what EAF 3.0 does not allow."""
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n')
    root = ElementTree.fromstring(text.encode())
    assert root.tag == "ANNOTATION_DOCUMENT"
    assert root.attrib.pop(INSTANCE).endswith("/EAFv3.0.xsd")
    assert root.attrib["FORMAT"] == "3.0"
    datetime.fromisoformat(root.attrib["DATE"])
    for element in root.iter():
        required, optional = ATTRIBUTES[element.tag]
        assert required <= set(element.attrib) <= required | optional, element.tag
    places = [ORDER.index(child.tag) for child in root]
    assert places == sorted(places)
    assert places.count(0) == places.count(1) == 1
    identities = [
        value
        for element in root.iter()
        for name, value in element.attrib.items()
        if name in {"TIME_SLOT_ID", "ANNOTATION_ID", "STEREOTYPE"}  # all of them xsd:ID
    ]
    assert len(set(identities)) == len(identities)
    assert all(re.fullmatch(r"[A-Za-z_][\w.-]*", identity) for identity in identities)
    header = root[0]
    assert [child.tag for child in header] == ["MEDIA_DESCRIPTOR", "PROPERTY", "PROPERTY"]
    assert header.attrib["TIME_UNITS"] == "milliseconds"
    slots = {slot.attrib["TIME_SLOT_ID"]: int(slot.attrib["TIME_VALUE"]) for slot in root[1]}
    assert list(slots.values()) == sorted(slots.values())
    assert all(0 <= time < 2**32 for time in slots.values())  # xsd:unsignedInt
    assert len(slots) == 2 * len(root.findall("TIER/ANNOTATION/ALIGNABLE_ANNOTATION"))
    types = {one.attrib["LINGUISTIC_TYPE_ID"]: one.attrib for one in root.iter("LINGUISTIC_TYPE")}
    constraints = {one.attrib["STEREOTYPE"] for one in root.iter("CONSTRAINT")}
    tiers: dict[str, EafTier] = {}
    spans: dict[str, tuple[int, int]] = {}
    of_tier: dict[str, set[str]] = {}
    for element in root.iter("TIER"):
        name, parent = element.attrib["TIER_ID"], element.attrib.get("PARENT_REF")
        assert name not in tiers
        kind = types[element.attrib["LINGUISTIC_TYPE_REF"]]
        assert (parent is None) == (kind["TIME_ALIGNABLE"] == "true")
        assert (parent is None) == ("CONSTRAINTS" not in kind)
        tiers[name], of_tier[name] = EafTier(parent), set()
        parents: list[str] = []
        for (annotation,) in element:
            (value,) = annotation
            assert value.tag == "ANNOTATION_VALUE"
            at = annotation.attrib
            if parent is None:
                assert annotation.tag == "ALIGNABLE_ANNOTATION"
                span = slots[at["TIME_SLOT_REF1"]], slots[at["TIME_SLOT_REF2"]]
                assert span[0] < span[1]
            else:
                assert annotation.tag == "REF_ANNOTATION"
                assert kind["CONSTRAINTS"] in constraints
                assert at["ANNOTATION_REF"] in of_tier[parent]
                parents.append(at["ANNOTATION_REF"])
                span = spans[at["ANNOTATION_REF"]]
            spans[at["ANNOTATION_ID"]] = span
            of_tier[name].add(at["ANNOTATION_ID"])
            tiers[name].annotations.append((*span, value.text or ""))
        assert len(set(parents)) == len(parents)  # one for each parent, at most
        found = sorted(tiers[name].annotations)
        assert all(one[1] <= other[0] for one, other in itertools.pairwise(found))
    assert header[1].attrib["NAME"] == "lastUsedAnnotationId"
    assert int(header[1].text or "") == len(spans)
    return header, tiers


Interval = tuple[float, float, str]


def read_textgrid(text: str) -> tuple[float, dict[str, list[Interval]]]:
    """The end and the tiers by name; AssertionError for what is no TextGrid in the long format, or
    has gaps."""
    lines = iter(text.split("\n"))

    def expect(pattern: str, indent: int) -> str:
        line = next(lines)
        match = re.fullmatch(" " * 4 * indent + pattern, line)
        assert match is not None, (pattern, line)
        return match[1] if match.groups() else ""

    number, quoted = r"(\d+(?:\.\d+)?)", r'"((?:[^"]|"")*)"'
    expect('File type = "ooTextFile"', 0)
    expect('Object class = "TextGrid"', 0)
    expect("", 0)
    assert float(expect(f"xmin = {number}", 0)) == 0
    end = float(expect(f"xmax = {number}", 0))
    assert end > 0
    expect("tiers\\? <exists>", 0)
    count = int(expect(r"size = (\d+)", 0))
    assert count
    expect(r"item \[\]:", 0)
    tiers: dict[str, list[Interval]] = {}
    for place in range(1, count + 1):
        expect(rf"item \[{place}\]:", 1)
        expect('class = "IntervalTier"', 2)
        name = expect(f"name = {quoted}", 2).replace('""', '"')
        assert name not in tiers
        assert float(expect(f"xmin = {number}", 2)) == 0
        assert float(expect(f"xmax = {number}", 2)) == end
        found = tiers[name] = []
        for interval in range(1, int(expect(r"intervals: size = (\d+)", 2)) + 1):
            expect(rf"intervals \[{interval}\]:", 2)
            start = float(expect(f"xmin = {number}", 3))
            stop = float(expect(f"xmax = {number}", 3))
            found.append((start, stop, expect(f"text = {quoted}", 3).replace('""', '"')))
            assert start < stop
        assert found[0][0] == 0
        assert found[-1][1] == end
        assert all(one[1] == other[0] for one, other in itertools.pairwise(found))
    assert list(lines) == [""]
    return end, tiers
