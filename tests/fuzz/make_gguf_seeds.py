#!/usr/bin/env python3
"""Writes the small seeds of fuzz_gguf: a Llama of one layer, and the same file with one lie each, so that a run begins behind every
refusal of the reader and need not find them (changes to numbers alone make nothing twice, and nothing too long with all its bytes there).

  make_gguf_seeds.py           writes tests/fuzz/corpus/gguf/small*
  make_gguf_seeds.py HERMESD   checks that the folder holds just these, and that `HERMESD model inspect` opens or refuses each as said here"""
import os
import struct
import subprocess
import sys
import tempfile

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus", "gguf")
MOST_BYTES = 4096
U8, U32, STRING, ARRAY, U64 = 0, 4, 8, 9, 10  # types of values
F16, IQ2_XXS = 1, 16  # types of tensors
LAYER = ("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down")


def text(string):
    return struct.pack("<Q", len(string)) + string.encode()


def value(key, kind, data):
    return text(key) + struct.pack("<I", kind) + data


def number(key, n):
    return value(key, U32, struct.pack("<I", n))


def tensor(name, dims, offset, kind=F16):
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def llama():
    """Values and tensors by name, and the bytes of the data: width 8, two heads, a vocabulary of 8."""
    numbers = {"block_count": 1, "embedding_length": 8, "feed_forward_length": 8, "attention.head_count": 2, "context_length": 64}
    values = {"general.architecture": value("general.architecture", STRING, text("llama"))}
    values |= {key: number("llama." + key, n) for key, n in numbers.items()}
    tensors, offset = {}, 0
    for name in ("token_embd", "output_norm") + tuple("blk.0." + name for name in LAYER):
        dims = (8,) if name.endswith("norm") else (8, 8)
        tensors[name] = tensor(name + ".weight", dims, offset)
        offset += 32 if len(dims) == 1 else 128
    return values, tensors, offset


def file(version=3, values=None, tensors=None, order="<"):
    """The Llama with these values and tensors in the place of its own, or beside them."""
    all_values, all_tensors, size = llama()
    return whole(all_values | (values or {}), all_tensors | (tensors or {}), size, version, order)


