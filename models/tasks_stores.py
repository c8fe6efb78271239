"""Tasks of the memory, the documents, the databases and the web."""
from fractions import Fraction

from render import Task
from tasks_compute import show
from tasks_files import content_of, operation, question


def remember(w):
    key, value = w.key(), w.user_value()
    v = w.quoted(value)
    said = w.pick(["Remember {v} under {k}", "Remember under {k}: {v}", "Store {v} under the key {k}", "Note {v} under {k}", "Remember that {k} is {v}", "Remember that my {k} is {v}", "Keep {v} under {k}", "Save {v} under the key {k}",
                   "Please remember {k} = {v}", "remember {k}: {v}", "Remember my {k}: {v}", "Store the note {v} under {k}", "Under the key {k} remember {v}", "My {k} is {v}. Remember it",
                   "Please remember that my {k} is {v}"])
    t = Task("remember").user(said.format(k=key, v=v))
    t.call("remember", {"key": key, "value": value}, {"stored": key})
    t.effects["notes"] = {key: value}
    return t.answer(f"I will remember {key}.", [key])


RECALLS = ["What did I store under {}", "What is stored under {}", "Recall {}", "What is my {}", "What did I tell you about {}", "Tell me the note {}", "What do you remember under {}", "Read the note {}",
           "What is the value of {} in your memory", "Recall the note under {}", "recall {}", "What note is under the key {}", "Which value is stored under {}", "Do you remember {}", "What was my {}"]


def recall(w):
    key, value = w.key(), w.user_value()
    t = Task("recall").user(w.pick(RECALLS).format(key) + w.pick(["", "?"]))
    t.world["notes"] = {key: value}
    t.call("recall", {"key": key}, {"value": value})
    return t.answer(f"The note says: {value}", [value])


def no_note(w):
    key = w.key()
    t = Task("error").user(w.pick(RECALLS).format(key) + w.pick(["", "?"]))
    t.call("recall", {"key": key}, ("error", f"no value is stored under '{key}'"))
    return t.answer(f"That did not work: no value is stored under '{key}'.", ["no value is stored"])


def two_recalls(w):
    a, b = w.key(), w.key()
    va, vb = w.user_value(), w.user_value()
    t = Task("parallel").user(w.pick(["Recall {} and {}", "What is stored under {} and {}", "What did I store under {} and {}", "Tell me the notes {} and {}"]).format(a, b) + w.pick(["", "?"]))
    t.world["notes"] = {a: va, b: vb}
    t.calls([("recall", {"key": a}), ("recall", {"key": b})], [{"value": va}, {"value": vb}], ["recall and recall"])
    return t.answer(f"The first note says: {va}\nThe second note says: {vb}", [va, vb])


def recall_then_calculate(w):
    key, n = w.key(), w.number()
    if w.chance(0.5):
        what, expression, value = operation(w, w.pick(["it", "the number", "that number"]))
        text = w.pick([f"Recall {key} and {what}", f"Take the note {key} and {what}", f"Recall the number under {key} and {what}"])
    else:
        text, expression, value = question(w, w.pick([f"the number stored under {key}", f"the note {key}", f"the value stored under {key}"]))
    t = Task("chain").user(text + w.pick(["", ".", "?"]))
    t.world["notes"] = {key: n}
    t.call("recall", {"key": key}, {"value": n}, ["recall", "calculator"])
    result = show(value(Fraction(n)))
    t.call("calculator", {"expression": expression(n)}, {"result": result}, note=f"The number is {n}.")
    return t.answer(f"The result is {result}.", [result])


def read_then_remember(w):
    path, key = w.path(), w.key()
    text, _ = content_of(w)
    t = Task("chain").user(w.pick([f"Read {path} and remember it under {key}", f"Remember the content of {path} under {key}", f"Read {path} and store the text under the key {key}",
                                   f"Keep what {path} says under {key}"]) + w.pick(["", "."])).file(path, text)
    t.call("read_file", {"path": path}, {"content": text}, ["read_file", "remember"])
    t.call("remember", {"key": key, "value": text}, {"stored": key})
    t.effects["notes"] = {key: text}
    return t.answer(f"I will remember {key}.", [key])


