"""Words, names, paths, numbers and other strings a dialogue is filled with.

Every made-up word belongs by its hash to one of two halves: one word in ten is held out and appears only in evaluation."""
import datetime
import random
import zlib

NOUNS = """apple river bridge garden window table market engine letter ticket flower stone paper orange mirror bottle
forest island village castle ladder carpet basket hammer pencil candle blanket pillow kettle bicycle harbour tunnel meadow
valley desert ocean planet rocket camera guitar violin drum piano museum theatre library school kitchen cellar attic roof
door wall fence gate tower temple church palace cottage cabin tent boat ship train tram bus lorry wagon sledge plane
balloon kite wheel axle brake pedal saddle anchor sail rudder mast rope chain needle thread button ribbon jacket coat shirt
glove scarf hat boot shoe sock belt purse wallet coin medal crown ring necklace bracelet watch clock calendar diary notebook
folder envelope stamp parcel box crate barrel bucket jar cup plate bowl spoon fork knife oven stove lamp torch lantern
battery cable socket plug switch lever screw nail bolt spring magnet compass ruler scale recipe salad soup bread butter
cheese honey sugar pepper salt onion carrot potato tomato cherry lemon melon grape peach plum walnut almond coffee tea milk
juice water oil vinegar flour rice pasta sausage ham fish salmon trout chicken duck goose turkey rabbit horse donkey cow
sheep goat pig dog cat mouse lion tiger bear wolf fox deer otter badger eagle falcon owl raven sparrow robin pigeon
budget report invoice order customer supplier contract project task meeting agenda minutes summary draft plan schedule
survey ledger receipt payment account balance loan salary tax fee price discount stock share asset sensor server router
printer scanner monitor keyboard laptop tablet phone message email post comment article chapter book poem song album movie
episode game puzzle score level player team league match race trophy lesson course exam grade student teacher doctor nurse
patient clinic pharmacy medicine vaccine driver pilot sailor farmer baker butcher tailor painter singer actor writer editor""".split()
ADJECTIVES = """red blue green yellow black white brown grey small large tall short long wide narrow deep old new young fresh
dry wet cold warm hot cool bright dark quiet loud fast slow early late heavy light soft hard sharp smooth rough sweet sour
bitter salty clean dirty empty full open closed free busy cheap rich poor strong weak brave calm happy sad proud shy kind
clever wise lucky final first second third daily weekly monthly annual public private local global main spare broken
wooden golden silver plastic paper northern southern eastern western""".split()
VERBS_PAST = """opened closed started ended arrived left moved changed grew failed worked stopped returned vanished
appeared sank burned froze melted broke won lost rested waited sang slept""".split()
FIRST_NAMES = """Ada Alan Anna Ben Carla Clara Dan Diana Edgar Ella Emil Emma Eva Felix Fiona Frank Grace Hanna Henry Hugo Ida
Irene Ivan Jack Jana John Julia Karl Kate Laura Leo Linda Lisa Lucas Maria Mark Marta Max Mia Nina Noah Nora Olga Oscar Otto Paul
Peter Petra Rita Robert Rosa Sam Sara Simon Sofia Tom Theo Vera Viktor Zoe""".split()
CITIES = """Paris London Berlin Madrid Rome Vienna Prague Oslo Lisbon Dublin Athens Warsaw Budapest Helsinki Stockholm
Copenhagen Brussels Amsterdam Zurich Geneva Milan Naples Porto Seville Lyon Hamburg Munich Boston Chicago Denver Seattle Austin
Toronto Montreal Tokyo Kyoto Osaka Seoul Delhi Mumbai Cairo Lagos Nairobi Lima Quito Bogota Sydney Perth Auckland""".split()
ONSETS = "b c d f g h j k l m n p q r s t v w x y z bl br ch cl cr dr fl fr gl gr kl kr pl pr sh sk sl sm sn sp st sw th tr tw wh zh".split()
VOWELS = "a e i o u a e i o u ai ea ee ie oa oo ou y".split()
CODAS = ["", "", "", "", "b", "ck", "d", "f", "g", "k", "l", "ll", "m", "n", "nd", "ng", "nt", "p", "r", "rd", "rk", "rt", "s",
         "sh", "sk", "st", "t", "th", "v", "x", "z"]
EXTENSIONS = ["txt", "txt", "txt", "txt", "md", "csv", "log", "json", "dat", "cfg", "ini", "yaml", "html", "list", "text"]
WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
UNITS = ["km", "kg", "euros", "dollars", "metres", "litres", "hours", "points", "items", "pages", "seats", "boxes"]


def held_out(word):
    """True for the tenth of all words that training never sees."""
    return zlib.crc32(word.lower().encode()) % 10 == 0


