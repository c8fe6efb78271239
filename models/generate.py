#!/usr/bin/env python3
"""Dialogues of the default model's world, seeded. A group is one tool set and system text with several dialogues over it.

  generate.py --sample 20 --seed 1            prints dialogues to read
  generate.py --sample 20 --seed 1 --json     prints them as JSON lines, with the spans and the whole text"""
import argparse
import json
import sys

import tasks_compute as compute
import tasks_failing as failing
import tasks_files as files
import tasks_stores as stores
import tasks_synthetic as synthetic
import tasks_talk as talk
from render import branch_spans, join, prefix_spans
from tooldefs import SHIPPED, synthetic_tool
from words import Words, rng_for

# task -> (tools it needs, weight, tools that must be absent)
TASKS = {
    compute.calculate: (["calculator"], 9, []),
    compute.two_calculations: (["calculator"], 3.5, []),
    compute.now: (["now"], 1, []),
    compute.date_add: (["date_add"], 2, []),
    compute.date_diff: (["date_diff"], 1.5, []),
    compute.weekday: (["weekday"], 1.2, []),
    compute.two_weekdays: (["weekday"], 0.5, []),
    compute.wrong_date: (["weekday"], 0.6, []),
    compute.now_then_add: (["now", "date_add"], 1.5, []),
    compute.now_then_diff: (["now", "date_diff"], 1.2, []),
    files.read_file: (["read_file"], 2.5, []),
    files.two_reads: (["read_file"], 2, []),
    files.list_files: (["list_files"], 1.3, []),
    files.write_file: (["write_file"], 2.2, []),
    files.search_files: (["search_files"], 2.2, []),
    files.read_then_calculate: (["read_file", "calculator"], 3, []),
    files.two_reads_then_calculate: (["read_file", "calculator"], 1.2, []),
    files.calculate_then_write: (["calculator", "write_file"], 1.2, []),
    files.copy_file: (["read_file", "write_file"], 0.9, []),
    files.list_then_read: (["list_files", "read_file"], 1.2, []),
    files.search_then_read: (["search_files", "read_file"], 0.8, []),
    files.read_then_weekday: (["read_file", "weekday"], 0.8, []),
    files.missing_file: (["read_file"], 1, ["list_files"]),
    files.missing_then_list: (["read_file", "list_files"], 1, []),
    files.missing_after_list: (["read_file", "list_files"], 0.8, []),
    stores.remember: (["remember"], 1.8, []),
    stores.recall: (["recall"], 1.3, []),
    stores.no_note: (["recall"], 0.6, []),
    stores.two_recalls: (["recall"], 0.7, []),
    stores.recall_then_calculate: (["recall", "calculator"], 1, []),
    stores.read_then_remember: (["read_file", "remember"], 0.7, []),
    stores.recall_then_read: (["recall", "read_file"], 0.7, []),
    stores.retrieve: (["retrieve"], 3.5, []),
    stores.nothing_retrieved: (["retrieve"], 0.4, []),
    stores.sql_query: (["sql_query"], 3, []),
    stores.sql_failed: (["sql_query"], 0.5, []),
    stores.sql_then_calculate: (["sql_query", "calculator"], 1, []),
    stores.http_fetch: (["http_fetch"], 1.6, []),
    failing.outside_file: (["read_file"], 0.4, []),
    failing.one_of_two_missing: (["read_file"], 0.4, []),
    **failing.FAILED,
}
SYSTEMS = ["You are a helpful assistant.", "Answer briefly.", "You work for {name}.", "You are {name}'s assistant. Be polite.", "Be short and exact.", "Use the tools when needed.",
           "You help the team of {name} in {city}.", "Today you help with the {noun}.", "Always be friendly.", "The project is called {noun}."]


def system_text(w):
    if w.chance(0.72):
        return ""
    return w.pick(SYSTEMS).format(name=w.name(), city=w.city(), noun=w.noun())


