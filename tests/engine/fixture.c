#include "tests/engine/fixture.h"

#include "base/json.h"
#include "engine/bpe.h"
#include "engine/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define LAYERS   2
#define HEADS    4
#define KV_HEADS 2
#define HEAD_DIM 2
#define WIDTH    8
#define FFN      12

static void must(int rc) {
    if (rc < 0)
        abort();
}

/* ---- vocabulary ---- */

static const char *const extra_tokens[] = {
    "he", "ll", "hell", "hello", "<|begin_of_text|>", "<|im_end|>", "<tool_call>", "<|im_start|>"};
static const char *const merges[] = {"h e", "l l", "he ll", "hell o"};

/* Token `id` as files spell it. */
static void spell(int id, char out[32]) {
    if (id >= 256) {
        (void)snprintf(out, 32, "%s", extra_tokens[id - 256]);
        return;
    }
    int extra = 256, c = id;
    for (int b = 0; b <= id; b++) {
        bool plain = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        c = plain ? b : extra++;
    }
    size_t n = 0;
    if (c < 128) {
        out[n++] = (char)c;
    } else {
        out[n++] = (char)(0xC0 | c >> 6);
        out[n++] = (char)(0x80 | (c & 63));
    }
    out[n] = '\0';
}

/* ---- GGUF ---- */

static void mark(struct fixture *f, int bytes, const char *owner, const char *what) {
    if (f->n_marks == (int)(sizeof f->marks / sizeof f->marks[0]))
        abort();
    struct fixture_mark *m = &f->marks[f->n_marks++];
    m->at = f->bytes.len;
    m->bytes = bytes;
    (void)snprintf(m->what, sizeof m->what, "%s of %s", what, owner);
}

static void put_u32(struct fixture *f, uint32_t v, const char *owner, const char *what) {
    mark(f, 4, owner, what);
    must(buf_append(&f->bytes, &v, 4));
}

static void put_u64(struct fixture *f, uint64_t v, const char *owner, const char *what) {
    mark(f, 8, owner, what);
    must(buf_append(&f->bytes, &v, 8));
}

static void put_text(struct fixture *f, const char *text, const char *owner, const char *what) {
    put_u64(f, strlen(text), owner, what);
    must(buf_append(&f->bytes, text, strlen(text)));
}

static void put_key(struct fixture *f, const char *key, enum gguf_type type) {
    put_text(f, key, key, "key length");
    put_u32(f, (uint32_t)type, key, "type");
}

struct value {
    const char *key;
    enum gguf_type type; /* U32, F32, STRING or ARRAY (the three of the tokenizer) */
    uint32_t number;
    float real;
    const char *text;
};

static const struct value values[] = {
    {"general.architecture", GGUF_STRING, 0, 0, "llama"},
    {"general.name", GGUF_STRING, 0, 0, "fixture"},
    {"general.alignment", GGUF_U32, 32, 0, NULL},
    {"llama.block_count", GGUF_U32, LAYERS, 0, NULL},
    {"llama.context_length", GGUF_U32, 64, 0, NULL},
    {"llama.embedding_length", GGUF_U32, WIDTH, 0, NULL},
    {"llama.feed_forward_length", GGUF_U32, FFN, 0, NULL},
    {"llama.attention.head_count", GGUF_U32, HEADS, 0, NULL},
    {"llama.attention.head_count_kv", GGUF_U32, KV_HEADS, 0, NULL},
    {"llama.attention.key_length", GGUF_U32, HEAD_DIM, 0, NULL},
    {"llama.attention.value_length", GGUF_U32, HEAD_DIM, 0, NULL},
    {"llama.rope.dimension_count", GGUF_U32, HEAD_DIM, 0, NULL},
    {"llama.rope.freq_base", GGUF_F32, 0, 10000, NULL},
    {"llama.rope.scaling.type", GGUF_STRING, 0, 0, "linear"},
    {"llama.rope.scaling.factor", GGUF_F32, 0, 2, NULL},
    {"llama.attention.layer_norm_rms_epsilon", GGUF_F32, 0, 1e-5f, NULL},
    {"llama.expert_count", GGUF_U32, 0, 0, NULL},
    {"tokenizer.ggml.model", GGUF_STRING, 0, 0, "gpt2"},
    {"tokenizer.ggml.pre", GGUF_STRING, 0, 0, "llama-bpe"},
    {"tokenizer.ggml.tokens", GGUF_ARRAY, 0, 0, NULL},
    {"tokenizer.ggml.token_type", GGUF_ARRAY, 0, 0, NULL},
    {"tokenizer.ggml.merges", GGUF_ARRAY, 0, 0, NULL},
    {"tokenizer.ggml.bos_token_id", GGUF_U32, FIXTURE_BOS, 0, NULL},
    {"tokenizer.ggml.eos_token_id", GGUF_U32, FIXTURE_END, 0, NULL},
    {"tokenizer.ggml.add_bos_token", GGUF_BOOL, 1, 0, NULL},
};
#define N_VALUES ((int)(sizeof values / sizeof values[0]))

