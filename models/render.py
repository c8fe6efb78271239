"""A dialogue as the spans agent/ renders (profile `stable`), and the task a dialogue is built in.

A span is (trusted, text). Trusted spans may hold added tokens; untrusted ones never do."""
import json

P1 = ("You are a function calling AI model. You are provided with function signatures within <tools></tools> XML tags. You may call "
      "one or more functions to assist with the user query. Don't make assumptions about what values to plug into functions. Here are "
      "the available tools:\n<tools>\n")
P2 = ("\n</tools>\nUse the following pydantic model json schema for each tool call you will make: {\"properties\": {\"name\": "
      "{\"title\": \"Name\", \"type\": \"string\"}, \"arguments\": {\"title\": \"Arguments\", \"type\": \"object\"}}, \"required\": "
      "[\"name\", \"arguments\"], \"title\": \"FunctionCall\", \"type\": \"object\"}\nFor each function call return a json object with "
      "function name and arguments within <tool_call></tool_call> XML tags as follows:\n<tool_call>\n{\"name\": <function-name>, "
      "\"arguments\": <args-dict>}\n</tool_call>")

J1 = "You are a helpful assistant that answers in JSON."
J2 = " Here's the json schema you must adhere to:\n<schema>\n"


def dumps(value):
    return json.dumps(value, ensure_ascii=False)


def escape(text):
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def tool_lines(tools):
    return escape("\n".join(dumps({"type": "function", "function": t}) for t in tools))


def answer_spans(response_format):
    """What JSON mode tells the model; nothing for text. `response_format` is that of a job."""
    kind = (response_format or {"type": "text"})["type"]
    if kind == "text":
        return []
    schema = response_format["json_schema"]["schema"] if kind == "json_schema" else response_format.get("schema")
    if schema is None:
        return [(True, J1)]
    return [(True, J1 + J2), (False, escape(dumps(schema))), (True, "\n</schema>")]


def prefix_spans(tools, system, response_format=None):
    """What all dialogues of one tool set, system text and format of the answer begin with."""
    parts = [[(True, P1), (False, tool_lines(tools)), (True, P2)]] if tools else []
    parts += [answer_spans(response_format), [(False, system)] if system else []]
    parts = [part for part in parts if part]
    if not parts:
        return []
    spans = [(True, "<|im_start|>system\n")] + parts[0]
    for part in parts[1:]:
        spans += [(True, "\n\n")] + part
    return spans + [(True, "<|im_end|>\n")]


def branch_spans(messages):
    """[(trusted, text, learned)] of everything after the system turn."""
    spans = []
    for i, m in enumerate(messages):
        if m["role"] == "user":
            before = "<|im_end|>\n" if i else ""
            spans += [(True, before + "<|im_start|>user\n", False), (False, m["content"], False),
                      (True, "<|im_end|>\n<|im_start|>assistant\n", False)]
        elif m["role"] == "assistant":
            spans.append((True, m["content"], True))
        else:
            spans.append((True, "<|im_end|>\n<|im_start|>tool\n", False))
            for body in m["responses"]:
                spans += [(True, "<tool_response>\n", False), (False, body, False), (True, "\n</tool_response>\n", False)]
            spans.append((True, "<|im_end|>\n<|im_start|>assistant\n", False))
    return spans


def join(spans):
    """Adjacent trusted literals are one span."""
    out = []
    for trusted, text in spans:
        if trusted and out and out[-1][0]:
            out[-1] = (True, out[-1][1] + text)
        else:
            out.append((trusted, text))
    return out


class Task:
    """One dialogue under construction: what was said, what must exist beforehand, and what a right answer holds."""

    def __init__(self, kind):
        self.kind = kind
        self.messages = []
        self.world = {}      # files, notes, documents, databases, dirs: what the real tools must find
        self.expect = []     # strings a right answer contains
        self.effects = {}    # files and notes that must exist afterwards

    def user(self, text):
        self.messages.append({"role": "user", "content": text})
        return self

    def calls(self, calls, results, plan=None, note=None):
        """calls: [(name, arguments)]; results: [object | str | Exception text in ('error', text)]."""
        text = ""
        if plan:
            text += "<PLAN>\n" + "\n".join(f"{i}. {step}" for i, step in enumerate(plan, 1)) + "\n</PLAN>\n"
        if note:
            text += "<SCRATCHPAD>\n" + note + "\n</SCRATCHPAD>\n"
        text += "\n".join("<tool_call>\n" + dumps({"name": n, "arguments": a}) + "\n</tool_call>" for n, a in calls)
        self.messages.append({"role": "assistant", "content": text})
        bodies = []
        for (name, _), result in zip(calls, results):
            failed = isinstance(result, tuple)
            bodies.append(escape(dumps({"name": name, "error": result[1]} if failed else {"name": name, "content": result})))
        self.messages.append({"role": "tool", "responses": bodies})
        return self

    def call(self, name, arguments, result, plan=None, note=None):
        return self.calls([(name, arguments)], [result], plan, note)

    def answer(self, text, expect=None):
        self.messages.append({"role": "assistant", "content": text})
        if expect is not None:
            self.expect = expect
        return self

    def file(self, path, content):
        self.world.setdefault("files", {})[path] = content
        return self