class Words:
    """A seeded source of fillers. `evaluation` picks only held-out made-up words, training only the others."""

    def __init__(self, rng, evaluation=False):
        self.rng = rng
        self.evaluation = evaluation

    def pick(self, values):
        return values[int(self.rng.random() * len(values))]

    def chance(self, p):
        return self.rng.random() < p

    def made_up(self, least=1, most=3):
        while True:
            n = self.rng.randint(least, most)
            word = "".join(self.pick(ONSETS) + self.pick(VOWELS) for _ in range(n)) + self.pick(CODAS)
            if len(word) >= 3 and held_out(word) == self.evaluation:
                return word

    def word(self):
        r = self.rng.random()
        if r < 0.3:
            return self.made_up()
        return self.pick(NOUNS) if r < 0.8 else self.pick(ADJECTIVES)

    def noun(self):
        return self.pick(NOUNS) if self.chance(0.75) else self.made_up(2, 3)

    def name(self):
        if self.chance(0.4):
            return self.pick(FIRST_NAMES)
        name = self.made_up(1, 3).capitalize()
        return name + " " + self.made_up(2, 3).capitalize() if self.chance(0.15) else name

    def city(self):
        return self.pick(CITIES) if self.chance(0.5) else self.made_up(2, 3).capitalize()

    def code(self):
        """Random mixed string: order numbers, passwords, identifiers."""
        rng = self.rng
        r = rng.random()
        if r < 0.25:
            return self.pick("ABCDEFGHKLMNPQRSTXZ") + self.pick("ABCDEFGHKLMNPQRSTXZ") + "-" + str(rng.randint(10, 99999))
        if r < 0.5:
            return "".join(self.pick("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") for _ in range(rng.randint(4, 9)))
        if r < 0.75:
            return self.made_up(1, 2) + self.pick(["-", "_", ""]) + str(rng.randint(0, 9999))
        return self.made_up(1, 2).upper() + self.pick(["", "-"]) + str(rng.randint(0, 999))

    def phrase(self, least=2, most=5):
        n = self.rng.randint(least, most)
        words = [self.word() if i in (0, n - 1) or self.chance(0.75) else self.pick(["the", "a", "and", "of", "in", "with", "for"]) for i in range(n)]
        if self.chance(0.15):
            words.insert(self.rng.randint(0, len(words)), str(self.rng.randint(1, 500)))
        if self.chance(0.08):
            words[0] = self.code()
        if self.chance(0.3):
            words[0] = words[0].capitalize()
        return " ".join(words)

    def quoted(self, text, several=0.8):
        """A text within a request. Several words mostly (`several`) stand in quotes: only then is it certain where they end."""
        quote = self.pick('""\'') if self.chance(several if " " in text else 0.25) else ""
        return text if quote and quote in text else quote + text + quote

    def sentence(self):
        """A short statement, with its full stop."""
        r = self.rng.random()
        if r < 0.35:
            return f"The {self.pick(ADJECTIVES)} {self.noun()} {self.pick(VERBS_PAST)} in {self.rng.randint(1200, 2030)}."
        if r < 0.55:
            return f"{self.name()} has {self.rng.randint(2, 900)} {self.pick(NOUNS)}s in {self.city()}."
        if r < 0.75:
            return f"The {self.noun()} of {self.name()} is {self.pick(ADJECTIVES)}."
        phrase = self.phrase(3, 7)
        return phrase[0].upper() + phrase[1:] + "."

    def stem(self):
        r = self.rng.random()
        if r < 0.45:
            return self.made_up(1, 2) if self.chance(0.5) else self.pick(NOUNS)
        if r < 0.62:
            return self.word() + self.pick(["_", "-"]) + self.word()
        if r < 0.75:
            return self.word() + self.pick(["", "_", "-", "."]) + str(self.rng.randint(1, 2030))
        if r < 0.83:
            return self.pick("abcdefghijklmnopqrstuvwxyz")
        if r < 0.9:
            return self.word().capitalize()
        return self.word() + "." + self.word() if self.chance(0.4) else self.code()

    def folder(self):
        r = self.rng.random()
        name = self.word() if r < 0.8 else self.word() + self.pick(["_", "-"]) + self.word()
        return name + "/" + self.word() if self.chance(0.12) else name

    def path(self, ext=None):
        p = self.stem() + "." + (ext or self.pick(EXTENSIONS))
        return self.folder() + "/" + p if self.chance(0.22) else p

    def key(self):
        r = self.rng.random()
        if r < 0.5:
            return self.word()
        if r < 0.8:
            return self.word() + self.pick(["_", "-"]) + self.word()
        return self.code()

    def integer(self):
        r = self.rng.random()
        rng = self.rng
        if r < 0.35:
            return rng.randint(1, 20)
        if r < 0.7:
            return rng.randint(10, 999)
        if r < 0.95:
            return rng.randint(1000, 99999)
        return rng.randint(100000, 9999999)

    def decimal(self):
        return f"{self.rng.randint(0, 999)}.{self.rng.randint(0, 9)}{self.pick(['', '5', '25', '75', '2'])}"

    def number(self):
        """Number text as a calculator takes it."""
        return str(self.integer()) if self.chance(0.72) else self.decimal()

    def date(self):
        return (datetime.date(1950, 1, 1) + datetime.timedelta(days=self.rng.randint(0, 36000))).isoformat()

    def user_value(self):
        """Any short text: what notes, files and arguments hold."""
        r = self.rng.random()
        if r < 0.4:
            return self.phrase()
        if r < 0.55:
            return self.code()
        if r < 0.7:
            return self.word()
        if r < 0.8:
            return str(self.integer())
        if r < 0.9:
            return self.name()
        return self.sentence()


def spoken_number(words, text):
    """The same number as a person may write it: 2,340 for 2340."""
    whole, dot, rest = text.partition(".")
    if len(whole) > 3 and words.chance(0.45):
        return f"{int(whole):,}" + dot + rest
    return text


def rng_for(seed, *parts):
    return random.Random(f"{seed}/" + "/".join(str(p) for p in parts))