static void put_array(struct fixture *f, const char *key, const struct fixture_lie *lie) {
    if (strcmp(key, "tokenizer.ggml.token_type") == 0) {
        put_u32(f, GGUF_I32, key, "item type");
        put_u64(f, FIXTURE_VOCAB, key, "length");
        for (int i = 0; i < FIXTURE_VOCAB; i++)
            put_u32(f, i < 260 ? 1 : i == 262 ? 4 : 3, key, "item");
        return;
    }
    bool tokens = strcmp(key, "tokenizer.ggml.tokens") == 0;
    int n = tokens ? FIXTURE_VOCAB : 4;
    put_u32(f, GGUF_STRING, key, "item type");
    put_u64(f, (uint64_t)n, key, "length");
    for (int i = 0; i < n; i++) {
        char text[32];
        if (tokens && i == FIXTURE_VOCAB - 2 && lie->token != NULL)
            (void)snprintf(text, sizeof text, "%s", lie->token);
        else if (tokens)
            spell(i, text);
        else
            (void)snprintf(text, sizeof text, "%s", merges[i]);
        put_text(f, text, key, "length of an item");
    }
}

static void put_value(struct fixture *f, const struct value *v, const struct fixture_lie *lie) {
    if (lie->key != NULL && strcmp(lie->key, v->key) == 0) {
        put_key(f, v->key, lie->type);
        must(buf_append(&f->bytes, lie->value, lie->value_len));
        return;
    }
    put_key(f, v->key, v->type);
    if (v->type == GGUF_STRING) {
        put_text(f, v->text, v->key, "length");
    } else if (v->type == GGUF_ARRAY) {
        put_array(f, v->key, lie);
    } else if (v->type == GGUF_F32) {
        mark(f, 4, v->key, "value");
        must(buf_append(&f->bytes, &v->real, 4));
    } else if (v->type == GGUF_BOOL) {
        mark(f, 1, v->key, "value");
        must(buf_putc(&f->bytes, (char)v->number));
    } else {
        put_u32(f, v->number, v->key, "value");
    }
}

struct entry {
    char name[300];
    int rows, cols;
    bool half; /* F16, else F32 */
};

static int entries(struct entry *out) {
    static const struct {
        const char *name;
        int rows, cols;
    } layer[] = {{"attn_norm", 1, WIDTH},
                 {"attn_q", HEADS * HEAD_DIM, WIDTH},
                 {"attn_k", KV_HEADS * HEAD_DIM, WIDTH},
                 {"attn_v", KV_HEADS * HEAD_DIM, WIDTH},
                 {"attn_output", WIDTH, HEADS * HEAD_DIM},
                 {"ffn_norm", 1, WIDTH},
                 {"ffn_gate", FFN, WIDTH},
                 {"ffn_up", FFN, WIDTH},
                 {"ffn_down", WIDTH, FFN}};
    int n = 0;
    out[n++] = (struct entry){"token_embd.weight", FIXTURE_VOCAB, WIDTH, true};
    out[n++] = (struct entry){"output_norm.weight", 1, WIDTH, false};
    out[n++] = (struct entry){"rope_freqs.weight", 1, HEAD_DIM / 2, false};
    for (int l = 0; l < LAYERS; l++)
        for (size_t i = 0; i < sizeof layer / sizeof layer[0]; i++) {
            struct entry *e = &out[n++];
            *e = (struct entry){.rows = layer[i].rows, .cols = layer[i].cols, .half = layer[i].rows > 1};
            (void)snprintf(e->name, sizeof e->name, "blk.%d.%s.weight", l, layer[i].name);
        }
    return n;
}

