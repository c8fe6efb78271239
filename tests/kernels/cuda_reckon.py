#!/usr/bin/env python3
"""Can the kernels reach the goals? Reckoned from the machine code for an H200, measured nowhere.

For the loop of each kernel that reads a model's weights (or its keys and values): how many instructions of a warp it
spends on 512 bytes, beside what a scheduler can issue while memory brings them; how long the pipes are busy with it; how
many bytes are on their way from all warps of a multiprocessor, beside what memory's latency asks for (Little's law); and
how fast the loop takes bytes in, by playing one scheduler with all its warps, cycle by cycle, with the waits that the
compiler wrote into the instructions. From that, whole steps of Llama-3.1 8B and 70B: bytes, rounds of warps, launches.

  cuda_reckon.py NVCC FOLDER    FOLDER: as for check_cuda.py"""
import collections
import math
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import check_cuda  # noqa: E402
import sass  # noqa: E402

# An H200. Multiprocessors, schedulers, registers, shared memory: CUDA C++ Programming Guide, "Compute Capabilities", 9.0.
# The clock goes up to 1.98 GHz and stays lower under load; memory reads 4.8 TB/s by the data sheet, copies measured by
# others reach about 4.3. From idle memory a load takes 480 to 550 ns at most (Luo and others, "Benchmarking and Dissecting
# the NVIDIA Hopper GPU Architecture", 2024), and longer when memory is busy: 600 to 800 ns are taken here.
SMS, SCHEDULERS, CLOCK = 132, 4, 1.7e9
COPY, LATENCY = 4.3e12, 700e-9
REGISTERS, SHARED, WARPS = 65536, 227 * 1024, 64
RESERVED = 1024  # bytes of shared memory that a block costs beside its own
# Cycles of a scheduler that an instruction of a warp keeps a pipe busy: Programming Guide, "Throughput of Native
# Arithmetic Instructions", 9.0: 128 results per cycle and multiprocessor in F32, 64 of integers, dot products and
# conversions, 16 of special functions. Shared memory gives 128 bytes per cycle to all four schedulers. Tensor cores: half
# of what the data sheet says, as mma.sync gets 62 % of it (Luo and others).
RATES = {"fma": 1, "alu": 2, "heavy": 2, "half": 2, "special": 8, "tensor": 8, "none": 1, "unknown": 4}
# Cycles from start to result, of what is waited for by a counter.
LATENCIES = {"shared": 33, "special": 24, "none": 30, "tensor": 34, "alu": 24, "heavy": 24, "half": 24, "fma": 24, "unknown": 30}
# From the end of one kernel to the next with graphs and programmatic launch: 794.7 us for 100 kernels of Llama-1B on an
# H200, of which 2.472 GB / 4.3 TB/s are memory (github.com/msaroufim/megakernels-vs-cuda-graphs).
BOUNDARY = 2.2e-6

# Of a unit, what one lane takes of a row: loads {bytes: how many}, bytes in memory, instructions of arithmetic by which the
# loop is known and how many of them, columns.
Format = collections.namedtuple("Format", "loads bytes math count cols also", defaults=[()])
FORMATS = {
    "F32": Format({16: 1}, 16, "FFMA", 4, 4), "BF16": Format({16: 1}, 16, "FFMA", 8, 8),
    "F16": Format({16: 1}, 16, "FFMA", 8, 8, ("HADD2",)), "F8": Format({16: 1}, 16, "FFMA", 16, 16, ("F2FP",)),
    "Q8_0": Format({16: 2, 2: 1}, 34, "IDP", 8, 32), "Q4_0": Format({16: 1, 2: 1}, 18, "IDP", 8, 32),
    "Q4_K": Format({16: 2}, 18, "IDP", 8, 32), "Q5_K": Format({16: 2, 4: 1}, 22, "IDP", 8, 32),
    "Q6_K": Format({16: 1, 8: 1, 2: 2}, 26.25, "IDP", 8, 32)}

Loop = collections.namedtuple("Loop", "trace outside units format")  # outside: the rest of a pair's instructions