def recall_then_read(w):
    path, key = w.path(), w.key()
    text, content = content_of(w)
    t = Task("chain").user(w.pick([f"Read the file whose path is stored under {key}", f"Read the file that the note {key} names", f"Recall {key} and read that file",
                                   f"The note {key} holds a path. Read that file"]) + w.pick(["", "."])).file(path, content)
    t.world["notes"] = {key: path}
    t.call("recall", {"key": key}, {"value": path}, ["recall", "read_file"])
    t.call("read_file", {"path": path}, {"content": content}, note=f"The file is {path}.")
    return t.answer(f"The file says: {text}", [text])


KINDS = "bridge tower church castle museum library school station harbour theatre palace tunnel garden hotel mill temple hospital market factory road dam canal lighthouse".split()


def fact(w, thing):
    """(sentence, question forms) about `thing`."""
    year, n, name, city = w.rng.randint(1100, 2025), w.integer(), w.name(), w.city()
    return w.pick([
        (f"The {thing} opened in {year}.", [f"When did the {thing} open", f"Which year did the {thing} open", f"In which year did the {thing} open", f"What year did the {thing} open"]),
        (f"The {thing} was built in {year}.", [f"When was the {thing} built", f"In which year was the {thing} built", f"Which year was the {thing} built"]),
        (f"The {thing} was designed by {name}.", [f"Who designed the {thing}", f"By whom was the {thing} designed"]),
        (f"The {thing} was built by {name} in {year}.", [f"Who built the {thing}", f"Who built the {thing} and when"]),
        (f"The {thing} is {n} metres long.", [f"How long is the {thing}", f"What is the length of the {thing}"]),
        (f"The {thing} is {n} metres high.", [f"How high is the {thing}", f"What is the height of the {thing}", f"How tall is the {thing}"]),
        (f"The {thing} has {n} {w.pick(['rooms', 'seats', 'visitors', 'steps', 'windows', 'arches'])}.", [f"How big is the {thing}", f"What does the {thing} have"]),
        (f"The {thing} stands in {city}.", [f"Where is the {thing}", f"In which city is the {thing}", f"Where does the {thing} stand"]),
        (f"The {thing} closed in {year}.", [f"When did the {thing} close", f"Which year did the {thing} close"]),
        (f"The {thing} belongs to {name}.", [f"Who owns the {thing}", f"To whom does the {thing} belong"]),
        (f"The {thing} cost {n} {w.pick(['euros', 'dollars', 'crowns'])}.", [f"How much did the {thing} cost", f"What did the {thing} cost"]),
        (f"The {thing} is {w.pick(['red', 'old', 'closed on Monday', 'open all day', 'famous', 'made of stone', 'made of wood', 'free for children'])}.", [f"What is known about the {thing}", f"What do the documents say about the {thing}", f"Tell me about the {thing}"]),
    ])


def thing_of(w):
    return (w.name() if w.chance(0.7) else w.made_up(2, 3).capitalize()) + " " + w.pick(KINDS)


def retrieve(w):
    thing = thing_of(w)
    sentence, questions = fact(w, thing)
    wanted = w.pick(KINDS) + "s" if w.chance(0.5) else w.word()
    def with_others(text):
        r = w.rng.random()
        if r < 0.5:
            return text
        other = w.sentence() if w.chance(0.5) else fact(w, thing_of(w))[0]
        return text + " " + other if r < 0.75 else other + " " + text
    def id_of(document):
        return f"{document}{w.pick(['', '', f'-{w.rng.randint(1, 30)}'])}#{w.rng.randint(1, 30) if w.chance(0.5) else 1}"

    passages = [{"id": id_of(wanted), "text": with_others(sentence)}]
    for _ in range(w.pick([0, 0, 1, 1, 2])):
        other = fact(w, thing_of(w))[0]
        passages.append({"id": id_of(wanted if w.chance(0.5) else w.word()), "text": with_others(other) if w.chance(0.5) else other})
    if w.chance(0.35):
        w.rng.shuffle(passages)
    if len({p["id"] for p in passages}) < len(passages):
        passages = [p for p in passages if sentence in p["text"]]
    cite = w.pick(["", "", " Cite the document", " Cite your source", " Please cite", " Give the source", " Cite it"])
    text = w.pick(questions)
    text += ("?" if cite else w.pick(["?", "?", ""])) + cite + (w.pick([".", ""]) if cite else "")
    if w.chance(0.12):
        text = w.pick(["Search the documents: ", "Look it up in the documents: ", "According to the documents, "]) + text[0].lower() + text[1:]
    t = Task("cite").user(text)
    t.world["documents"] = passages
    source = next(p for p in passages if sentence in p["text"])
    t.call("retrieve", {"query": thing}, {"passages": passages})
    return t.answer(f"{sentence}<co>{source['id']}</co>", [sentence.rstrip(".")])


