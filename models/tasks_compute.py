"""Tasks of the calculator and the clock, alone."""
import datetime
from fractions import Fraction

from render import Task
from words import WEEKDAYS, spoken_number


def show(value):
    """A Fraction as the calculator writes it: exact when the decimal ends, else 20 digits."""
    value = Fraction(value)
    d = value.denominator
    while d % 2 == 0:
        d //= 2
    while d % 5 == 0:
        d //= 5
    if d == 1:
        n, scale = value, 0
        while n.denominator != 1:
            n *= 10
            scale += 1
        text = str(abs(n.numerator)).rjust(scale + 1, "0")
        text = text[:-scale] + "." + text[-scale:] if scale else text
    else:
        n = abs(value)
        whole = n.numerator // n.denominator
        digits = max(20 - len(str(whole)), 8)
        scaled = round((n - whole) * 10**digits)
        text = f"{whole}.{str(scaled).rjust(digits, '0')}"
    return ("-" if value < 0 else "") + text


def lead(w):
    return w.pick(["What is ", "What's ", "Calculate ", "Compute ", "How much is ", "Work out ", "Please calculate ", "Tell me ", "what is ",
                   "can you compute ", "Evaluate ", "How much are ", "I need to know ", "calculate ", "Could you work out ", ""])


def close(w, question=True):
    return w.pick(["?", "?", "", "."] if question else [".", "", "!", "."])


SHOWN_MAX = 14  # characters of a result: a long row of equal digits is not copied reliably by a small model


def sum_of(w):
    """(what the user says, expression, value)."""
    while True:
        text, expression, value = any_sum(w)
        if len(show(value)) <= SHOWN_MAX:
            return text, expression, value


def any_sum(w):
    a, b, c = w.number(), w.number(), w.number()
    A, B, C = (spoken_number(w, x) for x in (a, b, c))
    fa, fb, fc = Fraction(a), Fraction(b), Fraction(c)
    small = str(w.rng.randint(2, 12))
    p = w.pick([str(w.rng.randint(1, 99)), str(w.rng.randint(1, 40)), f"{w.rng.randint(1, 20)}.5"])
    percent = w.pick([" %", "%", " percent", " per cent"])
    r = w.rng.random()
    if r < 0.17:
        return w.pick([f"{p}{percent} of {A}"]), f"{p}% * {a}", Fraction(p) / 100 * fa
    if r < 0.28:
        return f"{A} {w.pick(['times', 'multiplied by', 'x', '*'])} {B}", f"{a} * {b}", fa * fb
    if r < 0.36:
        return f"{A} {w.pick(['plus', '+'])} {B}", f"{a} + {b}", fa + fb
    if r < 0.44:
        return f"{A} {w.pick(['minus', '-', 'less'])} {B}", f"{a} - {b}", fa - fb
    if r < 0.52:
        d = w.pick(["2", "4", "5", "8", "10", "16", "20", "25", "40", "50", "100", small])
        return f"{A} {w.pick(['divided by', '/', 'over'])} {d}", f"{a} / {d}", fa / int(d)
    if r < 0.56:
        return w.pick([f"the sum of {A} and {B}"]), f"{a} + {b}", fa + fb
    if r < 0.60:
        return f"the product of {A} and {B}", f"{a} * {b}", fa * fb
    if r < 0.63:
        return f"the difference between {A} and {B}", f"{a} - {b}", fa - fb
    if r < 0.66:
        n = str(w.rng.randint(2, 99))
        return w.pick([f"{n} squared", f"the square of {n}"]), f"{n} ^ 2", Fraction(n)**2
    if r < 0.69:
        n, e = str(w.rng.randint(2, 20)), str(w.rng.randint(2, 9))
        return w.pick([f"{n} to the power of {e}", f"{n} to the power {e}", f"{n}^{e}"]), f"{n} ^ {e}", Fraction(n)**int(e)
    if r < 0.73:
        n = w.rng.randint(2, 400)
        return w.pick([f"the square root of {n * n}", f"square root of {n * n}", f"sqrt({n * n})"]), f"sqrt({n * n})", Fraction(n)
    if r < 0.77:
        return f"the average of {A}, {B} and {C}" if w.chance(0.5) else f"the mean of {A}, {B} and {C}", f"({a} + {b} + {c}) / 3", (fa + fb + fc) / 3
    if r < 0.81:
        big = w.chance(0.5)
        word = w.pick(["largest", "biggest", "maximum", "greatest"] if big else ["smallest", "minimum", "least"])
        return f"the {word} of {A}, {B} and {C}", f"{'max' if big else 'min'}({a}, {b}, {c})", max(fa, fb, fc) if big else min(fa, fb, fc)
    if r < 0.84:
        n, m = w.rng.randint(5, 9999), w.rng.randint(2, 60)
        return w.pick([f"{n} modulo {m}", f"the remainder of {n} divided by {m}", f"{n} mod {m}"]), f"mod({n}, {m})", Fraction(n % m)
    if r < 0.87:
        return w.pick([f"half of {A}"]), f"{a} / 2", fa / 2
    if r < 0.89:
        return w.pick([f"twice {A}", f"double {A}"]), f"2 * {a}", 2 * fa
    # an expression of the user's own is copied as it stands
    x, y, z = (str(w.rng.randint(1, 999)) for _ in range(3))
    o1, o2 = w.pick("+-*"), w.pick("+-*")
    form = w.pick([f"({x} {o1} {y}) {o2} {z}", f"{x} {o1} {y} {o2} {z}", f"{x}{o1}{y}", f"{x} {o1} ({y} {o2} {z})", f"{x}*({y}{o1}{z})"])
    return form, form, Fraction(eval(form))  # noqa: S307, our own digits