def per_unit(code, path, f):
    """(Units of the loop's way, whether they are of the format)."""
    seen, loads = collections.Counter(code[k].name for k in path), collections.Counter(code[k].width for k in path if code[k].name == "LDG")
    units = seen[f.math] // f.count
    fits = units > 0 and seen[f.math] % f.count <= units and loads == {w: n * units for w, n in f.loads.items()}
    if f.math == "FFMA":
        marks = [m for m in ("HADD2", "F2FP") if seen[m] >= 4 * units]
        fits = fits and marks == (["HADD2"] if f.also == ("HADD2",) else ["HADD2", "F2FP"] if f.also else []) and seen["IDP"] == 0
    return units, fits


def adds_up(code, first, last):
    """A loop over pairs of rows: the lanes add up two sums in it."""
    return sum(code[k].name == "SHFL" for k in range(first, last + 1)) >= 10


def find_loops(code):
    """{format: Loop} of a kernel that multiplies one row: of each format the loop that loads most units ahead."""
    found, all_loops = {}, sass.loops(code)
    for first, last in all_loops:
        if last - first > 2000:
            continue
        path = sass.way(code, first, last)
        if path is None:
            continue
        for name, f in FORMATS.items():
            units, fits = per_unit(code, path, f)
            if fits and (name not in found or units > found[name].units):
                around = [(a, b) for a, b in all_loops if a <= first and b >= last and (a, b) != (first, last) and adds_up(code, a, b)]
                outside = [code[k] for k in sass.way_around(code, around[0], (first, last))] if around else []
                found[name] = Loop([code[k] for k in path], outside, units, name)
    return found


# ---- one scheduler ----

