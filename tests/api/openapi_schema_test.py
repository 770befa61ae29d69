"""/openapi.json is a valid OpenAPI 3.1 document, its references lead somewhere, and its examples keep its own schemas.

usage: openapi_schema_test.py OPENAPI_JSON

openapi-3.1.schema.json is https://spec.openapis.org/oas/3.1/schema/2022-10-07 (Apache-2.0), the published schema.
"""

import json
import pathlib
import sys
import unittest

try:
    from jsonschema import Draft202012Validator, RefResolver
except ImportError:
    sys.exit("jsonschema with draft 2020-12 is missing: apt install python3-jsonschema (4.0 or later)")

HERE = pathlib.Path(__file__).resolve().parent


def references(value):
    if isinstance(value, dict):
        for name, member in value.items():
            if name == "$ref" and isinstance(member, str):
                yield member
            else:
                yield from references(member)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


class OpenApi(unittest.TestCase):
    def setUp(self):
        self.document = json.loads(pathlib.Path(DOCUMENT).read_text())

    def at(self, reference: str):
        self.assertTrue(reference.startswith("#/"), reference)
        value = self.document
        for part in reference[2:].split("/"):
            value = value[part.replace("~1", "/").replace("~0", "~")]
        return value

    def schema(self, schema: dict) -> Draft202012Validator:
        return Draft202012Validator(schema, resolver=RefResolver("", self.document))

    def test_is_openapi_3_1(self):
        schema = json.loads((HERE / "openapi-3.1.schema.json").read_text())
        problems = [f"{e.json_path}: {e.message[:200]}" for e in Draft202012Validator(schema).iter_errors(self.document)]
        self.assertEqual(problems, [])

    def test_references_lead_somewhere(self):
        found = set(references(self.document))
        self.assertGreater(len(found), 20)
        for reference in found:
            self.at(reference)

    def test_schemas_are_schemas(self):
        for name, schema in self.document["components"]["schemas"].items():
            with self.subTest(name):
                Draft202012Validator.check_schema(schema)

    def test_examples_keep_the_schemas(self):
        examples = 0
        for path in self.document["paths"].values():
            content = path.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json")
            if content is None:
                continue
            for example in content["examples"].values():
                self.schema(content["schema"]).validate(example["value"])
                examples += 1
        self.assertGreaterEqual(examples, 4)

    def test_what_the_api_refuses_breaks_the_schema(self):
        mail = self.schema({"$ref": "#/components/schemas/Mail"})
        good = {"to": "ada@example.com", "template": "welcome"}
        self.assertTrue(mail.is_valid(good))
        self.assertTrue(mail.is_valid({"type": "x", "unknown": 1, "message": good}))
        for bad in ({}, {**good, "subjet": "x"}, {"message": {**good, "subjet": "x"}}, {"to": "ada"}, {"to": "a@b.org"}):
            self.assertFalse(mail.is_valid(bad), bad)


if __name__ == "__main__":
    DOCUMENT = sys.argv.pop(1)
    unittest.main()