def command_of(w):
    """Like sum_of, as an order: Multiply 3 by 4."""
    a, b = w.number(), w.number()
    A, B = spoken_number(w, a), spoken_number(w, b)
    fa, fb = Fraction(a), Fraction(b)
    p = str(w.rng.randint(1, 60))
    r = w.rng.random()
    if r < 0.25:
        return f"{w.pick(['Add', 'add', 'Please add'])} {A} {w.pick(['and', 'to'])} {B}", f"{a} + {b}", fa + fb
    if r < 0.45:
        return f"{w.pick(['Multiply', 'multiply', 'Please multiply'])} {A} {w.pick(['by', 'with', 'and'])} {B}", f"{a} * {b}", fa * fb
    if r < 0.6:
        return f"{w.pick(['Subtract', 'subtract', 'Take'])} {A} from {B}", f"{b} - {a}", fb - fa
    if r < 0.75:
        d = w.pick(["2", "4", "5", "8", "10", "20"])
        return f"{w.pick(['Divide', 'divide', 'Please divide'])} {A} by {d}", f"{a} / {d}", fa / int(d)
    if r < 0.88:
        return f"Add {p}{w.pick([' %', '%', ' percent'])} to {A}", f"{a} + {p}% * {a}", fa + fa * int(p) / 100
    return f"Take {p}{w.pick([' %', '%', ' percent'])} off {A}", f"{a} - {p}% * {a}", fa - fa * int(p) / 100


def arithmetic(w):
    """(request, expression, value) in either form."""
    if w.chance(0.8):
        text, expression, value = sum_of(w)
        start = lead(w)
        return (start + text + close(w) if start else text[0].upper() + text[1:] + close(w)), expression, value
    text, expression, value = command_of(w)
    return text + close(w, False), expression, value


def calculate(w):
    text, expression, value = arithmetic(w)
    t = Task("calculator").user(text)
    if w.chance(0.04):
        a = w.number()
        t = Task("error").user(f"{lead(w)}{spoken_number(w, a)} {w.pick(['divided by', '/', 'over'])} 0{close(w)}")
        return t.call("calculator", {"expression": f"{a} / 0"}, ("error", "division by zero")).answer(
            "That did not work: division by zero.", ["division by zero"])
    t.call("calculator", {"expression": expression}, {"result": show(value)})
    return t.answer(f"The result is {show(value)}.", [show(value)])


def two_calculations(w):
    a, ea, va = sum_of(w)
    b, eb, vb = sum_of(w)
    text = lead(w).strip() or "What is"
    joint = w.pick([" and ", " and also ", ", and ", " and what is ", "? And "])
    t = Task("parallel").user(f"{text} {a}{joint}{b}{close(w)}")
    t.calls([("calculator", {"expression": ea}), ("calculator", {"expression": eb})], [{"result": show(va)}, {"result": show(vb)}],
            ["calculator and calculator"])
    return t.answer(f"The results are {show(va)} and {show(vb)}.", [show(va), show(vb)])