def tool_set(w, level):
    """(tools in the order the prompt names them, synthetic tools among them). level 0: none, and yet they are called: short texts for the
    first steps of training, which learn to copy; level 1: one to three; level 2: any."""
    r = w.rng.random()
    shipped, made = [], []
    names = list(SHIPPED)
    if level == 0:
        return [], []
    if level == 1:
        n = w.pick([1, 1, 2, 2, 3])
        if r < 0.55:
            shipped = w.rng.sample(names, n)
            if w.chance(0.4):
                task = w.pick(list(TASKS))
                shipped = list(dict.fromkeys(TASKS[task][0] + shipped))[:max(n, len(TASKS[task][0]))]
        else:
            made = [synthetic_tool(w) for _ in range(w.pick([1, 1, 2]))]
    elif r < 0.40:   # a job that names no tools
        shipped = names if w.chance(0.75) else w.rng.sample(names, w.rng.randint(10, 14))
        made = [synthetic_tool(w) for _ in range(w.pick([0, 1, 1, 2, 3]))]
    elif r < 0.72:
        shipped = w.rng.sample(names, w.rng.randint(1, 6))
        if w.chance(0.5):
            shipped = list(dict.fromkeys(TASKS[w.pick(list(TASKS))][0] + shipped))[:7]
        made = [synthetic_tool(w) for _ in range(w.pick([0, 0, 1, 2]))]
    elif r < 0.97:
        made = [synthetic_tool(w) for _ in range(w.rng.randint(1, 6))]
        shipped = w.rng.sample(names, w.pick([0, 0, 1, 2]))
    made = list({m["tool"]["name"]: m for m in made}.values())
    tools = [SHIPPED[n] for n in shipped] + [m["tool"] for m in made]
    if w.chance(0.45) or len(shipped) >= 10:
        tools.sort(key=lambda t: t["name"])
    else:
        w.rng.shuffle(tools)
    return tools, made


# one call and an answer: nearly every learned token that is not of the frame is copied
FIRST = [compute.calculate, compute.date_add, compute.date_diff, compute.weekday, files.read_file, files.write_file, files.search_files, stores.remember, stores.recall,
         stores.retrieve, stores.http_fetch]


def unlisted_task(w):
    return w.pick(FIRST)(w)


def one_task(w, tools, made):
    names = {t["name"] for t in tools}
    r = w.rng.random()
    if r < 0.05 or (not tools and r < 0.5):
        return talk.talk(w)
    if r < 0.08 or (not tools and r < 0.6):
        return talk.impossible(w)
    if r < 0.13 or not tools:
        if w.chance(0.35):
            other = synthetic_tool(w)
            if other["verb"] not in {m["verb"] for m in made} and other["thing"] not in {m["thing"] for m in made}:
                return talk.refusal_of(synthetic.call_one(w, other))
        absent = [t for t, (needs, _, _) in TASKS.items() if not names & set(needs)]
        if absent:
            return talk.refusal_of(w.pick(absent)(w))
    able = [(t, weight) for t, (needs, weight, without) in TASKS.items() if names >= set(needs) and not names & set(without)]
    shipped = len(names) - len(made)
    if made and (not able or w.chance(max(0.25, len(made) / (len(made) + shipped)))):
        s = w.pick(made)
        if w.chance(0.35):
            return synthetic.call_two(w, s, w.pick(made))
        return synthetic.call_one(w, s)
    if not able:
        return talk.talk(w)
    both = failing.two_things(w, names) if w.chance(0.1) else None
    if both:
        return both
    return w.rng.choices([t for t, _ in able], [x for _, x in able])[0](w)


def follow_up(w, task, tools, made):
    """Rarely, a second request in the same conversation."""
    second = talk.talk(w) if w.chance(0.4) else one_task(w, tools, made)
    task.messages += second.messages
    task.kind += "+" + second.kind
    return task


def group(seed, index, level=2, evaluation=False, branches=12):
    """(tools, system text, [Task]). The same (seed, index) always gives the same group."""
    w = Words(rng_for(seed, index, level), evaluation)
    tools, made = tool_set(w, level)
    system = system_text(w) if level > 0 else ""
    tasks = []
    for _ in range(branches):
        task = one_task(w, tools, made) if level > 0 else unlisted_task(w)
        if level > 0 and w.chance(0.04) and not evaluation:
            task = follow_up(w, task, tools, made)
        tasks.append(task)
    return tools, system, tasks


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--sample", type=int, default=10)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--level", type=int, default=2)
    p.add_argument("--json", action="store_true")
    args = p.parse_args()
    for i in range(args.sample):
        tools, system, tasks = group(args.seed, i, args.level, branches=1)
        task = tasks[0]
        spans = join([(True, "<|begin_of_text|>")] + prefix_spans(tools, system) + [(t, s) for t, s, _ in branch_spans(task.messages)])
        text = "".join(s for _, s in spans)
        if args.json:
            print(json.dumps({"kind": task.kind, "system": system, "tools": tools, "messages": task.messages,
                              "spans": [{"trusted": t, "text": s} for t, s in spans], "text": text}, ensure_ascii=False))
        else:
            print(f"=== {task.kind}: {', '.join(t['name'] for t in tools)}")
            print("".join(s for _, s, _ in branch_spans(task.messages)), "\n", file=sys.stdout)


if __name__ == "__main__":
    main()