static size_t entry_bytes(const struct entry *e) {
    return (size_t)e->rows * (size_t)e->cols * (e->half ? 2 : 4);
}

static void put_entry(struct fixture *f, const struct entry *e, uint64_t offset,
                      const struct fixture_lie *lie) {
    bool lies = lie->tensor != NULL && strcmp(lie->tensor, e->name) == 0;
    uint32_t n_dims = e->rows > 1 ? 2 : 1, type = e->half ? 1 : 0;
    uint64_t dims[5] = {(uint64_t)e->cols, (uint64_t)e->rows, 1, 1, 1};
    put_text(f, e->name, e->name, "name length");
    if (lies && lie->n_dims != 0)
        n_dims = lie->n_dims == 99 ? 0 : lie->n_dims;
    for (int i = 0; i < 5; i++)
        dims[i] = lies && lie->dims[i] != 0 ? lie->dims[i] : dims[i];
    put_u32(f, n_dims, e->name, "number of dimensions");
    for (uint32_t i = 0; i < n_dims && i < 5; i++)
        put_u64(f, dims[i], e->name, "dimension");
    put_u32(f, lies && lie->ggml_type != 0 ? lie->ggml_type : type, e->name, "type");
    put_u64(f, lies && lie->offset != 0 ? lie->offset - (lie->offset == 1) : offset, e->name, "offset");
}

static void pad(struct fixture *f) {
    while (f->bytes.len % 32 != 0)
        must(buf_putc(&f->bytes, '\0'));
}

/* Small numbers that both formats hold; norms and divisors near 1. */
static void put_data(struct fixture *f, const struct entry *e) {
    for (int i = 0; i < e->rows * e->cols; i++) {
        int step = (i * 7 + (int)f->bytes.len) % 13 - 6;
        float real = 1 + (float)step / 64;
        uint16_t half = (uint16_t)((step < 0 ? 0x8000 : 0) | 0x3000 | (step < 0 ? -step : step) << 5);
        must(e->half ? buf_append(&f->bytes, &half, 2) : buf_append(&f->bytes, &real, 4));
    }
}

static int times(const struct fixture_lie *lie, const char *name) {
    if (lie->drop != NULL && strcmp(lie->drop, name) == 0)
        return 0;
    return lie->twice != NULL && strcmp(lie->twice, name) == 0 ? 2 : 1;
}

/* A key that the true file has not. */
static bool is_new(const char *key) {
    bool found = key == NULL;
    for (int i = 0; i < N_VALUES && !found; i++)
        found = strcmp(key, values[i].key) == 0;
    return !found;
}