def weekday_of(date):
    return WEEKDAYS[datetime.date.fromisoformat(date).weekday()]


def shift(date, days):
    return (datetime.date.fromisoformat(date) + datetime.timedelta(days=days)).isoformat()


def clock_now(w):
    offset = w.pick(["+00:00"] * 3 + ["+01:00", "+02:00", "-05:00", "+09:00", "-08:00", "+05:30", f"{w.pick('+-')}{w.rng.randint(0, 11):02d}:00"])
    date = w.date()
    time = f"{w.rng.randint(0, 23):02d}:{w.rng.randint(0, 59):02d}:{w.rng.randint(0, 59):02d}"
    return offset, date, time, {"date": date, "time": time, "weekday": weekday_of(date), "utc_offset": offset}


def now(w):
    offset, date, time, result = clock_now(w)
    text = w.pick(["What time is it", "What is the time", "what time is it now", "What's the current time", "Tell me the time", "What is today's date",
                   "Which day is it today", "What day is today", "What is the date", "what's the date today", "What day of the week is it today",
                   "Tell me the date and time", "Which date do we have today", "How late is it", "Give me the current date"])
    if offset != "+00:00":
        text += w.pick([" at UTC offset ", " at offset ", " at UTC", " in the time zone ", " in UTC"]) + offset
        arguments = {"utc_offset": offset}
    else:
        arguments = {}
    t = Task("now").user(text + close(w))
    t.call("now", arguments, result)
    t.effects["clock"] = True
    return t.answer(f"It is {time} on {result['weekday']}, {date}.", [])


def days_phrase(w):
    n = w.rng.randint(1, 400)
    if w.chance(0.35):
        weeks = w.rng.randint(2, 6)
        return f"{weeks} weeks", weeks * 7
    if w.chance(0.06):
        return "a week", 7
    return f"{n} days", n


def date_add(w):
    date = w.date()
    spoken, days = days_phrase(w)
    if w.chance(0.7):
        text = w.pick([f"What day is it in {spoken} from {date}", f"What date is {spoken} after {date}", f"Which day comes {spoken} after {date}",
                       f"Add {spoken} to {date}", f"What is the date {spoken} after {date}", f"{spoken} after {date}",
                       f"Which date is {spoken} from {date}", f"What day is {spoken} after {date}", f"Tell me the date {spoken} from {date}",
                       f"From {date}, what day is it in {spoken}", f"date {spoken} later than {date}", f"What date will it be {spoken} after {date}"])
    else:
        days = -days
        text = w.pick([f"What date was {spoken} before {date}", f"Which day is {spoken} before {date}", f"Subtract {spoken} from {date}",
                       f"What is the date {spoken} before {date}", f"{spoken} before {date}", f"What day was it {spoken} before {date}",
                       f"Take {spoken} off {date}", f"Go back {spoken} from {date}"])
    result = shift(date, days)
    t = Task("date_add").user(text + close(w))
    t.call("date_add", {"date": date, "days": days}, {"date": result, "weekday": weekday_of(result)})
    return t.answer(f"It is {weekday_of(result)}, {result}.", [result, weekday_of(result)])


def date_diff(w):
    a = w.date()
    b = shift(a, w.rng.randint(1, 4000)) if w.chance(0.85) else w.date()
    days = (datetime.date.fromisoformat(b) - datetime.date.fromisoformat(a)).days
    text = w.pick([f"How many days are between {a} and {b}", f"How many days are there from {a} to {b}", f"Count the days between {a} and {b}",
                   f"How many days from {a} to {b}", f"What is the number of days between {a} and {b}", f"days between {a} and {b}",
                   f"How long is it from {a} to {b}", f"How long is it from {a} until {b}", f"Number of days from {a} until {b}",
                   f"How far apart are {a} and {b}", f"How many days lie between {a} and {b}", f"Tell me how many days pass from {a} to {b}"])
    t = Task("date_diff").user(text + close(w))
    t.call("date_diff", {"from": a, "to": b}, {"days": days})
    return t.answer(f"It is {days} days.", [str(days)])