def whole(values, tensors, size, version=3, order="<"):
    out = b"GGUF" + struct.pack(order + "IQQ", version, len(tensors), len(values))
    out += b"".join(values.values()) + b"".join(tensors.values())
    return out + b"\0" * (-len(out) % 32) + struct.pack("<e", 0.125) * (size // 2)


def parts():
    """The Llama in two parts, one behind the other: fuzz_gguf cuts what it is given before the second "GGUF"."""
    values, tensors, _ = llama()
    names, out = list(tensors), b""
    for no, mine in enumerate((names[:5], names[5:])):
        table, offset = {}, 0
        for name in mine:
            dims = (8,) if name.endswith("norm") else (8, 8)
            table[name] = tensor(name + ".weight", dims, offset)
            offset += 32 if len(dims) == 1 else 128
        split = {key: number("split." + key, n) for key, n in (("no", no), ("count", 2), ("tensors.count", len(names)))}
        out += whole((values if no == 0 else {}) | split, table, offset)
    return out


def seeds():
    """(name, bytes, what the refusal says; None for a model)."""
    values, tensors, size = llama()

    def q(dims=(8, 8), offset=160, kind=F16):
        return file(tensors={"blk.0.attn_q": tensor("blk.0.attn_q.weight", dims, offset, kind)})

    def more(kind, data, key="general.tags"):
        return file(values={"more": value(key, kind, data)})

    def items(kind, n, data=b""):
        return more(ARRAY, struct.pack("<IQ", kind, n) + data)

    return [
        ("", file(), None),
        ("version-1", file(version=1), "is GGUF version 1"),
        ("big-endian", file(order=">"), "is big-endian"),
        ("key-twice", file(values={"more": values["block_count"]}), "a key that occurs twice"),
        ("tensor-twice", file(tensors={"more": tensor("output_norm.weight", (8,), 0, IQ2_XXS)}), "a tensor name that occurs twice"),
        ("key-of-257-bytes", more(U8, b"\1", "k" * 257), "a name of more than 256 bytes"),
        ("tensor-of-257-bytes", file(tensors={"more": tensor("blk.0." + "t" * 251, (8,), 0)}), "a name of more than 256 bytes"),
        ("tensor-of-256-bytes", file(tensors={"more": tensor("blk.0." + "t" * 250, (8,), 0, IQ2_XXS)}), "has no place in a Llama"),
        ("array-of-arrays", items(ARRAY, 1, struct.pack("<IQ", U8, 0)), "an array of arrays"),
        ("array-of-2-62", items(U32, 1 << 62), "an array of more than 16,777,216 items"),
        ("array-of-empty-strings", items(STRING, 64, b"\0" * 512), None),
        ("array-of-strings-cut-off", items(STRING, 2, text("a") + struct.pack("<Q", 1 << 63)), "a string that is cut off"),
        ("value-of-no-type", more(U64 + 3, b"\0" * 8), "a value of an unknown type"),
        ("alignment-48", file(values={"more": number("general.alignment", 48)}), "power of two"),
        ("alignment-2-31", file(values={"more": number("general.alignment", 1 << 31)}), "general.alignment"),
        ("scaling-of-another-kind", more(STRING, text("yarn"), "llama.rope.scaling.type"), "scales RoPE by 'yarn'"),
        ("four-dimensions", q((8, 1, 1, 8)), "more than two dimensions"),
        ("dimensions-of-2-60", q((1 << 30, 1 << 30)), "ends behind the file"),
        ("dimensions-of-2-120", q((1 << 30,) * 4), "more than two dimensions"),
        ("offset-that-wraps", q(offset=(1 << 64) - 32), "ends behind the file"),
        ("offset-of-another", q(offset=0), "overlaps"),
        ("type-of-another-program", q(kind=IQ2_XXS), "is of type IQ2_XXS"),
        ("bias", file(tensors={"more": tensor("blk.0.attn_q.bias", (8,), size - 32, IQ2_XXS)}), "has no place in a Llama"),
        ("layers-1025", file(values={"block_count": number("llama.block_count", 1025)}), "is 1025 and should be 1 to 1024"),
        ("layers-1024", file(values={"block_count": number("llama.block_count", 1024)}), "no tensor attn_norm of layer 1"),
        ("parts-of-257", file(values={"more": number("split.count", 257)}), "is one of 257 parts"),
        ("two-parts", parts(), "its name must end in -00001-of-00002.gguf"),
    ]


def inspect(hermesd, path):
    return subprocess.run([hermesd, "model", "inspect", path], capture_output=True, text=True)


def problems(hermesd):
    names = set()
    with tempfile.TemporaryDirectory() as folder:
        first = os.path.join(folder, "m-00001-of-00002.gguf")
        cut = parts().index(b"GGUF", 4)
        for path, data in ((first, parts()[:cut]), (first.replace("00001-", "00002-"), parts()[cut:])):
            with open(path, "wb") as out:
                out.write(data)
        run = inspect(hermesd, first)
        if run.returncode != 0:
            yield f"the two parts are no model: {run.stderr.strip()}"
    for name, data, says in seeds():
        path = os.path.join(FOLDER, "small-" + name if name else "small")
        names.add(os.path.basename(path))
        if len(data) >= MOST_BYTES:
            yield f"{path} would be of {len(data)} bytes; {MOST_BYTES} are too many"
        if not os.path.exists(path) or open(path, "rb").read() != data:
            yield f"{path} is not what this script writes; run it without an argument"
            continue
        run = inspect(hermesd, path)
        if run.returncode != (0 if says is None else 1) or (says or "") not in run.stderr:
            yield f"{path}: exit code {run.returncode}, {run.stderr.strip()!r}, wanted {says!r}"
    for other in sorted(name for name in os.listdir(FOLDER) if name.startswith("small") and name not in names):
        yield f"{os.path.join(FOLDER, other)} is none of the seeds of this script"


def main():
    if len(sys.argv) > 1:
        found = list(problems(sys.argv[1]))
        print("\n".join(found) or f"{len(seeds())} seeds are as they should be")
        return 1 if found else 0
    for name, data, _ in seeds():
        with open(os.path.join(FOLDER, "small-" + name if name else "small"), "wb") as out:
            out.write(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