void fixture_gguf(struct fixture *f, const struct fixture_lie *lie) {
    static const struct fixture_lie none;
    lie = lie != NULL ? lie : &none;
    struct entry all[LAYERS * 9 + 4];
    int n = entries(all), n_tensors = 0, n_values = is_new(lie->key) ? 1 : 0;
    *f = (struct fixture){0};
    buf_init(&f->bytes, 1 << 22);
    if (lie->extra != NULL && strlen(lie->extra) >= sizeof all[0].name)
        abort();
    if (lie->extra != NULL) {
        all[n] = (struct entry){.rows = 1, .cols = WIDTH};
        (void)snprintf(all[n++].name, sizeof all[0].name, "%s", lie->extra);
    }
    for (int i = 0; i < N_VALUES; i++)
        n_values += times(lie, values[i].key);
    for (int i = 0; i < n; i++)
        n_tensors += times(lie, all[i].name);
    must(buf_puts(&f->bytes, "GGUF"));
    put_u32(f, 3, "file", "version");
    put_u64(f, (uint64_t)n_tensors, "file", "number of tensors");
    put_u64(f, (uint64_t)n_values, "file", "number of values");
    for (int i = 0; i < N_VALUES; i++)
        for (int k = times(lie, values[i].key); k > 0; k--)
            put_value(f, &values[i], lie);
    if (is_new(lie->key))
        put_value(f, &(struct value){.key = lie->key}, lie);
    uint64_t offset = 0;
    for (int i = 0; i < n; i++)
        for (int k = times(lie, all[i].name); k > 0; k--) {
            put_entry(f, &all[i], offset, lie);
            offset += (entry_bytes(&all[i]) + 31) / 32 * 32;
        }
    for (int i = 0; i < n; i++)
        for (int k = times(lie, all[i].name); k > 0; k--) {
            pad(f);
            put_data(f, &all[i]);
        }
    pad(f);
}

void fixture_finish(struct fixture *f) {
    buf_finish(&f->bytes);
}

/* ---- files ---- */

void fixture_write(const char *path, const void *bytes, size_t len) {
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(bytes, 1, len, f) != len || fclose(f) != 0)
        abort();
}

void fixture_write_in(const char *folder, const char *name, const void *bytes, size_t len) {
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    fixture_write(path, bytes, len);
}

char *fixture_read_in(const char *folder, const char *name, size_t *len) {
    char path[512];
    struct stat st;
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fstat(fileno(f), &st), 0);
    char *bytes = calloc(1, (size_t)st.st_size + FIXTURE_ROOM);
    assert_non_null(bytes);
    *len = fread(bytes, 1, (size_t)st.st_size, f);
    (void)fclose(f);
    return bytes;
}

const char *fixture_path(char out[256], const char *name) {
    const char *folder = getenv("TMPDIR");
    (void)snprintf(out, 256, "%s/hermesd-fixture-%d-%s", folder != NULL ? folder : "/tmp", (int)getpid(),
                   name);
    return out;
}

/* ---- Hugging Face folder ---- */

static void write_in(const char *folder, const char *name, const struct buf *b) {
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    fixture_write(path, b->data, b->len);
}

static void write_tokenizer(const char *folder) {
    struct buf b;
    buf_init(&b, 1 << 20);
    must(buf_puts(
        &b,
        "{\"normalizer\": null, \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": "
        "\"Split\", \"pattern\": {\"Regex\": "));
    must(json_quote(&b, bpe_split_pattern, strlen(bpe_split_pattern), false));
    must(buf_puts(
        &b,
        "}, \"behavior\": \"Isolated\", \"invert\": false}, {\"type\": \"ByteLevel\", \"add_prefix_space\": "
        "false, \"use_regex\": false}]}, \"added_tokens\": ["));
    for (int i = 260; i < FIXTURE_VOCAB; i++)
        must(buf_printf(&b, "%s{\"id\": %d, \"content\": \"%s\", \"special\": %s}", i > 260 ? ", " : "", i,
                        extra_tokens[i - 256], i == 262 ? "false" : "true"));
    must(buf_puts(&b, "], \"model\": {\"type\": \"BPE\", \"ignore_merges\": true, \"vocab\": {"));
    for (int i = 0; i < 260; i++) {
        char text[32];
        spell(i, text);
        must(buf_puts(&b, i > 0 ? ", " : ""));
        must(json_quote(&b, text, strlen(text), false));
        must(buf_printf(&b, ": %d", i));
    }
    must(buf_puts(&b, "}, \"merges\": [\"h e\", \"l l\", [\"he\", \"ll\"], [\"hell\", \"o\"]]}}\n"));
    write_in(folder, "tokenizer.json", &b);
    buf_finish(&b);
}

