"""The headers of the plugin ABI against those of each released minor, kept in v1.*/: plugins built from the kept ones
load for ever. What is in a kept header is in today's, the same and in the same place; only ends grow.

    layout_test.py CC                compares
    layout_test.py CC --keep v1.N    writes CHECKSUMS of a new folder, once
"""

import hashlib
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
TODAY = HERE.parent.parent / "sdk" / "include"
WHY = "plugins built against ABI {} break; docs/abi.md, How the ABI grows"


def declarations(include: pathlib.Path) -> tuple[dict[str, list[str]], dict[str, str]]:
    """The fields of each struct, as they are written; the constants with their values as they are written."""
    text = ""
    for path in sorted((include / "postbus" / "abi").glob("*.h")):
        text += path.read_text()
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    structs = {}
    for name, body in re.findall(r"typedef struct (\w+) \{(.*?)\n\} \1;", text, flags=re.DOTALL):
        structs[name] = [" ".join(field.split()) for field in body.split(";") if field.strip()]
    constants = {}
    for body in re.findall(r"enum \{(.*?)\}", text, flags=re.DOTALL):
        for one in body.split(","):
            name, value = one.split("=")
            constants[name.strip()] = value.strip()
    for name, value in re.findall(r"^#define (\w+) (.+)$", text, flags=re.MULTILINE):
        constants[name] = value.strip()
    return structs, constants


def field_name(declaration: str) -> str:
    function = re.search(r"\(\*(\w+)\)", declaration)
    return function[1] if function else re.search(r"(\w+)(\[\d+\])?$", declaration)[1]


def measure(cc: str, include: pathlib.Path, structs: dict[str, list[str]], constants: list[str]) -> dict[str, int]:
    """What the compiler makes of them: `struct` its size, `struct.field` its offset, `struct.field=` its size."""
    lines = ["#include <stdio.h>", '#include "postbus/abi.h"', "int main(void) {"]
    show = '  printf("%s %lld\\n", "{}", (long long)({}));'.format
    for struct, fields in structs.items():
        lines.append(show(struct, f"sizeof({struct})"))
        for name in map(field_name, fields):
            lines.append(show(f"{struct}.{name}", f"offsetof({struct}, {name})"))
            lines.append(show(f"{struct}.{name}=", f"sizeof((({struct}*)0)->{name})"))
    lines += [show(name, name) for name in constants]
    lines += ["  return 0;", "}", ""]
    with tempfile.TemporaryDirectory() as directory:
        source, program = pathlib.Path(directory) / "measure.c", pathlib.Path(directory) / "measure"
        source.write_text("\n".join(lines))
        subprocess.run([cc, "-std=c11", "-Wall", "-Werror", f"-I{include}", source, "-o", program], check=True)
        printed = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    return {name: int(value) for name, value in map(str.split, printed.splitlines())}


def compare(cc: str, kept: pathlib.Path, today: pathlib.Path) -> list[str]:
    """What a plugin built from `kept` would stumble over in a host built from `today`."""
    faults = []
    structs, constants = declarations(kept)
    structs_now, constants_now = declarations(today)
    for struct, fields in structs.items():
        now = structs_now.get(struct)
        if now is None:
            faults.append(f"{struct} is gone")
        elif now[: len(fields)] != fields:
            at = next(i for i, field in enumerate(fields) if i >= len(now) or now[i] != field)
            found = f'"{now[at]}"' if at < len(now) else "nothing"
            faults.append(f'{struct} has {found} where it had "{fields[at]}"')
        elif len(now) > len(fields) and "uint32_t size" not in fields:
            faults.append(f"{struct} grew, and has no `size` by which the other side could know")
    # The minor is what changes; ids are texts.
    numbers = [name for name in constants if name != "POSTBUS_ABI_MINOR" and '"' not in constants[name]]
    for name in constants:
        if name not in constants_now:
            faults.append(f"{name} is gone")
        elif '"' in constants[name] and constants[name] != constants_now[name]:
            faults.append(f"{name} is {constants_now[name]} and was {constants[name]}")
    if faults:
        return faults
    was = measure(cc, kept, structs, numbers)
    is_now = measure(cc, today, structs, numbers)
    for name, value in was.items():
        may_grow = name in structs and "uint32_t size" in structs[name]
        if is_now[name] < value or (is_now[name] > value and not may_grow):
            what = "size" if name in structs or name.endswith("=") else "place" if "." in name else "value"
            faults.append(f"{name.rstrip('=')} has {what} {is_now[name]}, and had {value}")
    for struct, fields in structs_now.items():  # no padding: nobody would know whether it is 0
        names = [f"{struct}.{field_name(field)}" for field in fields]
        laid_out = measure(cc, today, {struct: fields}, [])
        if sum(laid_out[name + "="] for name in names) != laid_out[struct]:
            faults.append(f"{struct} has a hole: fill it with a field `reserved`, or put the fields into another order")
    return faults


def checksums(folder: pathlib.Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in (".h", ".c", ".cc"))
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}\n" for path in files)


def main(cc: str) -> int:
    kept = sorted(HERE.glob("v1.*"))
    faults = [] if kept else ["there are no kept headers"]
    for folder in kept:
        version = folder.name[1:]
        if checksums(folder) != (folder / "CHECKSUMS").read_text():
            faults.append(f"tests/abi/{folder.name} was changed: it is what was released, and stays as it is")
        faults += [f"{fault}: {WHY.format(version)}" for fault in compare(cc, folder / "include", TODAY)]
    print("\n".join(faults) or f"compatible with {', '.join(folder.name for folder in kept)}")
    return 1 if faults else 0


if __name__ == "__main__":
    if sys.argv[2:3] == ["--keep"]:
        (HERE / sys.argv[3] / "CHECKSUMS").write_text(checksums(HERE / sys.argv[3]))
    else:
        sys.exit(main(sys.argv[1]))
