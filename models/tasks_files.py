"""Tasks of the files in the workspace, alone and in chains with others."""
from fractions import Fraction

from render import Task
from tasks_compute import show, weekday_of


def content_of(w):
    """What a file holds, usually one line; with or without the newline at its end."""
    text = w.user_value() if w.chance(0.6) else w.sentence()
    return text, text + ("\n" if w.chance(0.6) else "")


def number_file(w):
    """(number text, file content) where the number is alone or named."""
    n = w.number()
    r = w.rng.random()
    if r < 0.65:
        text = n
    elif r < 0.85:
        text = w.word() + w.pick([": ", " = ", " "]) + n
    else:
        text = f"The {w.noun()} {w.pick(['costs', 'has', 'weighs', 'needs', 'is'])} {n}" + w.pick([" " + w.pick(["km", "kg", "euros", "points"]), ""])
        text += "" if "." in n else w.pick(["", "."])
    return n, text + ("\n" if w.chance(0.6) else "")


def read_request(w, path):
    return w.pick(["Read {}", "What does {} say", "What is in {}", "Show me {}", "Open {}", "Tell me what {} says", "What's in {}", "Print {}",
                   "Show the content of {}", "What does the file {} contain", "Read the file {}", "read {}", "Please read {}", "cat {}",
                   "What is written in {}", "Give me the content of {}", "Can you read {}", "Can you read me {}", "Read {} and tell me what it says",
                   "What are the contents of {}", "I want to see {}", "What stands in {}", "Look into {}", "Display the file {}"]).format(path) + w.pick(["", "?", ".", ""])


def read_file(w):
    path = w.path()
    text, content = content_of(w)
    t = Task("read_file").user(read_request(w, path)).file(path, content)
    t.call("read_file", {"path": path}, {"content": content})
    return t.answer(f"The file says: {text}", [text])


def two_reads(w):
    a, b = w.path(), w.path()
    (ta, ca), (tb, cb) = content_of(w), content_of(w)
    text = w.pick(["Read {} and {}", "Compare {} and {}", "What do {} and {} say", "What is in {} and {}", "Show me {} and {}", "Compare {} with {}", "Open {} and {}",
                   "compare the files {} and {}", "Read the files {} and {}", "What is the difference between {} and {}", "Read both {} and {}", "Tell me what {} and {} say",
                   "Please compare {} and {}", "How do {} and {} differ", "Put {} and {} side by side"])
    t = Task("parallel").user(text.format(a, b) + w.pick(["", "?", "."])).file(a, ca).file(b, cb)
    t.calls([("read_file", {"path": a}), ("read_file", {"path": b})], [{"content": ca}, {"content": cb}], ["read_file and read_file"])
    return t.answer(f"The first says: {ta}\nThe second says: {tb}", [ta, tb])


def list_files(w):
    here = w.chance(0.45)
    folder = "." if here else w.folder()
    entries = sorted({w.stem() + "." + w.pick(["txt", "md", "csv", "log"]) if w.chance(0.8) else w.word() + "/"
                      for _ in range(w.rng.randint(0 if not here else 1, 5))})
    if here:
        text = w.pick(["List the files", "Which files are there", "What files do I have", "Show me the files", "list all files", "What is in the workspace",
                       "Which files are in the workspace", "List my files", "Show the files in the workspace", "What files are here", "ls"])
        arguments = {}
    else:
        text = w.pick(["List the files in {}", "Which files are in {}", "What is in the folder {}", "Show me the folder {}", "List the folder {}", "ls {}",
                       "What files does {} hold", "Show the files in the folder {}", "Which files are in the folder {}", "list files in {}", "What does the folder {} contain"]).format(folder)
        arguments = {"path": folder}
    t = Task("list_files").user(text + w.pick(["", "?", "."]))
    t.world["folder"] = {"path": folder, "entries": entries}
    t.call("list_files", arguments, {"entries": entries})
    answer = "The folder holds " + ", ".join(entries) + "." if entries else "The folder is empty."
    return t.answer(answer, entries or ["empty"])


