"""A model that calls tools for ever: random weights, the default model's tokenizer, and embeddings by which a line end is followed by
<tool_call>, and </tool_call> by the end of the turn. What stands between is the grammar's, and chance's. Attention is real, and its keys and
values are; it only weighs little."""
import array
import random
import struct

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY, INT, FLOAT = 8, 9, 4, 6
DIM, HEADS, KV_HEADS, LAYERS, FFN = 64, 4, 2, 2, 64
STRONG = 30


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self, code):
        (value,) = struct.unpack_from("<" + code, self.data, self.at)
        self.at += struct.calcsize("<" + code)
        return value

    def string(self):
        n = self.number("Q")
        self.at += n
        return self.data[self.at - n:self.at].decode()

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            inner, n = self.number("I"), self.number("Q")
            return [self.value(inner) for _ in range(n)]
        return self.number(SCALARS[kind])


def metadata(path):
    """(key, bytes of the value with its type, value) for each."""
    with open(path, "rb") as file:
        reader = Reader(file.read())
    assert reader.data[:4] == b"GGUF" and reader.data[4] == 3
    reader.at = 16
    for _ in range(reader.number("Q")):
        key, start = reader.string(), reader.at
        value = reader.value(reader.number("I"))
        yield key, reader.data[start:reader.at], value


def string(text):
    return struct.pack("<Q", len(text.encode())) + text.encode()


def tensors(words, seed):
    dice = random.Random(seed)

    def table(rows, columns, scale):
        return [[dice.gauss(0, scale) for _ in range(columns)] for _ in range(rows)]

    embeddings, output = table(len(words), DIM, 0.3), table(len(words), DIM, 0.05)
    place = {word: i for i, word in enumerate(words)}
    for row in embeddings:
        row[0], row[1], row[2] = 0, 0, 1
    for row in output:
        row[0], row[1], row[2] = 0, 0, 0
    for axis, before, after in ((0, "Ċ", "<tool_call>"), (1, "</tool_call>", "<|im_end|>")):
        embeddings[place[before]] = [STRONG if i == axis else 0 for i in range(DIM)]
        output[place[after]][axis] = STRONG
    output[place['"']][2] = 1  # strings end soon
    yield "token_embd.weight", embeddings
    yield "output.weight", output
    yield "output_norm.weight", [[1] * DIM]
    for layer in range(LAYERS):
        name = f"blk.{layer}."
        yield name + "attn_norm.weight", [[1] * DIM]
        yield name + "ffn_norm.weight", [[1] * DIM]
        yield name + "attn_q.weight", table(DIM, DIM, 0.1)
        yield name + "attn_k.weight", table(DIM // HEADS * KV_HEADS, DIM, 0.1)
        yield name + "attn_v.weight", table(DIM // HEADS * KV_HEADS, DIM, 0.1)
        yield name + "attn_output.weight", table(DIM, DIM, 0.01)
        yield name + "ffn_gate.weight", table(FFN, DIM, 0.01)
        yield name + "ffn_up.weight", table(FFN, DIM, 0.01)
        yield name + "ffn_down.weight", table(DIM, FFN, 0.01)


def write(path, default, seed=1):
    """Writes the model to `path`; `default`: the file whose tokenizer it has."""
    sizes = {"context_length": 8192, "embedding_length": DIM, "block_count": LAYERS, "feed_forward_length": FFN, "rope.dimension_count": DIM // HEADS,
             "attention.head_count": HEADS, "attention.head_count_kv": KV_HEADS, "attention.key_length": DIM // HEADS, "attention.value_length": DIM // HEADS}
    values, words = {}, None
    for key, raw, value in metadata(default):
        if key == "tokenizer.ggml.tokens":
            words = value
        if key.startswith("tokenizer.") or key == "general.architecture":
            values[key] = raw
    values["general.name"] = struct.pack("<I", STRING) + string("calling")
    for key, value in sizes.items():
        values["llama." + key] = struct.pack("<II", INT, value)
    values["llama.attention.layer_norm_rms_epsilon"] = struct.pack("<If", FLOAT, 1e-5)
    values["llama.rope.freq_base"] = struct.pack("<If", FLOAT, 10000)
    head, body = b"", b""
    all_tensors = list(tensors(words, seed))
    for name, rows in all_tensors:
        shape = (len(rows[0]),) if len(rows) == 1 else (len(rows[0]), len(rows))
        head += string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, len(body))
        body += array.array("f", [x for row in rows for x in row]).tobytes()
        body += bytes(-len(body) % 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(all_tensors), len(values)) + b"".join(string(k) + v for k, v in values.items()) + head
    with open(path, "wb") as file:
        file.write(head + bytes(-len(head) % 32) + body)