def cost(i):
    """(Pipe, cycles) of an instruction."""
    if i.pipe in ("shared", "global"):
        return "memory", max(1, i.width // 4) * SCHEDULERS
    return i.pipe, RATES[i.pipe]


class Warp:
    def __init__(self, trace, at, block):
        self.trace, self.at, self.ready, self.block = trace, at, 0, block
        self.counters, self.groups, self.newest = [0] * 8, [], 0

    def free_at(self, now):
        """When its next instruction may start, pipes aside."""
        i, when = self.trace[self.at], self.ready
        for k in range(6):
            if i.waits >> k & 1:
                when = max(when, self.counters[k])
        if i.name == "DEPBAR" and len(self.groups) > (i.low >> 38 & 63):
            when = max(when, self.groups[len(self.groups) - 1 - (i.low >> 38 & 63)])
        return max(when, now)

    def start(self, now, latency, table):
        i = self.trace[self.at]
        end = now + (table if i.name == "LDG" and i.width < 16 and table else latency if i.name in ("LDG", "LDGSTS") else 30 if i.pipe == "global" else LATENCIES.get(i.pipe, 30))
        if i.name == "LDGSTS":
            self.newest = max(self.newest, end)
        elif i.name == "LDGDEPBAR":
            self.groups.append(self.newest)
        elif i.sets != 7:
            self.counters[i.sets] = max(self.counters[i.sets], end)
        if i.reads != 7:
            self.counters[i.reads] = max(self.counters[i.reads], now + 20)
        self.ready = now + max(1, i.stall)
        if i.name == "BAR":
            self.block.append(self)  # of those that wait for the others
            self.ready = math.inf
        self.at = (self.at + 1) % len(self.trace)
        return end


def play(trace, warps, latency=LATENCY, cycles=60000, table=None, together=1, part=1.0):
    """(Passes of a warp through the trace per second, bytes on their way on average, part of the cycles that issue), of one
    scheduler with so many warps that go through it again and again, `together` of each block, which wait for each other at
    barriers. Bytes: of the loads as wide as they are. `part`: of shared memory's time that it takes from the others, which have
    fewer warps; 1: as many."""
    latency, blocks = int(latency * CLOCK), [[] for _ in range(warps // together)]
    crowd = [Warp(trace, k // together * together * len(trace) // warps, blocks[k // together]) for k in range(warps)]  # blocks are not all at the same place
    pipes, now, turn, issued, moved, warm = collections.Counter(), 0, 0, 0, 0, cycles // 4
    while now < cycles:
        chosen, soonest = None, cycles
        for k in range(warps):
            w = crowd[(turn + k) % warps]
            pipe, _ = cost(w.trace[w.at])
            when = max(w.free_at(now), math.ceil(pipes[pipe]))
            if when == math.inf:
                continue
            if when <= now:
                chosen = w
                turn = (turn + k) % warps  # it goes on while it can
                break
            soonest = min(soonest, when)
        if chosen is None:
            now = soonest
            continue
        i = chosen.trace[chosen.at]
        pipe, busy = cost(i)
        pipes[pipe] = max(pipes[pipe], now) + busy * (part if pipe == "memory" else 1)
        end = chosen.start(now, latency, table)
        if len(chosen.block) == together:
            for w in chosen.block:
                w.ready = now + max(1, i.stall) + 20
            chosen.block.clear()
        if now >= warm:
            issued += 1
            moved += 32 * i.width * (end - now) if i.name in ("LDG", "LDGSTS") else 0
        now += 1
    span = cycles - warm
    return issued / len(trace) / (span / CLOCK), moved / span, issued / span


# ---- whole steps ----

# Layers, width, width of the feed-forward part, columns of keys or values, vocabulary.
Model = collections.namedtuple("Model", "layers dim ffn kv vocab")
MODELS = {"8B": Model(32, 4096, 14336, 1024, 128256), "70B": Model(80, 8192, 28672, 1024, 128256)}
# Tokens per second that are wanted, one row, short context. Q4_K_M: llama.cpp keeps values, the feed-forward part's second
# matrix of half of the layers, and the output in Q6_K; FP8: the output in BF16.
GOALS = [("8B", "BF16", 255), ("8B", "F8", 440), ("8B", "Q8_0", 440), ("8B", "Q4_K_M", 650), ("70B", "F8", 57), ("70B", "Q4_K_M", 92)]
OTHER_LAUNCHES = 5  # embedding, and four to choose a token
THREADS, PAIR_WARPS = 256, 8


def parts_of(model, kind):
    """[(launches of a step, columns, [(format, rows, paired with another matrix)])] of all products."""
    main, value, output = ("Q4_K", "Q6_K", "Q6_K") if kind == "Q4_K_M" else (kind, kind, "BF16" if kind == "F8" else kind)
    half, parts = model.layers // 2, []
    for n, f in ((model.layers - half, main), (half, value)):
        parts += [(n, model.dim, [(main, model.dim), (main, model.kv), (f, model.kv)]), (n, model.ffn, [(f, model.dim)])]
    parts += [(model.layers, model.dim, [(main, model.dim)]), (model.layers, model.dim, [(main, 2 * model.ffn)])]
    return parts + [(1, model.dim, [(output, model.vocab)])]


def blocks_together(registers, shared, threads):
    by_registers = REGISTERS // ((registers + 7) // 8 * 8 * threads)
    return min(by_registers, SHARED // (shared + RESERVED), WARPS * 32 // threads)


def staged(formats, cols):
    """Bytes of shared memory for the inputs of a product's block."""
    n = (cols + 255) // 256 * 256
    return n + n // 32 * 16 if all(f.startswith("Q") for f in formats) else 4 * n


class Kernel:
    """The kernel of single rows, with what was played so far."""

    def __init__(self, code, registers, shared, latency=LATENCY):
        self.loops, self.registers, self.shared, self.latency, self.played = find_loops(code), registers, shared, latency, {}

    def warps(self, formats, cols):
        return PAIR_WARPS * blocks_together(self.registers, self.shared + staged(formats, cols), THREADS)

    def pair_bytes(self, name, cols):
        f = FORMATS[name]
        return 2 * cols / f.cols * f.bytes + (8 if name == "F8" else 0)

    def rate(self, name, cols, warps):
        """(Bytes per second that a multiprocessor takes in, bytes on their way, part of the cycles that issue)."""
        key = name, cols, warps
        if key not in self.played:
            loop, f = self.loops[name], FORMATS[name]
            per_lane = cols // f.cols * 2 / 32
            trace = loop.trace * max(1, round(per_lane / loop.units)) + loop.outside
            passes, moved, issued = play(trace, max(1, warps // SCHEDULERS), self.latency)
            real = f.bytes / sum(w * n for w, n in f.loads.items())
            self.played[key] = passes * SCHEDULERS * self.pair_bytes(name, cols), moved * SCHEDULERS * real, issued
        return self.played[key]

    def some(self, name, cols, warps, part):
        """Bytes per second of all multiprocessors when only a part of their warps is left."""
        crowd = max(1, math.ceil(part * warps / SCHEDULERS)) * SCHEDULERS
        return self.rate(name, cols, crowd)[0] * SMS * part * warps / crowd

    def seconds(self, cols, sections):
        """Of one launch, without what lies between two kernels: whole rounds of all warps, then those that are left. Several
        matrices follow each other without a gap, as their blocks do."""
        warps = self.warps([f for f, _ in sections], cols)
        places, pairs = warps * SMS, sum(rows // 2 for _, rows in sections)
        last, total = pairs % places, 0.0
        for name, rows in sections[::-1]:
            left, size = min(last, rows // 2), self.pair_bytes(name, cols)
            last -= left
            total += (rows // 2 - left) * size / min(COPY, self.some(name, cols, warps, 1))
            total += left * size / min(COPY, self.some(name, cols, warps, pairs % places / places)) if left else 0
        return total


def step(kernel, model, kind):
    """(Seconds of a token, bytes of weights, seconds of the launches between, seconds at the bandwidth alone)."""
    seconds, total, launches = 0.0, 0.0, OTHER_LAUNCHES + model.layers  # attention
    for n, cols, sections in parts_of(model, kind):
        size = sum(rows / 2 * kernel.pair_bytes(name, cols) for name, rows in sections)
        seconds += n * kernel.seconds(cols, sections)
        total += n * size
        launches += n
    return seconds + launches * BOUNDARY, total, launches * BOUNDARY, total / COPY


# ---- attention of one row ----

# Positions, heads of keys and values, elements of a head in F16, positions of a page.
CONTEXT, KV_HEADS, HEAD, PAGE = 131072, 8, 128, 64
TABLE = 40  # cycles until a page's number is there, which lies in the multiprocessor's own cache


def page_loop(code):
    """The way once through the loop over pages: it copies to shared memory and has tensor cores multiply."""
    for first, last in sass.loops(code):
        path = sass.way(code, first, last)
        names = collections.Counter(code[k].name for k in path or [])
        if names["LDGSTS"] and names["HMMA"]:
            return [code[k] for k in path]
    return None


def attention(code, registers, shared):
    """(Bytes per second that a multiprocessor takes in, bytes on their way, part of cycles that issue, blocks it has) with one
    row at the end of a long context."""
    parts = check_cuda.constant("CUDA_SPLITS", "steps.h")
    blocks = min(KV_HEADS * parts / SMS, blocks_together(registers, shared, 128))
    trace, results = page_loop(code), []
    for n in (math.floor(blocks), math.ceil(blocks)):
        passes, moved, issued = play(trace, n, table=TABLE)
        copied = sum(32 * i.width for i in trace if i.name == "LDGSTS")  # by a warp; loops of copies are gone through once
        results.append((passes * SCHEDULERS * copied, moved * SCHEDULERS, issued))
    part = blocks - math.floor(blocks)
    return tuple(a * (1 - part) + b * part for a, b in zip(*results)) + (blocks,)


# ---- 64 rows of BF16 ----

# A block of kernel_wide<1,64,PARTS>: rows of the batch, columns of a buffer, of which it has four. A block of one part of a
# tile, or of all four, has so many rows of weights; two warps, or one, for 32 of them. The second-level cache gives about
# 5.5 TB/s, to one multiprocessor 64 bytes per cycle (chipsandcheese.com, "Nvidia's H100: Funny L2, and Tons of Bandwidth", 2023).
BATCH, SLAB, STAGES, PARTS, L2, PORT, AT = 64, 64, 4, 4, 5.5e12, 64 * CLOCK, 1024
LAYER_KERNELS = 7  # four products, attention, and the preparation of the inputs of two; test_cuda_products.c counts them
BATCH_GOAL = 9000


def wide_rows(parts):
    return check_cuda.constant("CUDA_WIDE_TILE" if parts < PARTS else "CUDA_WIDE_TALL", "steps.h")


def wide_rates(code, used, parts, latency):
    """[bytes of weights per second that a multiprocessor takes in with 1, 2 … blocks]. The busiest scheduler counts."""
    rows, threads = wide_rows(parts), wide_rows(parts) * 2
    trace, shared, rates = page_loop(code), STAGES * (rows + BATCH) * SLAB * 2 + used[1], []
    for n in range(1, blocks_together(used[0], shared, threads) + 1):
        warps = n * math.ceil(threads / 32 / SCHEDULERS)
        passes, _, _ = play(trace, warps, latency, table=TABLE, together=warps // n, part=n * threads / 32 / SCHEDULERS / warps)
        rates.append(n * passes / warps * rows * SLAB * 2)
    return rates


def adding(tiles, latency):
    """Seconds until the parts of shared tiles are added up: all blocks write theirs, then one of four reads them."""
    size = wide_rows(1) * BATCH * 4
    return tiles * PARTS * size / L2 + 2 * latency + max(tiles * PARTS * size / L2, PARTS * size / PORT)


def wide_most(parts):
    """Bytes of weights per second of all multiprocessors: what memory gives, and with the inputs the second-level cache."""
    return min(COPY, L2 * wide_rows(parts) / (wide_rows(parts) + BATCH))


def wide(rates, cols, tiles, parts):
    """Seconds of one launch whose blocks have so many parts of their tiles, without the adding."""
    blocks, size, together = tiles * PARTS // parts, wide_rows(parts) * cols * 2 * parts / PARTS, len(rates)
    full = blocks // (SMS * together) * SMS * together
    last = blocks - full
    seconds = full * size / min(wide_most(parts), rates[-1] * SMS)
    crowd = math.ceil(last / SMS)
    return seconds + (last * size / min(wide_most(parts), rates[crowd - 1] * last / crowd) if last else 0)


def rows_attention(code, registers, latency):
    """(Seconds of a layer's attention of all rows: as memory brings keys and values, or in rounds of blocks, each of which
    also waits for its queries and its first page; the rounds alone)."""
    part = check_cuda.constant("CUDA_SPLIT_TOKENS", "steps.h")
    blocks, together = BATCH * KV_HEADS * AT // part, blocks_together(registers, row_shared(), 128)
    trace, size = page_loop(code), part * 2 * HEAD * 2
    copied = sum(32 * i.width for i in trace if i.name == "LDGSTS") * SCHEDULERS  # a page, by the block's four warps
    each = size / copied / (play(trace, together, latency, table=TABLE)[0] / together) + 2 * latency
    rounds = math.ceil(blocks / (SMS * together)) * each
    return max(blocks * size / COPY, rounds), rounds


Batch = collections.namedtuple("Batch", "seconds weights floor keys rounds between adding rates")


def batch(wide_kernels, row_kernel, latency=LATENCY):
    """A step of 8B in BF16 with 64 rows behind 1,024 positions, in seconds: all; weights with their inputs; the same as memory
    alone brings them; keys and values; their rounds of blocks; between kernels; the adding of parts. And {parts: rates}.
    The kernels: ({name: code}, {name: (registers, shared memory)}); (code, registers)."""
    (code, used), model, most = wide_kernels, MODELS["8B"], check_cuda.constant("CUDA_WIDE_MOST", "steps.h")
    rates = {k: wide_rates(code[f"kernel_wide<1,64,{k}>"], used[f"kernel_wide<1,64,{k}>"], k, latency) for k in (1, PARTS)}
    weights = floor = added = 0.0
    for n, cols, sections in parts_of(model, "BF16"):
        tiles = {k: sum(math.ceil(r / wide_rows(k)) for _, r in sections) for k in rates}
        parts = 1 if tiles[1] <= most else PARTS
        weights += n * wide(rates[parts], cols, tiles[parts], parts)
        floor += n * sum(r for _, r in sections) * cols * 2 / COPY
        added += n * adding(tiles[1], latency) if parts == 1 else 0
    keys, rounds = (model.layers * s for s in rows_attention(*row_kernel, latency))
    between = (LAYER_KERNELS * model.layers + OTHER_LAUNCHES) * BOUNDARY
    return Batch(weights + keys + between + added, weights, floor, keys, rounds, between, added, rates)


# ---- what is printed and what must hold ----

DECODE = ["BF16", "F16", "F8", "Q8_0", "Q4_0", "Q4_K", "Q5_K", "Q6_K"]
FLIGHT = COPY / SMS * LATENCY  # bytes that must be on their way from a multiprocessor
PART_AT_DEPTH = 0.75
PART_OF_LOOP = 0.9  # of what memory brings, that each loop must be able to take in; the goals below ask for more


def busiest(trace):
    """(The pipe that a way through a loop keeps busy longest, cycles of a scheduler)."""
    busy = collections.Counter()
    for i in trace:
        pipe, cycles = cost(i)
        busy[pipe] += cycles
    return busy.most_common(1)[0]


def judge_loops(kernel, model, names=DECODE):
    problems, budget = [], SMS * SCHEDULERS * CLOCK * 512 / COPY
    print(f"one row, {model.dim} columns; memory brings 512 bytes in the time in which a scheduler issues {budget:.0f} instructions;\n"
          f"{FLIGHT / 1024:.1f} KB must be on their way from a multiprocessor, which gets {COPY / SMS / 1e9:.1f} GB/s:")
    print(f"  {'':6} {'instructions':>12} {'bytes':>6} {'per 512':>8} {'of issue':>9} {'of a pipe':>13} {'warps':>6} {'on the way':>11} {'takes in':>10}")
    for name in names:
        if name not in kernel.loops:
            problems.append(f"the loop of {name} is not found in the kernel of single rows")
            continue
        loop, f = kernel.loops[name], FORMATS[name]
        size, warps = 32 * f.bytes * loop.units, kernel.warps([name], model.dim)
        rate, flight, issued = kernel.rate(name, model.dim, warps)
        pipe, busy = busiest(loop.trace)
        busy *= 512 / size / budget
        per = (len(loop.trace) + len(loop.outside) * loop.units * f.cols * 16 / model.dim) * 512 / size
        print(f"  {name:6} {len(loop.trace):12} {size:6.0f} {per:8.1f} {per / budget:9.0%} {pipe:>8} {busy:4.0%} {warps:6} {flight / 1024:8.1f} KB {rate / 1e9:5.1f} GB/s")
        if busy > 1:
            problems.append(f"{name}: its instructions keep the pipe '{pipe}' busy {busy:.0%} of the time in which memory brings their bytes")
        if per > budget:
            problems.append(f"{name}: {per:.0f} instructions for 512 bytes, {budget:.0f} can be issued while they come")
        if rate < PART_OF_LOOP * COPY / SMS:
            problems.append(f"{name}: a multiprocessor takes in {rate / 1e9:.1f} GB/s, memory brings {COPY / SMS / 1e9:.1f}")
        if any(i.pipe == "unknown" for i in loop.trace):
            problems.append(f"{name}: an instruction in its loop is not known to sass.py")
    return problems


def judge_steps(kernel, others):
    """`others`: the same kernel with memory that answers sooner or later, only printed."""
    problems = []
    print(f"\na token, {BOUNDARY * 1e6:.1f} us from one kernel to the next:")
    for model, kind, goal in GOALS:
        seconds, size, between, floor = step(kernel, MODELS[model], kind)
        print(f"  {model:3} {kind:6} {size / 1e9:6.2f} GB  memory alone {floor * 1e3:6.2f} ms, launches {between * 1e3:5.2f}, rounds and loops "
              f"{(seconds - floor - between) * 1e3:5.2f}: {1 / seconds:6.1f} tokens/s, wanted {goal}"
              + "".join(f"; after {k.latency * 1e9:.0f} ns {1 / step(k, MODELS[model], kind)[0]:.1f}" for k in others))
        if 1 / seconds < goal:
            problems.append(f"{model} {kind}: {1 / seconds:.1f} tokens/s are reckoned, {goal} wanted")
    return problems


def judge_attention(kernel, code, registers, shared):
    problems, (rate, flight, issued, blocks) = [], attention(code, registers, shared)
    read = MODELS["8B"].layers * 2 * KV_HEADS * CONTEXT * HEAD * 2
    print(f"\nattention of one row behind {CONTEXT} positions: {blocks:.2f} blocks of a multiprocessor, {flight / 1024:.1f} KB on the way, "
          f"{issued:.0%} of the cycles issue, {rate / 1e9:.1f} GB/s")
    for kind in ("BF16", "Q4_K_M"):
        seconds, size, _, floor = step(kernel, MODELS["8B"], kind)
        part = (floor + read / COPY) / (seconds + read / min(COPY, rate * SMS))
        print(f"  8B {kind:6} {read / 1e9:.1f} GB of keys and values more: {part:.0%} of what memory allows, wanted {PART_AT_DEPTH:.0%}")
        if part < PART_AT_DEPTH:
            problems.append(f"8B {kind} behind {CONTEXT} positions: {part:.0%} of what memory allows")
    return problems


def judge_batch(wide_kernels, row_kernel, others):
    """`others`: latencies of memory, only printed."""
    b = batch(wide_kernels, row_kernel)
    also = "".join(f"; after {s * 1e9:.0f} ns {BATCH / batch(wide_kernels, row_kernel, s).seconds:.0f}" for s in others)
    print(f"\n{BATCH} rows of 8B BF16 behind {AT} positions: a multiprocessor takes in {b.rates[PARTS][-1] / 1e9:.1f} GB/s of weights, "
          f"{b.rates[1][0] / 1e9:.1f} and {b.rates[1][-1] / 1e9:.1f} by one and {len(b.rates[1])} blocks that share tiles;\n"
          f"  all with their inputs {wide_most(PARTS) / 1e12:.2f} and {wide_most(1) / 1e12:.2f} TB/s at most\n"
          f"  weights {b.weights * 1e3:.2f} ms (memory alone {b.floor * 1e3:.2f}), keys and values {b.keys * 1e3:.2f} (rounds of blocks "
          f"{b.rounds * 1e3:.2f}), launches {b.between * 1e3:.2f}, adding of parts {b.adding * 1e3:.2f}:\n"
          f"  {b.seconds * 1e3:.2f} ms, {BATCH / b.seconds:.0f} tokens/s, wanted {BATCH_GOAL}{also}")
    if BATCH / b.seconds < BATCH_GOAL:
        return [f"{BATCH} rows of 8B BF16: {BATCH / b.seconds:.0f} tokens/s are reckoned, {BATCH_GOAL} wanted"]
    return []


def print_tile(code, registers):
    """Attention of a prompt: 64 places and a page of 64 positions at a time, whose sums of a part lie in shared memory too."""
    trace = page_loop(code)
    blocks = blocks_together(registers, 3 * PAGE * (HEAD + 8) * 2 + HEAD // 8 * 128 * 16, 128)
    work = PAGE * PAGE * HEAD * 4 * SMS / 1e12  # of a page, by a block of each multiprocessor
    passes, _, issued = play(trace, blocks, table=TABLE)
    most = CLOCK / sum(cost(i)[1] for i in trace if i.name in ("LDSM", "LDGSTS"))  # copies and fragments alone
    print(f"\nattention of a prompt (only printed): {blocks} blocks of a multiprocessor, {issued:.0%} of the cycles issue, "
          f"{passes * work:.0f} TFLOP/s; if every page were the end of a part; shared memory allows {most * work:.0f}")


def compiled(nvcc, folder, name):
    """({short name: code}, {short name: (registers, static shared memory)}) of a source for sm_90a."""
    cubin, log, failed = check_cuda.compile_one(nvcc, folder, name, "sm_90a")
    if failed:
        raise SystemExit("\n".join(failed))
    return ({check_cuda.short(k): v for k, v in sass.kernels(cubin).items()},
            {check_cuda.short(k): v for k, v in check_cuda.usage(log).items()})


def main():
    if len(sys.argv) < 3 or not os.path.exists(sys.argv[1]):
        print("skipped: there is no nvcc here")
        return 77
    nvcc, folder = sys.argv[1:3]
    os.makedirs(folder, exist_ok=True)
    code, used = compiled(nvcc, folder, "products.cu")
    kernel = Kernel(code["kernel_product<1>"], *used["kernel_product<1>"])
    print("reckoned from the machine code for an H200, not measured\n")
    problems = judge_loops(kernel, MODELS["8B"])
    if not problems:
        problems += judge_steps(kernel, [Kernel(code["kernel_product<1>"], *used["kernel_product<1>"], ns * 1e-9) for ns in (600, 800)])
        code, used = compiled(nvcc, folder, "attention_tensor.cu")
        row = f"kernel_attention_row<{HEAD}>"
        problems += judge_attention(kernel, code[row], used[row][0], row_shared())
        print_tile(code[f"kernel_attention_tile<{HEAD}>"], used[f"kernel_attention_tile<{HEAD}>"][0])
        problems += judge_batch(compiled(nvcc, folder, "tensor_wide.cu"), (code[row], used[row][0]), [600e-9, 800e-9])
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def row_shared():
    """Bytes of struct row_shared<HEAD> of attention_tensor.cu."""
    parts = check_cuda.constant("CUDA_SPLITS", "steps.h")
    return (2 * PAGE + 16) * (HEAD + 8) * 2 + 16 * (PAGE + 8) * 2 + 4 * 16 * 4 + 16 * parts * 8 + 16 * 4 + 16


if __name__ == "__main__":
    sys.exit(main())
