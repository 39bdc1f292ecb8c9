"""Validates mta.yaml and manifest.yml strictly against their published schemas, and proves that the check can fail."""

import copy
import json
import pathlib
import sys

import yaml
from jsonschema import Draft7Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7


def strict(schema):
    """The published schemas list parameters as anyOf, which accepts wrong values. As allOf it finds them."""
    for name in ("module-parameters", "resource-parameters"):
        definition = schema.get("definitions", {}).get(name)
        if definition and "anyOf" in definition:
            definition["allOf"] = definition.pop("anyOf")
    return schema


def load(folder):
    schemas = {p.name: strict(json.loads(p.read_text())) for p in sorted(folder.glob("*.json"))}
    resources = [(s["$id"], Resource.from_contents(s, default_specification=DRAFT7)) for s in schemas.values() if "$id" in s]
    return schemas, Registry().with_resources(resources)


def findings(schema, registry, document):
    errors = Draft7Validator(schema, registry=registry).iter_errors(document)
    return [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in errors]


def main():
    schemas, registry = load(pathlib.Path(sys.argv[1]))
    mta = yaml.safe_load(pathlib.Path("mta.yaml").read_text())
    manifest = yaml.safe_load(pathlib.Path("manifest.yml").read_text())
    json.loads(pathlib.Path("config/xs-security.json").read_text())
    wrong = findings(schemas["mta.json"], registry, mta)
    wrong += findings(schemas["cloudfoundry-application-manifest.json"], registry, manifest)
    for finding in wrong:
        print(finding)
    for key, value in (("memory", "lots"), ("readiness-health-check-type", "htp")):
        broken = copy.deepcopy(mta)
        broken["modules"][0]["parameters"][key] = value
        if not findings(schemas["mta.json"], registry, broken):
            wrong.append(key)
            print(f"the check accepts {key}: {value}")
    print(f"descriptors: {len(wrong)} findings")
    return 1 if wrong else 0


sys.exit(main())
