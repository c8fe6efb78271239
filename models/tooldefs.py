"""The shipped tools word for word, and tools nobody has ever seen."""
from words import ADJECTIVES, NOUNS, held_out

S = {"type": "string"}
I = {"type": "integer"}
DAY = {"type": "string", "description": "YYYY-MM-DD"}


def tool(name, description, properties, required):
    schema = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    schema["additionalProperties"] = False
    return {"name": name, "description": description, "parameters": schema}


SHIPPED = {t["name"]: t for t in [
    tool("calculator", "Evaluate an arithmetic expression.", {"expression": {"type": "string", "description": "e.g. 17% * 2340"}}, ["expression"]),
    tool("now", "Get the current date, time and weekday.", {"utc_offset": {"type": "string", "description": "e.g. +02:00"}}, []),
    tool("date_add", "Add days to a date.", {"date": DAY, "days": I}, ["date", "days"]),
    tool("date_diff", "Count the days between two dates.", {"from": DAY, "to": DAY}, ["from", "to"]),
    tool("weekday", "Tell the weekday of a date.", {"date": DAY}, ["date"]),
    tool("list_files", "List the files in a folder of the workspace.", {"path": S}, []),
    tool("read_file", "Read a text file of the workspace.", {"path": S}, ["path"]),
    tool("write_file", "Write text to a file of the workspace.", {"path": S, "content": S}, ["path", "content"]),
    tool("search_files", "Find the lines of files that contain a text.", {"text": S, "path": S}, ["text"]),
    tool("retrieve", "Search the documents and return passages to cite.", {"query": S, "limit": {"type": "integer", "minimum": 1, "maximum": 10}}, ["query"]),
    tool("sql_query", "Run a read-only SQL query on a database file.", {"database": S, "query": S}, ["database", "query"]),
    tool("http_fetch", "Fetch a web page.", {"url": S}, ["url"]),
    tool("remember", "Store a note under a key.", {"key": S, "value": S}, ["key", "value"]),
    tool("recall", "Read the note stored under a key.", {"key": S}, ["key"]),
]}

# verb of a tool's name -> what its description says, what users say
VERBS = {
    "get": (["Get", "Look up", "Return", "Fetch"], ["get", "give me", "show me", "look up", "tell me", "what is", "find"]),
    "find": (["Find", "Look for", "Search for"], ["find", "look for", "search for", "look up"]),
    "send": (["Send", "Deliver"], ["send", "deliver", "please send"]),
    "book": (["Book", "Reserve"], ["book", "reserve", "please book"]),
    "order": (["Order", "Buy"], ["order", "buy", "please order"]),
    "create": (["Create", "Make", "Add"], ["create", "make", "add", "set up"]),
    "delete": (["Delete", "Remove"], ["delete", "remove", "get rid of"]),
    "update": (["Update", "Change"], ["update", "change", "modify"]),
    "convert": (["Convert", "Change"], ["convert", "change"]),
    "translate": (["Translate"], ["translate"]),
    "start": (["Start", "Begin", "Switch on"], ["start", "begin", "switch on", "launch"]),
    "stop": (["Stop", "End", "Switch off"], ["stop", "end", "switch off", "halt"]),
    "check": (["Check", "Inspect"], ["check", "inspect", "please check", "have a look at"]),
    "count": (["Count"], ["count", "how many are there:", "give me the count of"]),
    "play": (["Play"], ["play", "please play", "put on"]),
    "open": (["Open"], ["open", "please open"]),
    "close": (["Close", "Shut"], ["close", "shut"]),
    "move": (["Move", "Shift"], ["move", "shift", "bring"]),
    "paint": (["Paint", "Colour"], ["paint", "colour"]),
    "measure": (["Measure"], ["measure", "please measure"]),
    "track": (["Track", "Follow"], ["track", "follow", "where is"]),
    "print": (["Print"], ["print", "please print"]),
    "rate": (["Rate"], ["rate", "give a rating to"]),
    "cancel": (["Cancel", "Call off"], ["cancel", "call off"]),
    "greet": (["Greet", "Welcome", "Say hello to"], ["greet", "welcome", "say hello to", "say hi to"]),
    "draw": (["Draw", "Sketch"], ["draw", "sketch"]),
    "roll": (["Roll", "Throw"], ["roll", "throw"]),
    "compare": (["Compare"], ["compare"]),
    "register": (["Register", "Enrol"], ["register", "enrol", "sign up"]),
    "lock": (["Lock"], ["lock", "please lock"]),
    "estimate": (["Estimate"], ["estimate", "what is"]),
    "predict": (["Predict", "Forecast"], ["predict", "forecast"]),
    "call": (["Call", "Phone"], ["call", "phone", "ring"]),
    "ship": (["Ship", "Dispatch"], ["ship", "dispatch"]),
    "rename": (["Rename"], ["rename"]),
    "schedule": (["Schedule", "Plan"], ["schedule", "plan", "arrange"]),
}
THINGS = """weather forecast temperature flight hotel room taxi pizza message email invoice ticket meeting event user account
playlist track alarm timer light heating door window parcel shipment currency text language stock price exchange_rate recipe
joke quote poem translation synonym definition movie book review rating route distance population capital horoscope news traffic
train bus seat table restaurant appointment doctor prescription dose patient student grade lesson exam battery sensor robot drone
printer camera photo image colour shape circle square dice card coin lottery_number password token session server backup database
log_entry note reminder task project budget expense salary loan tax receipt discount coupon gift subscription membership""".split()


