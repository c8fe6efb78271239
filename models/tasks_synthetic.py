"""Tasks of tools nobody trained on: the model must read the name, the description and the schema it is given."""
import re

from render import Task
from words import UNITS


def typed(schema, text):
    kind = schema["type"]
    if kind == "boolean":
        return text == "true"
    if kind == "integer":
        return int(text)
    if kind == "number":
        return float(text) if "." in text else int(text)
    return text


def spoken_argument(w, name, schema, forms, maker, text):
    form = w.pick(forms)
    spoken = name.replace("_", " ")
    if " " in text and schema["type"] == "string" and "enum" not in schema and maker not in (w.name, w.city):
        text = w.quoted(text, 1)
    if w.chance(0.18) and form != "@":
        form = "#"
    if form == "@":
        return text
    if form == "?":
        return w.pick([f"with {spoken} {text}", f"with {spoken} set to {text}", f"{spoken} = {text}", f"{spoken} {text}"])
    if form == "#":
        quote = '"' if schema["type"] == "string" and "enum" not in schema and " " not in text and w.chance(0.2) else ""
        v = quote + text + quote
        return w.pick([f"with {spoken} {v}", f"with {spoken} {v}", f"with {spoken} = {v}", f"{spoken} {v}", f"where {spoken} is {v}", f"{spoken}: {v}", f"with the {spoken} {v}", f"for {spoken} {v}", f"{name}={v}"])
    return form.replace("{}", text)


def spoken_request(w, s):
    """(words, arguments) of one call of the synthetic tool `s`."""
    arguments, said = {}, []
    for name, schema, forms, maker, required in s["arguments"]:
        if not required and w.chance(0.45):
            continue
        text = maker()
        arguments[name] = typed(schema, text)
        said.append(spoken_argument(w, name, schema, forms, maker, text))
    verb = w.pick(s["asked"])
    if s["verb"] == "greet":
        head = verb
    else:
        head = verb + w.pick([" the ", " a ", " the ", " "]) + s["thing"]
    r = w.rng.random()
    if r < 0.14:
        head = w.pick(["use {}", "call {}", "run {}", "use the tool {}", "call the tool {}"]).format(s["tool"]["name"])
    elif r < 0.22:
        head = s["tool"]["description"].rstrip(".")
        head = head[0].lower() + head[1:]
    elif r < 0.30 and s["verb"] in ("get", "find", "check", "estimate", "predict"):
        head = w.pick(["what is the ", "what's the ", "how is the ", "I want to know the ", "I need the "]) + s["thing"]
    elif r < 0.38:
        head = w.pick(["please ", "can you ", "could you ", "I want to ", "I'd like to ", "I would like you to "]) + head
    if len(said) > 1 and w.chance(0.15):
        w.rng.shuffle(said)
    joint = w.pick([" ", " ", ", ", " and "]) if len(said) > 1 else " "
    return head + (" " if said else "") + joint.join(said), arguments


RESULT_KEYS = """status state result value price total id number temperature sky distance time date message title name text answer score level
amount count rating color size city address code reference weight speed duration summary""".split()


def result_of(w):
    """(result, answer, what the answer must hold)."""
    r = w.rng.random()
    if r < 0.1:
        return w.pick([{"ok": True}, {"done": True}, {"success": True}]), "Done.", []
    if r < 0.25:
        text = w.sentence() if w.chance(0.6) else w.user_value()
        return text, f"The answer is: {text}", [text]
    n = 1 if r < 0.7 else 2
    keys = []
    while len(keys) < n:
        key = w.pick(RESULT_KEYS) if w.chance(0.75) else w.word()
        if w.chance(0.1):
            key += "_" + w.word()
        if key not in keys:
            keys.append(key)
    result, parts = {}, []
    for key in keys:
        q = w.rng.random()
        if q < 0.3:
            value = w.integer()
        elif q < 0.4:
            value = float(w.decimal())
        elif q < 0.5:
            value = f"{w.integer()} {w.pick(UNITS)}"
        elif q < 0.62:
            value = w.name() + w.pick(["", ", " + w.name()])
        elif q < 0.7:
            value = w.pick(["Hello", "Welcome", "Hi", "Dear"]) + w.pick([", ", " "]) + w.name()
        else:
            value = w.user_value()
        result[key] = value
        parts.append(f"the {key.replace('_', ' ')} is {str(value).rstrip('.')}")
    answer = " and ".join(parts)
    return result, answer[0].upper() + answer[1:] + ".", [str(v).rstrip(".") for v in result.values()]


def finish(text, w):
    text = re.sub(r" +:", ":", text)
    if w.chance(0.6):
        text = text[0].upper() + text[1:]
    question = text.lower().startswith(("what", "how", "can", "could", "where"))
    return text + w.pick(["?", "?", ""] if question else ["", "", ".", "!"])


def problem_of(w, s):
    return w.pick([f"no such {s['thing']}", "the service is down", f"unknown {w.word()}", "not found", f"{w.word()} is not allowed", "permission denied", f"{w.word()} {w.word()} failed"])


def call_one(w, s):
    words, arguments = spoken_request(w, s)
    t = Task("synthetic").user(finish(words, w))
    if w.chance(0.07):
        problem = problem_of(w, s)
        t.call(s["tool"]["name"], arguments, ("error", problem))
        return t.answer(f"That did not work: {problem}.", [problem])
    result, answer, expect = result_of(w)
    t.call(s["tool"]["name"], arguments, result)
    return t.answer(answer, expect)


def result_or_problem(w, s):
    if w.chance(0.9):
        return result_of(w)
    problem = problem_of(w, s)
    return ("error", problem), f"That did not work: {problem}.", [problem]


def call_two(w, s, other):
    """Two calls in one turn: the same tool twice, or two tools."""
    a, args_a = spoken_request(w, s)
    b, args_b = spoken_request(w, other)
    if s["tool"]["name"] == other["tool"]["name"] and args_a == args_b:
        return call_one(w, s)  # two of the same cannot have two results
    t = Task("parallel").user(finish(a + w.pick([" and ", " and ", ", and ", " and also ", ". Also "]) + b, w))
    (ra, aa, ea), (rb, ab, eb) = result_or_problem(w, s), result_or_problem(w, other)
    na, nb = s["tool"]["name"], other["tool"]["name"]
    t.calls([(na, args_a), (nb, args_b)], [ra, rb], [f"{na} and {nb}"])
    return t.answer(f"First: {aa}\nSecond: {ab}", ea + eb)
