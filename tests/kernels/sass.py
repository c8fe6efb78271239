"""The machine code of a cubin, as far as speed can be read from it: instructions with their kind, what they wait for, and
how wide their loads are; loops and the way through them.

An instruction has 16 bytes (Ampere to Blackwell). Its low nine bits name the operation, the next three the form of its
operands; bits 12 to 15 the predicate; a load's width is in bits 73 to 75. Bits 105 to 125 are for the scheduler: cycles
until the next instruction of the warp (4), a hint (1), the counter that a result or a read operand sets (3 and 3; 7: none)
and those that must be empty before it starts (6). Found by compiling small kernels with known PTX, and compared with
nvdisasm 13.1 over all kernels of this repository; the scheduler's bits are described by Jia and others, "Dissecting the
NVIDIA Volta GPU Architecture via Microbenchmarking" (2018)."""
import collections
import struct

# Operation: name, and where it runs; see RATES in cuda_reckon.py.
OPERATIONS = {
    0x002: ("MOV", "alu"), 0x003: ("P2R", "alu"), 0x004: ("R2P", "alu"), 0x005: ("CS2R", "alu"), 0x007: ("SEL", "alu"), 0x008: ("FSEL", "alu"),
    0x009: ("FMNMX", "alu"), 0x00B: ("FSETP", "alu"), 0x00C: ("ISETP", "alu"), 0x010: ("IADD3", "alu"), 0x011: ("LEA", "alu"),
    0x012: ("LOP3", "alu"), 0x013: ("IABS", "alu"), 0x016: ("PRMT", "alu"), 0x019: ("SHF", "alu"), 0x01C: ("PLOP3", "alu"),
    0x020: ("FMUL", "fma"), 0x021: ("FADD", "fma"), 0x023: ("FFMA", "fma"), 0x024: ("IMAD", "heavy"), 0x025: ("IMAD", "heavy"),
    0x026: ("IDP", "heavy"), 0x027: ("IMAD", "heavy"), 0x02D: ("PREEXIT", "none"), 0x02E: ("ACQBULK", "none"), 0x030: ("HADD2", "half"),
    0x031: ("HFMA2", "half"), 0x032: ("HMUL2", "half"), 0x035: ("HFMA2", "half"), 0x036: ("VIADD", "alu"), 0x037: ("IMMA", "tensor"),
    0x03B: ("LDSM", "shared"), 0x03C: ("HMMA", "tensor"), 0x03E: ("F2FP", "alu"), 0x045: ("I2FP", "alu"), 0x046: ("VIADDMNMX", "alu"),
    0x048: ("VIMNMX", "alu"), 0x082: ("UMOV", "alu"), 0x086: ("VOTEU", "alu"), 0x087: ("USEL", "alu"), 0x08C: ("UISETP", "alu"),
    0x090: ("UIADD3", "alu"), 0x091: ("ULEA", "alu"), 0x092: ("ULOP3", "alu"), 0x099: ("USHF", "alu"), 0x0A4: ("UIMAD", "alu"),
    0x0A5: ("UIMAD", "alu"), 0x0B9: ("ULDC", "none"), 0x100: ("FLO", "special"), 0x105: ("F2I", "special"), 0x106: ("I2F", "special"),
    0x104: ("F2F", "special"), 0x108: ("MUFU", "special"), 0x109: ("POPC", "special"), 0x118: ("NOP", "none"), 0x119: ("S2R", "none"), 0x11A: ("DEPBAR", "none"),
    0x11B: ("ENDCOLLECTIVE", "none"), 0x11D: ("BAR", "none"), 0x141: ("BSYNC", "none"), 0x145: ("BSSY", "none"), 0x147: ("BRA", "none"),
    0x148: ("WARPSYNC", "none"), 0x149: ("BRX", "none"), 0x14D: ("EXIT", "none"), 0x181: ("LDG", "global"), 0x182: ("LDC", "none"),
    0x184: ("LDS", "shared"), 0x186: ("STG", "global"), 0x187: ("STL", "global"), 0x183: ("LDL", "global"), 0x188: ("STS", "shared"),
    0x189: ("SHFL", "shared"), 0x18F: ("CCTL", "none"), 0x192: ("MEMBAR", "none"), 0x1A8: ("ATOMG", "global"), 0x1AB: ("ERRBAR", "none"),
    0x1AE: ("LDGSTS", "global"), 0x1AF: ("LDGDEPBAR", "none"), 0x1C3: ("S2UR", "none")}
WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 8, 6: 16}

Instruction = collections.namedtuple("Instruction", "name pipe width always target stall sets reads waits low high")


def decode(low, high, at):
    """`at`: where it lies, bytes from the kernel's start. width: bytes of a lane's load or store, else 0; always: it has no
    predicate; target: where a branch goes, else None."""
    name, pipe = OPERATIONS.get(low & 0x1FF, (f"?{low & 0x1FF:03x}", "unknown"))
    target = None
    if name == "BRA":
        words = (low >> 16 & 0xFF) | (low >> 34) << 8 | (high & 0x3FFFF) << 38
        words -= 1 << 56 if words >> 55 else 0
        target = at + 16 + words * 4
    width = WIDTHS.get(high >> 9 & 7, 0) if name in ("LDG", "STG", "LDS", "STS", "LDGSTS", "LDL", "STL") else 16 if name == "LDSM" else 0
    always = low >> 12 & 15 == 7 and (name != "BRA" or high >> 23 & 31 == 7)  # neither another predicate nor "some lanes are elsewhere"
    return Instruction(name, pipe, width, always, target, high >> 41 & 15, high >> 46 & 7, high >> 49 & 7, high >> 52 & 63, low, high)


def kernels(cubin):
    """{mangled name: [Instruction]} of an ELF file."""
    with open(cubin, "rb") as f:
        data = f.read()
    at, = struct.unpack_from("<Q", data, 0x28)
    size, count, names = struct.unpack_from("<HHH", data, 0x3A)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, at + i * size) for i in range(count)]
    found = {}
    for s in sections:
        start = sections[names][4] + s[0]
        name = data[start:data.index(b"\0", start)].decode()
        if name.startswith(".text."):
            found[name[6:]] = [decode(*struct.unpack_from("<QQ", data, s[4] + i), i) for i in range(0, s[5], 16)]
    return found


def loops(code):
    """(first, last) instruction of everything between a label and a branch back to it, inner ones first."""
    found = {(i.target // 16, k) for k, i in enumerate(code) if i.target is not None and 0 <= i.target // 16 <= k}
    return sorted(found, key=lambda loop: loop[1] - loop[0])


def is_math(i):
    return i.name in ("FFMA", "IDP", "HMMA", "IMMA")


def way(code, first, last):
    """The way once through a loop that loads most from memory, then computes most, then is shortest: indices of its
    instructions. None where there is none. Loops within it are gone through once."""
    best = {last: ((0, 0, -1), None)}
    for k in range(last - 1, first - 1, -1):
        i, choices = code[k], []
        if i.name in ("EXIT", "BRX"):
            continue
        if i.target is not None and k < i.target // 16 <= last:
            choices.append(i.target // 16)
        if not (i.name == "BRA" and i.always):
            choices.append(k + 1)
        own = (i.width * (i.name in ("LDG", "LDGSTS")), int(is_math(i)), -1)
        options = [(tuple(a + b for a, b in zip(best[c][0], own)), c) for c in choices if c in best]
        if options:
            best[k] = max(options)
    if first not in best:
        return None
    path, k = [], first
    while k is not None:
        path.append(k)
        k = best[k][1]
    return path


def way_around(code, loop, inner):
    """The shortest way once through a loop that comes through the first instruction of an inner one: without those inside."""
    first, last = loop

    def shortest(begin, end):
        best = {end: (0, None)}
        for k in range(end - 1, begin - 1, -1):
            i, choices = code[k], [k + 1]
            if i.name in ("EXIT", "BRX"):
                continue
            if i.target is not None and k < i.target // 16 <= end:
                choices = [i.target // 16] + ([] if i.always else [k + 1])
            elif i.name == "BRA" and i.always:
                continue
            options = [(best[c][0] + 1, c) for c in choices if c in best]
            if options:
                best[k] = min(options)
        path, k = [], begin if begin in best else None
        while k is not None and k != end:
            path.append(k)
            k = best[k][1]
        return path
    return shortest(first, inner[0]) + shortest(inner[1] + 1, last) + [last]