def argument_pool(w):
    """(name, schema, spoken forms, value maker) of arguments with a natural way to say them. {} is the value."""
    people, places = w.name, w.city
    return [
        ("city", S, ["in {}", "for {}", "in the city of {}"], places),
        ("place", S, ["in {}", "at {}"], places),
        ("location", S, ["in {}", "near {}", "for {}"], places),
        ("country", S, ["in {}", "for {}"], places),
        ("name", S, ["for {}", "named {}", "called {}", "with the name {}"], people),
        ("person", S, ["for {}", "of {}"], people),
        ("user", S, ["for {}", "for user {}"], people),
        ("customer", S, ["for {}", "of customer {}"], people),
        ("recipient", S, ["to {}", "for {}"], people),
        ("to", S, ["to {}"], people),
        ("from", S, ["from {}"], places),
        ("destination", S, ["to {}"], places),
        ("date", DAY, ["on {}", "for {}"], w.date),
        ("day", {"type": "string"}, ["on {}", "for {}"], lambda: w.pick(["Monday", "Tuesday", "Friday", "Sunday", "today", "tomorrow"])),
        ("title", S, ["titled {}", "with the title {}", "called {}"], w.phrase),
        ("text", S, ["that says {}", "with the text {}", ": {}"], w.phrase),
        ("message", S, ["saying {}", "with the message {}"], w.phrase),
        ("topic", S, ["about {}", "on {}"], w.word),
        ("word", S, ["of {}", "for {}"], w.word),
        ("language", S, ["into {}", "in {}"], lambda: w.pick(["French", "German", "Spanish", "Italian", "Czech", "Polish", "Latin", w.made_up(2, 3).capitalize()])),
        ("id", S, ["{}", "with id {}", "number {}"], w.code),
        ("code", S, ["{}", "with code {}"], w.code),
        ("amount", {"type": "number"}, ["of {}", "for an amount of {}"], lambda: w.number()),
        ("price", {"type": "number"}, ["for {}", "at a price of {}"], lambda: w.number()),
        ("count", I, ["{} times", "with a count of {}"], lambda: str(w.integer())),
        ("days", I, ["for {} days", "over {} days"], lambda: str(w.rng.randint(1, 60))),
        ("minutes", I, ["for {} minutes", "in {} minutes"], lambda: str(w.rng.randint(1, 240))),
        ("people", I, ["for {} people", "for {} persons"], lambda: str(w.rng.randint(1, 20))),
        ("sides", I, ["with {} sides"], lambda: str(w.rng.randint(2, 100))),
        ("size", I, ["of size {}"], lambda: str(w.rng.randint(1, 500))),
        ("year", I, ["in {}", "for {}", "of the year {}"], lambda: str(w.rng.randint(1500, 2100))),
        ("level", I, ["at level {}"], lambda: str(w.rng.randint(1, 100))),
    ]


ENUMS = {
    "color": ["red", "green", "blue", "yellow", "black", "white", "orange", "purple"],
    "size": ["small", "medium", "large", "huge", "tiny"],
    "unit": ["celsius", "fahrenheit", "kelvin", "metric", "imperial"],
    "priority": ["low", "normal", "high", "urgent"],
    "mode": ["fast", "slow", "silent", "eco", "turbo"],
    "format": ["pdf", "html", "text", "json", "csv"],
    "status": ["open", "closed", "pending", "done"],
    "shape": ["circle", "square", "triangle", "star"],
}
FLAGS = ["urgent", "express", "silent", "dry_run", "verbose", "notify", "vegetarian", "return_ticket", "recursive", "active"]