def write_file(w):
    path, text = w.path(), w.user_value()
    said = w.quoted(text)
    form = w.pick(["Write {t} to {p}", "Write {t} into {p}", "Save {t} to {p}", "Put {t} into {p}", "Create the file {p} with the content {t}", "Create {p} with the text {t}",
                   "Save the text {t} as {p}", "Write to {p}: {t}", "Make a file {p} that says {t}", "Store {t} in the file {p}", "Write the text {t} to the file {p}",
                   "write {t} to {p}", "Save to {p} the text {t}", "Into {p} write: {t}", "Please write {t} into {p}"])
    t = Task("write_file").user(form.format(t=said, p=path))
    t.call("write_file", {"path": path, "content": text}, {"path": path, "bytes": len(text.encode())})
    t.effects["files"] = {path: text}
    return t.answer(f"I wrote it to {path}.", [path])


def search_files(w):
    needle = w.pick([w.word(), w.word(), w.code(), w.name(), w.phrase(2, 3)])
    folder = w.folder() if w.chance(0.25) else None
    text = w.pick(["Which file mentions {}", "Search the files for {}", "Find {} in the files", "Where does {} occur", "Which files contain {}", "Find the lines with {}",
                   "search for {} in my files", "In which file is {}", "Look for {} in the files", "grep {}", "Find the text {} in the files", "Which lines contain {}"]).format(needle)
    arguments = {"text": needle}
    if folder:
        text += f" in the folder {folder}" if w.chance(0.7) else f" under {folder}"
        arguments["path"] = folder
    n = w.pick([0, 1, 1, 1, 2, 2])
    matches = []
    for _ in range(n):
        line = w.phrase(1, 3) + " " + needle + w.pick(["", " " + w.word(), "."])
        path = w.stem() + "." + w.pick(["txt", "md", "log"])
        matches.append({"path": (folder + "/" if folder else "") + path, "line": w.rng.randint(1, 40), "text": line})
    matches.sort(key=lambda m: m["path"])
    t = Task("search_files").user(text + w.pick(["", "?", "."]))
    t.world["search"] = matches
    t.call("search_files", arguments, {"matches": matches})
    answer = "\n".join(f"Found in {m['path']}, line {m['line']}: {m['text']}" for m in matches) or "Nothing was found."
    return t.answer(answer, [m["path"] for m in matches] or ["Nothing"])


def operation(w, it="the number in it"):
    """(words after 'Read a.txt and', expression of n, value of n)."""
    k = str(w.rng.randint(2, 99))
    K = Fraction(k)
    d = w.pick(["2", "4", "5", "8", "10", "20"])
    return w.pick([
        (f"multiply {it} by {k}", lambda n: f"{n} * {k}", lambda v: v * K),
        (f"multiply {it} by {k}", lambda n: f"{n} * {k}", lambda v: v * K),
        (f"multiply {it} with {k}", lambda n: f"{n} * {k}", lambda v: v * K),
        (f"add {k} to {it}", lambda n: f"{n} + {k}", lambda v: v + K),
        (f"subtract {k} from {it}", lambda n: f"{n} - {k}", lambda v: v - K),
        (f"divide {it} by {d}", lambda n: f"{n} / {d}", lambda v: v / int(d)),
        (f"tell me {k}{w.pick([' %', '%', ' percent'])} of {it}", lambda n: f"{k}% * {n}", lambda v: v * K / 100),
        (f"compute {k}{w.pick([' %', '%', ' percent'])} of {it}", lambda n: f"{k}% * {n}", lambda v: v * K / 100),
        (f"take {k}{w.pick([' %', '%', ' percent'])} of {it}", lambda n: f"{k}% * {n}", lambda v: v * K / 100),
        (f"take {k} % of {it}", lambda n: f"{k}% * {n}", lambda v: v * K / 100),
        (f"double {it}", lambda n: f"2 * {n}", lambda v: 2 * v),
        (f"halve {it}", lambda n: f"{n} / 2", lambda v: v / 2),
        (f"square {it}", lambda n: f"{n} ^ 2", lambda v: v * v),
    ])


def question(w, it):
    """(question about `it`, expression, value)."""
    k = str(w.rng.randint(2, 99))
    K = Fraction(k)
    lead = w.pick(["What is ", "How much is ", "Calculate ", "Compute ", "what is "])
    return w.pick([
        (f"{lead}{it} times {k}", lambda n: f"{n} * {k}", lambda v: v * K),
        (f"{lead}{it} plus {k}", lambda n: f"{n} + {k}", lambda v: v + K),
        (f"{lead}{it} minus {k}", lambda n: f"{n} - {k}", lambda v: v - K),
        (f"{lead}{k}{w.pick([' %', '%', ' percent'])} of {it}", lambda n: f"{k}% * {n}", lambda v: v * K / 100),
        (f"{lead}half of {it}", lambda n: f"{n} / 2", lambda v: v / 2),
        (f"{lead}twice {it}", lambda n: f"2 * {n}", lambda v: 2 * v),
    ])