static void write_config(const char *folder) {
    static const char config[] =
        "{\"model_type\": \"llama\", \"hidden_act\": \"silu\", \"num_hidden_layers\": 2, \"hidden_size\": 8, "
        "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"head_dim\": 2, \"intermediate_size\": 12, "
        "\"vocab_size\": 264, \"max_position_embeddings\": 64, \"rms_norm_eps\": 1e-05, \"rope_theta\": "
        "10000.0, "
        "\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 1.0, "
        "\"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 32}, \"tie_word_embeddings\": "
        "true, "
        "\"bos_token_id\": 260, \"eos_token_id\": [261]}\n";
    struct buf b;
    buf_init(&b, 1 << 16);
    must(buf_puts(&b, config));
    write_in(folder, "config.json", &b);
    buf_finish(&b);
}

static const char *hf_name(const char *name, char out[96]) {
    static const char *const names[][2] = {
        {"attn_norm", "input_layernorm"},    {"attn_q", "self_attn.q_proj"},
        {"attn_k", "self_attn.k_proj"},      {"attn_v", "self_attn.v_proj"},
        {"attn_output", "self_attn.o_proj"}, {"ffn_norm", "post_attention_layernorm"},
        {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
        {"ffn_down", "mlp.down_proj"}};
    if (strcmp(name, "token_embd.weight") == 0)
        return "model.embed_tokens.weight";
    if (strcmp(name, "output_norm.weight") == 0)
        return "model.norm.weight";
    int layer = name[4] - '0';
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strncmp(name + 6, names[i][0], strlen(names[i][0])) == 0 && name[6 + strlen(names[i][0])] == '.')
            (void)snprintf(out, 96, "model.layers.%d.%s.weight", layer, names[i][1]);
    return out;
}

static void write_safetensors(const char *folder) {
    struct entry all[LAYERS * 9 + 3];
    int n = entries(all);
    struct buf header;
    struct fixture data = {0};
    buf_init(&header, 1 << 16);
    buf_init(&data.bytes, 1 << 18);
    must(buf_puts(&header, "{\"__metadata__\": {\"format\": \"pt\"}"));
    for (int i = 0; i < n; i++) {
        if (strcmp(all[i].name, "rope_freqs.weight") == 0)
            continue;
        char name[96], shape[32];
        if (all[i].rows > 1)
            (void)snprintf(shape, sizeof shape, "[%d, %d]", all[i].rows, all[i].cols);
        else
            (void)snprintf(shape, sizeof shape, "[%d]", all[i].cols);
        must(buf_printf(&header, ", \"%s\": {\"dtype\": \"%s\", \"shape\": %s, \"data_offsets\": [%zu, %zu]}",
                        hf_name(all[i].name, name), all[i].half ? "F16" : "F32", shape, data.bytes.len,
                        data.bytes.len + entry_bytes(&all[i])));
        put_data(&data, &all[i]);
    }
    must(buf_putc(&header, '}'));
    uint64_t len = header.len;
    struct buf file;
    buf_init(&file, 1 << 19);
    must(buf_append(&file, &len, 8));
    must(buf_append(&file, header.data, header.len));
    must(buf_append(&file, data.bytes.data, data.bytes.len));
    write_in(folder, "model.safetensors", &file);
    buf_finish(&file);
    buf_finish(&header);
    buf_finish(&data.bytes);
}

void fixture_hf(const char *folder) {
    (void)mkdir(folder, 0700);
    write_config(folder);
    write_tokenizer(folder);
    write_safetensors(folder);
}

struct model *fixture_open(const char *name) {
    char path[256], err[300] = "";
    struct fixture f;
    struct model *m = NULL;
    fixture_gguf(&f, NULL);
    fixture_write(fixture_path(path, name), f.bytes.data, f.bytes.len);
    fixture_finish(&f);
    int rc = model_open(path, &m, err, sizeof err);
    (void)unlink(path);
    if (rc != 0)
        fail_msg("%s", err);
    return m;
}