def made_up_argument(w):
    name = w.pick(NOUNS) if w.chance(0.75) else w.made_up(1, 3)
    if w.chance(0.15):
        name += "_" + w.pick(NOUNS)
    kind = w.rng.random()
    if kind < 0.55:
        return name, dict(S), ["#"], w.user_value if w.chance(0.4) else (w.word if w.chance(0.5) else w.code)
    if kind < 0.8:
        return name, dict(I), ["#"], lambda: str(w.integer())
    return name, {"type": "number"}, ["#"], lambda: w.number()


def enum_argument(w):
    if w.chance(0.65):
        name = w.pick(list(ENUMS))
        values = w.rng.sample(ENUMS[name], w.rng.randint(2, min(4, len(ENUMS[name]))))
    else:
        name = w.noun()
        values = [w.word() for _ in range(w.rng.randint(2, 4))]
    return name, {"type": "string", "enum": values}, ["#", "#", "in {}"] if name in ("color", "format", "mode") else ["#"], lambda: w.pick(values)


def flag_argument(w):
    name = w.pick(FLAGS) if w.chance(0.7) else w.noun()
    return name, {"type": "boolean"}, ["?"], lambda: w.pick(["true", "false"])


def synthetic_tool(w):
    """A tool with what is needed to talk about it: {tool, asked, thing, verb, arguments: [(name, schema, forms, maker, required)]}. One in
    ten is held out of training by its name."""
    while True:
        made = any_tool(w)
        if held_out(made["tool"]["name"]) == w.evaluation:
            return made


def any_tool(w):
    thing = w.pick(THINGS) if w.chance(0.55) else (w.pick(NOUNS) if w.chance(0.75) else w.made_up(1, 3))
    spoken = thing.replace("_", " ")
    if w.chance(0.12):
        adjective = w.pick(ADJECTIVES)
        thing, spoken = adjective + "_" + thing, adjective + " " + spoken
    if w.chance(0.95):
        verb = w.pick(list(VERBS))
        said, asked = VERBS[verb]
    else:
        verb = w.made_up(1, 3)
        said, asked = [verb.capitalize()], [verb, "please " + verb]
    style = w.rng.random()
    name = verb + "_" + thing if style < 0.72 else (thing + "_" + verb if style < 0.82 else (verb if style < 0.91 else thing))
    if name in SHIPPED or name == "hello":
        name += "_" + w.made_up(1, 1)
    pool = argument_pool(w)
    arguments, names = [], set()
    for _ in range(w.pick([0, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4])):
        r = w.rng.random()
        one = w.pick(pool) if r < 0.6 else made_up_argument(w) if r < 0.78 else enum_argument(w) if r < 0.91 else flag_argument(w)
        if one[0] in names:
            continue
        names.add(one[0])
        arguments.append((*one, w.chance(0.75)))
    description = w.pick(said) + w.pick([" a ", " the ", " a ", " "]) + spoken
    person = verb == "greet"
    if person:
        description = w.pick(said) + w.pick([" someone", " a person", " a guest", " somebody"])
        arguments = [(w.pick(["name", "person", "who", "guest", "user"]), dict(S), ["@"], w.name, True)] + [a for a in arguments if a[3] != w.name][:w.pick([0, 0, 1])]
    if arguments and w.chance(0.35):
        description += w.pick([" by ", " for a ", " with a ", " of a "]) + arguments[0][0].replace("_", " ")
    description += w.pick([".", ".", ".", "", " and return it.", " of the house.", " in the system."]) if not person else "."
    properties = {}
    for arg, schema, _, _, _ in arguments:
        schema = dict(schema)
        if w.chance(0.15) and "description" not in schema and "enum" not in schema:
            schema["description"] = w.pick(["the " + arg.replace("_", " "), "The " + arg.replace("_", " ") + " of the " + spoken, w.phrase(2, 4)])
        properties[arg] = schema
    made = tool(name, description, properties, [a[0] for a in arguments if a[4]])
    if w.chance(0.25):
        del made["parameters"]["additionalProperties"]
    return {"tool": made, "asked": asked, "thing": spoken, "verb": verb, "arguments": arguments}
