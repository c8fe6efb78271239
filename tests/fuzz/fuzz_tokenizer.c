/* tokenizer.json, any bytes. Whatever they are: no crash, no leak; a refusal is a sentence; a tokenizer that
 * opens gives a text back byte by byte. */
#include "engine/model_hf.h"
#include "engine/tokenizer.h"
#include "tests/fuzz/folder.h"

static void expect(int truth, const char *what) {
    if (!truth) {
        fprintf(stderr, "broken: %s\n", what);
        abort();
    }
}

static void round_trip(const struct tokenizer *t) {
    static const char text[] = "hello hell <|im_end|>\n 12345 \xC3\xA4\xFF\x01";
    struct token_list list = {0};
    size_t at = 0;
    expect(tokenizer_encode_text(t, text, sizeof text - 1, &list) == 0, "text is taken");
    for (size_t i = 0; i < list.n; i++) {
        size_t len = 0;
        const char *piece = tokenizer_piece(t, list.v[i], &len);
        expect(piece != NULL && len <= sizeof text - 1 - at && memcmp(piece, text + at, len) == 0,
               "pieces are the text");
        expect(!tokenizer_is_added(t, list.v[i]), "text never becomes a control token");
        at += len;
    }
    expect(at == sizeof text - 1, "all of the text");
    token_list_finish(&list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *file;
    char err[600] = "";
    file = file != NULL ? file : folder_file("tokenizer.json");
    folder_write(file, data, size);
    struct model m = {.path = folder_path, .n_vocab = 300, .bos_id = -1};
    int rc = model_hf_tokenizer(&m, err, sizeof err);
    folder_expect_sentence(rc, err);
    if (rc == 0)
        round_trip(m.tokenizer);
    tokenizer_destroy(m.tokenizer);
    return 0;
}
