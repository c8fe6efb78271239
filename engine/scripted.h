/* An engine that replays given text: for tests of the daemon and the agent, for demonstrations and for load
 * tests. Private to engine/; opened by engine_open() with config.scripted, model_path being the script file:
 *
 *   {"scripts": [
 *      {"match": "weather", "turns": ["first output", "second output", …]},
 *      {"match": "endless", "turns": ["again and again "], "repeat": true},
 *      {"match": "slow",    "turns": ["…"], "delay_ms": 20},
 *      {"match": "broken",  "turns": ["half an ans"], "fail": "the device was lost"}
 *    ],
 *    "delay_ms": 0,   pause before every chunk, milliseconds (a script's own value goes first)
 *    "chunk": 3}      bytes of a chunk, 1 to 3
 *
 * A generation takes the first script whose "match" occurs anywhere in the session's text ("" matches all)
 * and writes its turn k, where k counts the session's earlier generations; every ENGINE_SPAN_TOKENS span that
 * was appended counts as one, so a session that was rebuilt from the journal goes on where it was. Without a
 * matching script or turn the generation FAILs with the reason. With "repeat" a turn starts again at its end
 * and never stops by itself; with "fail" a turn ends as FAILED with that sentence.
 *
 * A token is a chunk: id = bytes (first in the low bits) + number of bytes << 24; an id of 0 … 255 is that
 * one byte. Text spans count as one token per `chunk` bytes. Cancel, max_tokens, the context ceiling and
 * events work as in the local engine. */
#ifndef ENGINE_SCRIPTED_H
#define ENGINE_SCRIPTED_H

#include "engine/engine.h"

/* -ENOENT or another errno of the file; -EINVAL with the reason for a bad script. */
HX_MUST_CHECK int scripted_open(const struct engine_config *config, struct engine **out, char *err,
                                size_t errlen);

#endif