def read_then_calculate(w):
    path = w.path()
    n, content = number_file(w)
    if w.chance(0.65):
        what, expression, value = operation(w, w.pick(["the number in it", "the number", "the number", "the value in it", "it", "that number", "the number it holds"]))
        text = w.pick([f"Read {path} and {what}", f"Read the file {path} and {what}", f"Open {path} and {what}", f"read {path}, then {what}", f"Take the number in {path} and {what}",
                       f"Look into {path} and {what}", f"Please read {path} and {what}", f"Read {path}. Then {what}", f"Get the number from {path} and {what}"])
    else:
        text, expression, value = question(w, w.pick([f"the number in {path}", f"the number in the file {path}", f"the value in {path}", f"the number stored in {path}"]))
    t = Task("chain").user(text + w.pick(["", ".", "?"])).file(path, content)
    t.call("read_file", {"path": path}, {"content": content}, ["read_file", "calculator"])
    result = show(value(Fraction(n)))
    t.call("calculator", {"expression": expression(n)}, {"result": result}, note=f"The number is {n}.")
    return t.answer(f"The result is {result}.", [result])


def two_reads_then_calculate(w):
    a, b = w.path(), w.path()
    (na, ca), (nb, cb) = number_file(w), number_file(w)
    kind = w.pick(["+", "+", "*", "-"])
    text = {"+": ["Add the numbers in {} and {}", "What is the sum of the numbers in {} and {}", "Read {} and {} and add the numbers", "Sum the numbers in {} and {}"],
            "*": ["Multiply the numbers in {} and {}", "What is the product of the numbers in {} and {}", "Read {} and {} and multiply the numbers"],
            "-": ["What is the difference of the numbers in {} and {}", "What is the number in {} minus the number in {}", "Read {} and {} and subtract the second number from the first"]}[kind]
    t = Task("chain").user(w.pick(text).format(a, b) + w.pick(["", ".", "?"])).file(a, ca).file(b, cb)
    t.calls([("read_file", {"path": a}), ("read_file", {"path": b})], [{"content": ca}, {"content": cb}], ["read_file and read_file", "calculator"])
    x, y = Fraction(na), Fraction(nb)
    result = show({"+": x + y, "*": x * y, "-": x - y}[kind])
    t.call("calculator", {"expression": f"{na} {kind} {nb}"}, {"result": result}, note=f"The numbers are {na} and {nb}.")
    return t.answer(f"The result is {result}.", [result])


def calculate_then_write(w):
    from tasks_compute import sum_of
    path = w.path()
    text, expression, value = sum_of(w)
    text = w.pick([f"Calculate {text} and write the result to {path}", f"Compute {text} and save it in {path}", f"Write the result of {text} to {path}", f"Work out {text} and put the result into {path}",
                   f"Calculate {text} and save the result to {path}", f"What is {text}? Write it to {path}"])
    result = show(value)
    t = Task("chain").user(text + w.pick(["", "."]))
    t.call("calculator", {"expression": expression}, {"result": result}, ["calculator", "write_file"])
    t.call("write_file", {"path": path, "content": result}, {"path": path, "bytes": len(result)}, note=f"The result is {result}.")
    t.effects["files"] = {path: result}
    return t.answer(f"The result is {result}. I wrote it to {path}.", [result])


def copy_file(w):
    a, b = w.path(), w.path()
    text, content = content_of(w)
    content = text
    said = w.pick(["Copy {a} to {b}", "Read {a} and write it to {b}", "Make a copy of {a} named {b}", "Write the content of {a} to {b}", "copy the file {a} to {b}", "Save the content of {a} as {b}",
                   "Read {a} and save the text in {b}"])
    t = Task("chain").user(said.format(a=a, b=b) + w.pick(["", "."])).file(a, content)
    t.call("read_file", {"path": a}, {"content": content}, ["read_file", "write_file"])
    t.call("write_file", {"path": b, "content": content}, {"path": b, "bytes": len(content.encode())})
    t.effects["files"] = {b: content}
    return t.answer(f"I wrote it to {b}.", [b])


