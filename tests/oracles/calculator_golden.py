#!/usr/bin/env python3
"""Prints expressions and what they must give, one `expression<TAB>result` per line, worked out by Python's decimal and fractions modules:

    python3 tests/oracles/calculator_golden.py > tests/plugins/calculator_golden.txt

With a number as argument: that many random lines from that seed on, for a longer run by hand:

    python3 tests/oracles/calculator_golden.py 7 20000 > /tmp/golden.txt && HERMESD_CALCULATOR_GOLDEN=/tmp/golden.txt test_calculator
"""
import decimal
import random
import sys
from decimal import Decimal as D

exact = decimal.Context(prec=2000, rounding=decimal.ROUND_HALF_EVEN, Emax=10**6, Emin=-10**6)
p34 = decimal.Context(prec=34, rounding=decimal.ROUND_HALF_EVEN, Emax=10**6, Emin=-10**6)
p80 = decimal.Context(prec=80, rounding=decimal.ROUND_HALF_EVEN, Emax=10**6, Emin=-10**6)


def show(x):
    """Plain notation, trailing zeros trimmed; d.ddde+n where more than 40 zeros would pad it."""
    if x == 0:
        return "0"
    sign, digits, exponent = x.as_tuple()
    digits = "".join(map(str, digits)).lstrip("0")
    stripped = digits.rstrip("0")
    exponent += len(digits) - len(stripped)
    digits, minus = stripped, "-" if sign else ""
    top = exponent + len(digits) - 1
    if exponent > 40 or top < -40:
        return f"{minus}{digits[0]}{'.' if digits[1:] else ''}{digits[1:]}e{top:+d}"
    if exponent >= 0:
        return minus + digits + "0" * exponent
    if top >= 0:
        return f"{minus}{digits[:top + 1]}.{digits[top + 1:]}"
    return f"{minus}0.{'0' * (-top - 1)}{digits}"


def number(r):
    kind = r.randrange(6)
    if kind == 0:
        return str(r.randrange(10))
    if kind == 1:
        return str(r.randrange(10**6))
    if kind == 2:
        return f"{r.randrange(10**6)}.{r.randrange(100):02d}"
    if kind == 3:
        return f"0.{r.randrange(10**r.randrange(1, 20)):d}"
    if kind == 4:
        return str(r.randrange(10**r.randrange(1, 40)))
    return f"{r.randrange(100)}e{r.randrange(-12, 13)}"


def tree(r, depth):
    """A random expression as (text, value); the text is fully parenthesised where precedence would matter to the oracle."""
    if depth == 0 or r.random() < 0.2:
        text = number(r)
        if r.random() < 0.15:
            return text + "%", exact.multiply(D(text), D("0.01"))
        return text, D(text)
    kind = r.choice(["+", "-", "*", "*", "/", "neg", "round", "mod", "min", "max", "abs", "floor", "ceil", "sqrt", "^"])
    a, x = tree(r, depth - 1)
    if kind == "neg":
        return f"(-{a})", x.copy_negate() if x else x
    if kind == "abs":
        return f"abs({a})", x.copy_abs()
    if kind == "sqrt":
        return (f"sqrt({a})", p34.sqrt(x)) if x >= 0 else (a, x)
    if kind in ("floor", "ceil"):
        rounding = decimal.ROUND_FLOOR if kind == "floor" else decimal.ROUND_CEILING
        return f"{kind}({a})", x.to_integral_value(rounding=rounding, context=exact)
    if kind == "round":
        n = r.randrange(-3, 8)
        return f"round({a}, {n})", x.quantize(D(1).scaleb(-n), rounding=decimal.ROUND_HALF_UP, context=exact)
    if kind == "^":
        n = r.randrange(0, 6)
        y = exact.power(x, n) if x or n else D(1)
        if len(y.as_tuple().digits) > 100:  # a fraction beyond 100 digits is rounded to 34
            return a, x
        return f"({a})^{n}", y
    b, y = tree(r, depth - 1)
    if kind == "+":
        return f"({a} + {b})", exact.add(x, y)
    if kind == "-":
        return f"({a} - {b})", exact.subtract(x, y)
    if kind == "*":
        return f"{a} * ({b})", exact.multiply(x, y)
    if kind == "/":
        return (f"({a}) / ({b})", p34.divide(x, y)) if y else (a, x)
    if kind == "mod":
        if not y:
            return a, x
        q = exact.divide(x, y).to_integral_value(rounding=decimal.ROUND_FLOOR, context=exact)
        return f"mod({a}, {b})", exact.subtract(x, exact.multiply(y, q))
    return f"{kind}({a}, {b})", min(x, y) if kind == "min" else max(x, y)


def lines(seed, count):
    r = random.Random(seed)
    for _ in range(count):
        yield tree(r, r.randrange(1, 5))


FLOATS = ["ln(2)", "ln(10)", "ln(0.5)", "ln(1.0000001)", "log10(2)", "log10(12345.678)", "exp(1)", "exp(-3.5)", "exp(0.001)", "exp(100)"]


def float_lines():
    p15 = decimal.Context(prec=15, rounding=decimal.ROUND_HALF_EVEN)
    for text in FLOATS:
        name, argument = text[:-1].split("(")
        x = D(argument)
        value = {"ln": p80.ln, "log10": p80.log10, "exp": p80.exp}[name](x)
        yield text, p15.plus(value)
    for base, power in (("2", "0.3"), ("10", "-1.7"), ("1.5", "2.5"), ("0.02", "0.25")):
        yield f"{base}^{power}", p15.plus(p80.power(D(base), D(power)))
    for angle in ("0.5", "1", "2", "3", "4", "5.5", "-2.5", "100", "1e6", "3.14159265358979", "12345678901234567890"):
        s, c = sine_cosine(D(angle))
        yield f"sin({angle})", places(p15.plus(s))
        yield f"cos({angle})", places(p15.plus(c))
        yield f"tan({angle})", places(p15.plus(p80.divide(s, c)))


def places(x):
    """Nothing below 10^-30 is shown."""
    return x.quantize(D("1e-30"), context=p80) if x.adjusted() - 15 < -30 else x


def sine_cosine(x):
    """Taylor series after halving the angle often enough; 200 digits."""
    with decimal.localcontext(decimal.Context(prec=200)):
        pi = D("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798214808651328230664709384460955058223172535940812848111745028410270193852110555964462294895493038196")
        x = x % (2 * pi)
        term, s, n = x, x, 1
        while abs(term) > D("1e-150"):
            term = -term * x * x / ((n + 1) * (n + 2))
            n += 2
            s += term
        term, c, n = D(1), D(1), 0
        while abs(term) > D("1e-150"):
            term = -term * x * x / ((n + 1) * (n + 2))
            n += 2
            c += term
        return s, c


def main():
    seed, count = (int(sys.argv[1]), int(sys.argv[2])) if len(sys.argv) > 2 else (1, 600)
    for text, value in lines(seed, count):
        if len(value.as_tuple().digits) < 1500 and len(text) < 4000:
            print(f"{text}\t{show(value)}")
    for text, value in float_lines():
        print(f"{text}\t{show(value)}")
    for base, power in ((2, 200), (3, 1000), (7, 123), (2, 6000)):
        print(f"{base}^{power}\t{show(D(base ** power))}")
    for text, value in (("1/3", p34.divide(D(1), D(3))), ("2/3", p34.divide(D(2), D(3))), ("1/7", p34.divide(D(1), D(7)))):
        print(f"{text}\t{show(value)}")


if __name__ == "__main__":
    sys.set_int_max_str_digits(0)
    decimal.setcontext(exact)
    main()