def nothing_retrieved(w):
    thing = thing_of(w)
    _, questions = fact(w, thing)
    t = Task("error").user(w.pick(questions) + "?" + w.pick(["", " Cite the document.", " Cite your source."]))
    t.world["documents"] = []
    t.call("retrieve", {"query": thing}, {"passages": []})
    return t.answer("The documents do not say it.", ["do not say"])


TABLES = "people orders items books films cities cars users products sales staff songs events rooms trips".split()
NUMBERS = "price amount age year size weight pages quantity salary score total height".split()
TEXTS = "name title city color owner email author status".split()


def identifier(w):
    return w.pick(TABLES) if w.chance(0.5) else w.word()


def sql_request(w):
    """(words, query, rows maker): the words say database {d}."""
    table = identifier(w)
    number = w.pick(NUMBERS) if w.chance(0.7) else w.word()
    text = w.pick(TEXTS) if w.chance(0.7) else w.word()
    of = w.pick([f"in the table {table} of {{d}}", f"in table {table} of {{d}}", f"in {{d}}, table {table},", f"in the table {table} of the database {{d}}", f"of the table {table} in {{d}}"]).rstrip(",")
    r = w.rng.random()
    if r < 0.3:
        said = w.pick([f"How many rows are {of}", f"Count the rows {of}", f"How many {table} are in {{d}}", f"How many entries are {of}", f"Count the {table} in {{d}}", f"What is the number of rows {of}"])
        return said, f"SELECT COUNT(*) FROM {table}", ["COUNT(*)"], [[w.rng.randint(0, 900)]], table, None, None
    if r < 0.7:
        word, f = w.pick([("sum", "SUM"), ("total", "SUM"), ("average", "AVG"), ("mean", "AVG"), ("highest", "MAX"), ("largest", "MAX"), ("maximum", "MAX"), ("lowest", "MIN"), ("smallest", "MIN"), ("minimum", "MIN")])
        said = w.pick([f"What is the {word} {number} {of}", f"Tell me the {word} {number} {of}", f"Find the {word} {number} {of}", f"What is the {word} of {number} {of}"])
        value = w.rng.randint(1, 99999)
        return said, f"SELECT {f}({number}) FROM {table}", [f"{f}({number})"], [[float(value) + 0.5 if f == "AVG" else value]], table, number, None
    if r < 0.88:
        key = w.rng.randint(1, 999)
        said = w.pick([f"What is the {text} with id {key} {of}", f"Which {text} has id {key} {of}", f"Find the {text} of id {key} {of}", f"Tell me the {text} with id {key} {of}"])
        return said, f"SELECT {text} FROM {table} WHERE id = {key}", [text], [[w.name() if w.chance(0.6) else w.phrase(1, 3)]], table, text, key
    said = w.pick([f"List the {text} of all rows {of}", f"Show every {text} {of}", f"Which {text} values are {of}"])
    return said, f"SELECT {text} FROM {table}", [text], [[w.name()] for _ in range(w.rng.randint(2, 4))], table, text, "all"


def database_name(w):
    return w.stem() + "." + w.pick(["db", "db", "sqlite", "db3"])


