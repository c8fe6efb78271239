#!/usr/bin/env python3
"""Prints dates worked out by Python's datetime module, one `date<TAB>days since 1970-01-01<TAB>weekday` per line: all month ends and leap-day
neighbours of chosen years, and random dates.

    python3 tests/oracles/dates_golden.py > tests/plugins/dates_golden.txt
"""
import datetime
import random

EPOCH = datetime.date(1970, 1, 1)
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


def main():
    r = random.Random(1)
    dates = {datetime.date.min, datetime.date.max, EPOCH}
    for year in (1, 4, 100, 400, 1582, 1600, 1700, 1900, 1904, 1999, 2000, 2023, 2024, 2100, 2400, 9996, 9999):
        for month in range(1, 13):
            first = datetime.date(year, month, 1)
            dates.add(first)
            if first > datetime.date.min:
                dates.add(first - datetime.timedelta(days=1))
    for _ in range(600):
        dates.add(datetime.date.fromordinal(r.randrange(1, datetime.date.max.toordinal() + 1)))
    for d in sorted(dates):
        print(f"{d.isoformat()}\t{(d - EPOCH).days}\t{DAYS[d.weekday()]}")


if __name__ == "__main__":
    main()