def list_then_read(w):
    folder = w.folder()
    name = w.stem() + "." + w.pick(["txt", "md", "log"])
    text, content = content_of(w)
    others = [w.word() + "/"] if w.chance(0.2) else []
    said = w.pick(["Read the file in the folder {}", "Read the only file in {}", "What does the file in {} say", "Find the file in the folder {} and read it", "List {} and read the file there",
                   "Open the only file in the folder {}", "There is one file in {}. What does it say", "Look into the folder {} and read the file"])
    t = Task("chain").user(said.format(folder) + w.pick(["", "?", "."])).file(f"{folder}/{name}", content)
    entries = sorted(others + [name])
    t.world["folder"] = {"path": folder, "entries": entries}
    t.call("list_files", {"path": folder}, {"entries": entries}, ["list_files", "read_file"])
    t.call("read_file", {"path": f"{folder}/{name}"}, {"content": content}, note=f"The file is {name}.")
    return t.answer(f"The file says: {text}", [text])


def search_then_read(w):
    needle, path = w.pick([w.word(), w.code(), w.name()]), w.path()
    text = w.phrase(1, 3) + " " + needle + w.pick(["", " " + w.word(), "."])
    content = text + w.pick(["", "\n"])
    said = w.pick(["Find the file that mentions {} and read it", "Read the file that contains {}", "Which file mentions {}? Read it", "Search for {} and read the file", "Open the file that mentions {}"])
    t = Task("chain").user(said.format(needle) + w.pick(["", "."])).file(path, content)
    t.call("search_files", {"text": needle}, {"matches": [{"path": path, "line": 1, "text": text}]}, ["search_files", "read_file"])
    t.call("read_file", {"path": path}, {"content": content}, note=f"The file is {path}.")
    return t.answer(f"The file says: {text}", [text])


def read_then_weekday(w):
    path, date = w.path(), w.date()
    content = w.pick([date, date, f"{w.word()}: {date}", f"The {w.noun()} is on {date}"]) + w.pick(["", "\n"])
    said = w.pick(["What weekday is the date in {}", "Read {} and tell me the weekday of the date in it", "Which weekday is the date in {}", "On which weekday is the date in {}"])
    t = Task("chain").user(said.format(path) + w.pick(["", "?"])).file(path, content)
    t.call("read_file", {"path": path}, {"content": content}, ["read_file", "weekday"])
    t.call("weekday", {"date": date}, {"weekday": weekday_of(date)}, note=f"The date is {date}.")
    return t.answer(f"{date} is a {weekday_of(date)}.", [weekday_of(date)])


def missing_file(w):
    path = w.path()
    t = Task("error").user(read_request(w, path))
    t.call("read_file", {"path": path}, ("error", f"no such file: {path}"))
    return t.answer(f"That did not work: no such file: {path}.", ["no such file"])


def missing_then_list(w):
    """The file has another ending or spelling; list_files shows it."""
    stem = w.stem()
    right = stem + "." + w.pick(["md", "csv", "log", "dat"])
    wrong = stem + ".txt"
    if right == wrong:
        return missing_file(w)
    text, content = content_of(w)
    others = [w.stem() + "." + w.pick(["txt", "md"]) for _ in range(w.pick([0, 1, 1, 2]))]
    others = [o for o in others if not o.startswith(stem)]
    entries = sorted(set(others + [right]))
    t = Task("error").user(read_request(w, wrong)).file(right, content)
    t.world["folder"] = {"path": ".", "entries": entries}
    t.call("read_file", {"path": wrong}, ("error", f"no such file: {wrong}"))
    t.call("list_files", {}, {"entries": entries}, note=f"There is no {wrong}.")
    t.call("read_file", {"path": right}, {"content": content}, note=f"The file is {right}.")
    return t.answer(f"The file says: {text}", [text])


def missing_after_list(w):
    path = w.path()
    entries = sorted({w.stem() + "." + w.pick(["txt", "md", "csv"]) for _ in range(w.pick([0, 1, 2, 3]))})
    if any(e.split(".")[0] == path.split(".")[0] for e in entries):
        entries = []
    t = Task("error").user(read_request(w, path))
    t.world["folder"] = {"path": ".", "entries": entries}
    t.call("read_file", {"path": path}, ("error", f"no such file: {path}"))
    t.call("list_files", {}, {"entries": entries}, note=f"There is no {path}.")
    return t.answer(f"That did not work: no such file: {path}.", ["no such file"])