def sql_query(w):
    database = database_name(w)
    said, query, columns, rows, table, column, key = sql_request(w)
    if w.chance(0.12):
        said = w.pick([f"Run {query} on {{d}}", f"Run the query {query} on {{d}}", f"Execute {query} in {{d}}", f"On {{d}} run: {query}"])
        end = ""
    else:
        end = w.pick(["", "?"])
    t = Task("sql_query").user(said.format(d=database) + end)
    t.world["database"] = {"file": database, "table": table, "column": column, "key": key, "rows": rows, "query": query}
    t.call("sql_query", {"database": database, "query": query}, {"columns": columns, "rows": rows})
    values = [str(r[0]) for r in rows]
    return t.answer(f"The result is {', '.join(values)}.", values)


def sql_failed(w):
    database = database_name(w)
    said, query, _, _, table, _, _ = sql_request(w)
    t = Task("error").user(said.format(d=database) + w.pick(["", "?"]))
    problem = w.pick([f"no such file: {database}", f"no such file: {database}", f"SQLite says: no such table: {table}"])
    t.call("sql_query", {"database": database, "query": query}, ("error", problem))
    t.world["missing"] = problem
    return t.answer(f"That did not work: {problem}.", [problem])


def sql_then_calculate(w):
    database = database_name(w)
    while True:
        said, query, columns, rows, table, column, key = sql_request(w)
        if key is None and len(rows) == 1:
            break
    value = Fraction(str(rows[0][0]))
    k = w.rng.randint(2, 99)
    tail, expression, result = w.pick([
        (f"multiply it by {k}", f"{rows[0][0]} * {k}", value * k), (f"add {k} to it", f"{rows[0][0]} + {k}", value + k),
        (f"divide it by 4", f"{rows[0][0]} / 4", value / 4), (f"subtract {k} from it", f"{rows[0][0]} - {k}", value - k)])
    t = Task("chain").user(said.format(d=database) + w.pick(["? Then ", ", and ", " and ", "? And then "]) + tail + w.pick(["", "."]))
    t.world["database"] = {"file": database, "table": table, "column": column, "key": key, "rows": rows, "query": query}
    t.call("sql_query", {"database": database, "query": query}, {"columns": columns, "rows": rows}, ["sql_query", "calculator"])
    t.call("calculator", {"expression": expression}, {"result": show(result)}, note=f"The number is {rows[0][0]}.")
    return t.answer(f"The result is {show(result)}.", [show(result)])


def url_of(w):
    host = w.pick([w.word() + "." + w.pick(["com", "org", "net", "example", "io"]), "www." + w.word() + "." + w.pick(["com", "org"]), f"127.0.0.1:{w.rng.randint(1024, 65000)}", "localhost:" + str(w.rng.randint(1024, 65000))])
    return w.pick(["http://", "https://"]) + host + w.pick(["", "/", "/" + w.word(), "/" + w.word() + ".html", "/" + w.word() + "/" + w.word()])


def http_fetch(w):
    url = url_of(w)
    said = w.pick(["Fetch {}", "What does {} say", "Get the page {}", "Open {}", "What is on {}", "Read the web page {}", "fetch {}", "Download {}", "Show me {}", "Load the page {} and tell me what it says"]).format(url)
    t = Task("http_fetch").user(said + (w.pick(["", "?"]) if said.startswith("What") else ""))
    r = w.rng.random()
    if r < 0.75:
        body = w.user_value() if w.chance(0.5) else w.sentence()
        t.call("http_fetch", {"url": url}, {"status": 200, "body": body + w.pick(["", "\n"])})
        return t.answer(f"The page says: {body}", [body])
    if r < 0.88:
        problem = w.pick(["the server does not answer", "the server does not answer", "the address is private or local, it may not be fetched", f"no such host: {url.split('/')[2]}", "the page took too long", "the page is not text but image/png"])
        t.kind = "error"
        t.call("http_fetch", {"url": url}, ("error", problem))
        return t.answer(f"That did not work: {problem}.", [problem])
    status = w.pick([404, 404, 500, 403, 503])
    t.call("http_fetch", {"url": url}, {"status": status, "body": w.pick(["", "Not Found", "not here", w.phrase(1, 3)])})
    return t.answer(f"The page answered with status {status}.", [str(status)])
