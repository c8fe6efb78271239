"""Spans to token ids as the engine does it: trusted spans know the added tokens, untrusted ones have no such table."""
import json
import os

import numpy as np
from tokenizers import Tokenizer

from render import branch_spans, join, prefix_spans


class Encoder:
    def __init__(self, folder):
        path = os.path.join(folder, "tokenizer.json")
        self.template = Tokenizer.from_file(path)
        with open(path) as f:
            plain = json.load(f)
        plain["added_tokens"], plain["post_processor"] = [], None
        self.text = Tokenizer.from_str(json.dumps(plain))
        self.bos = self.template.token_to_id("<|begin_of_text|>")
        self.stop = self.template.token_to_id("<|im_end|>")
        self.cache = {}

    def span(self, trusted, text):
        if not trusted:
            return self.text.encode(text, add_special_tokens=False).ids
        ids = self.cache.get(text)
        if ids is None:
            ids = self.template.encode(text, add_special_tokens=False).ids
            if len(self.cache) < 5000:
                self.cache[text] = ids
        return ids

    def prompt(self, spans):
        return [self.bos] + [i for t, s in join(spans) for i in self.span(t, s)]

    def prefix(self, tools, system):
        """Ids of everything shared by the dialogues of a group."""
        return self.prompt(prefix_spans(tools, system))

    def branch(self, messages):
        """(ids, learned) after the prefix. Learned positions are the assistant's tokens and the stop token after them."""
        spans = branch_spans(messages)
        ids, learned, i = [], [], 0
        while i < len(spans):
            trusted, text, learn = spans[i]
            if learn:
                more = self.template.encode(text, add_special_tokens=False).ids + [self.stop]
                ids += more
                learned += [True] * len(more)
                if i + 1 < len(spans):  # the stop token already stands there
                    t, s, _ = spans[i + 1]
                    assert t and s.startswith("<|im_end|>")
                    spans[i + 1] = (t, s[len("<|im_end|>"):], False)
                i += 1
                continue
            j = i + 1
            while trusted and j < len(spans) and spans[j][0] and not spans[j][2]:
                text += spans[j][1]
                j += 1
            more = self.span(trusted, text)
            ids += more
            learned += [False] * len(more)
            i = j
        return np.array(ids, np.uint16), np.array(learned, bool)