def weekday(w):
    date = w.date()
    asked = date
    text = w.pick(["What weekday is {}", "Which weekday is {}", "What day of the week is {}", "What day of the week was {}", "On which weekday does {} fall",
                   "Tell me the weekday of {}", "weekday of {}", "What weekday was {}", "Which day of the week is {}", "On what day of the week is {}",
                   "Is {} a Monday", "What's the weekday of {}", "Which weekday falls on {}"])
    t = Task("weekday").user(text.format(asked) + close(w))
    t.call("weekday", {"date": date}, {"weekday": weekday_of(date)})
    return t.answer(f"{date} is a {weekday_of(date)}.", [weekday_of(date)])


def two_weekdays(w):
    a, b = w.date(), w.date()
    text = w.pick(["What weekdays are {} and {}", "Which weekdays are {} and {}", "On which weekdays do {} and {} fall", "Tell me the weekdays of {} and {}"])
    t = Task("parallel").user(text.format(a, b) + close(w))
    t.calls([("weekday", {"date": a}), ("weekday", {"date": b})], [{"weekday": weekday_of(a)}, {"weekday": weekday_of(b)}], ["weekday and weekday"])
    return t.answer(f"{a} is a {weekday_of(a)} and {b} is a {weekday_of(b)}.", [weekday_of(a), weekday_of(b)])


def wrong_date(w):
    """A date in another spelling fails, and is corrected."""
    date = w.date()
    y, m, d = date.split("-")
    odd = w.pick([f"{y}/{m}/{d}", f"{y}.{m}.{d}", f"{y}/{m}/{d}"])
    text = w.pick(["What weekday is {}", "Which weekday was {}", "Tell me the weekday of {}", "What day of the week is {}"])
    t = Task("error").user(text.format(odd) + close(w))
    t.call("weekday", {"date": odd}, ("error", f"date must be YYYY-MM-DD, got '{odd}'"))
    t.call("weekday", {"date": date}, {"weekday": weekday_of(date)}, note="The date must be YYYY-MM-DD.")
    return t.answer(f"{date} is a {weekday_of(date)}.", [weekday_of(date)])


def now_then_add(w):
    _, date, _, result = clock_now(w)
    spoken, days = days_phrase(w)
    if w.chance(0.75):
        text = w.pick([f"What date is it in {spoken}", f"Which day is it in {spoken} from today", f"What day will it be in {spoken}",
                       f"What is the date {spoken} from now", f"What date will it be {spoken} from today", f"Today plus {spoken}, which date is that",
                       f"Which date is {spoken} after today", f"Add {spoken} to today's date", f"what day is it in {spoken}"])
    else:
        days = -days
        text = w.pick([f"What date was it {spoken} ago", f"Which day was {spoken} ago", f"What was the date {spoken} before today", f"What day was it {spoken} ago"])
    then = shift(date, days)
    result["utc_offset"] = "+00:00"
    t = Task("chain").user(text + close(w))
    t.call("now", {}, result, ["now", "date_add"])
    t.call("date_add", {"date": date, "days": days}, {"date": then, "weekday": weekday_of(then)}, note=f"Today is {date}.")
    t.effects["clock_add"] = days
    return t.answer(f"It is {weekday_of(then)}, {then}.", [])


def now_then_diff(w):
    _, date, _, result = clock_now(w)
    result["utc_offset"] = "+00:00"
    days = w.rng.randint(1, 3000)
    past = w.chance(0.3)
    other = shift(date, -days if past else days)
    if past:
        text = w.pick([f"How many days have passed since {other}", f"How many days ago was {other}", f"How long ago was {other}", f"Days since {other}"])
    else:
        text = w.pick([f"How many days are left until {other}", f"How many days until {other}", f"How long is it until {other}", f"Days from today to {other}",
                       f"How many days from now to {other}", f"how many days to go until {other}"])
    t = Task("chain").user(text + close(w))
    t.call("now", {}, result, ["now", "date_diff"])
    a, b = (other, date) if past else (date, other)
    t.call("date_diff", {"from": a, "to": b}, {"days": days}, note=f"Today is {date}.")
    t.effects["clock_diff"] = (other, past)
    return t.answer(f"It is {days} days.", [])
