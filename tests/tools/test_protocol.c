/* Frames: what is written is read, and what is not a frame is never read beyond its end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tools/protocol.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void write_call(struct buf *out, uint64_t id, const char *text, size_t len) {
    struct frame_writer w;
    frame_begin(&w, out, FRAME_CALL, id);
    frame_u32(&w, 7);
    frame_u64(&w, 0x0102030405060708u);
    frame_text(&w, text, len);
    frame_text(&w, "", 0);
    assert_int_equal(frame_end(&w), 0);
}

static void test_round_trip(void **state) {
    struct buf out;
    struct frame frame;
    struct frame_reader r;
    size_t len;
    (void)state;
    buf_init(&out, 1000);
    write_call(&out, 42, "a\0b", 3);
    size_t first = out.len;
    write_call(&out, 43, "next", 4);
    assert_int_equal(frame_parse(out.data, out.len, 1000, &frame), first);
    assert_int_equal(frame.type, FRAME_CALL);
    assert_int_equal(frame.call, 42);
    frame_read(&r, &frame);
    assert_int_equal(frame_read_u32(&r), 7);
    assert_true(frame_read_u64(&r) == 0x0102030405060708u);
    const char *text = frame_read_text(&r, &len);
    assert_int_equal(len, 3);
    assert_memory_equal(text, "a\0b", 3);
    assert_int_equal(frame_done(&r), -EPROTO); /* one field is left */
    (void)frame_read_text(&r, &len);
    assert_int_equal(len, 0);
    assert_int_equal(frame_done(&r), 0);
    assert_int_equal(frame_parse(out.data + first, out.len - first, 1000, &frame), out.len - first);
    assert_int_equal(frame.call, 43);
    buf_finish(&out);
}

/* Every beginning of a frame asks for more, from a copy of just that size, so that a sanitizer sees a step
 * too far. */
static void test_cut_short(void **state) {
    struct buf out;
    struct frame frame;
    (void)state;
    buf_init(&out, 1000);
    write_call(&out, 1, "hello", 5);
    for (size_t len = 0; len < out.len; len++) {
        char *copy = malloc(len + 1);
        assert_non_null(copy);
        memcpy(copy, out.data, len);
        copy = realloc(copy, len > 0 ? len : 1);
        assert_non_null(copy);
        assert_int_equal(frame_parse(copy, len, 1000, &frame), 0);
        free(copy);
    }
    buf_finish(&out);
}

static void test_ceilings(void **state) {
    struct buf out;
    struct frame frame;
    struct frame_writer w;
    (void)state;
    buf_init(&out, 60);
    write_call(&out, 1, "12345", 5);
    size_t before = out.len;
    assert_int_equal(frame_parse(out.data, out.len, out.len - FRAME_HEADER_BYTES, &frame), out.len);
    assert_int_equal(frame_parse(out.data, out.len, out.len - FRAME_HEADER_BYTES - 1, &frame), -EPROTO);
    frame_begin(&w, &out, FRAME_CALL, 2);
    frame_text(&w, "does not fit any more", 21);
    frame_u32(&w, 1);
    assert_int_equal(frame_end(&w), -ENOBUFS);
    assert_int_equal(out.len, before);
    buf_finish(&out);
    buf_init(&out, 4);
    frame_begin(&w, &out, FRAME_READY, 0);
    assert_int_equal(frame_end(&w), -ENOBUFS);
    assert_int_equal(out.len, 0);
    buf_finish(&out);
}

/* A length that lies: the reader stays inside and says so, once and for all. */
static void test_lying_length(void **state) {
    const uint32_t lies[] = {5, 100, 0x7fffffff, 0xffffffff};
    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        char payload[8];
        struct frame frame = {.type = FRAME_LOG, .payload = payload, .len = sizeof payload};
        struct frame_reader r;
        size_t len = 1;
        memcpy(payload, &lies[i], 4);
        memcpy(payload + 4, "abcd", 4);
        frame_read(&r, &frame);
        const char *text = frame_read_text(&r, &len);
        assert_string_equal(text, "");
        assert_int_equal(len, 0);
        assert_int_equal(frame_read_u32(&r), 0);
        assert_int_equal(frame_done(&r), -EPROTO);
    }
}

static uint64_t next_random(uint64_t *seed) {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* Random bytes and damaged frames: parsed or refused, never outside their bounds (a sanitizer looks on). */
static void test_hostile_bytes(void **state) {
    uint64_t seed = 20261123;
    (void)state;
    for (int round = 0; round < 20000; round++) {
        struct buf out;
        struct frame frame;
        buf_init(&out, 1000);
        write_call(&out, 1, "some text", 9);
        for (uint64_t n = next_random(&seed) % 4 + 1; n > 0; n--)
            out.data[next_random(&seed) % out.len] = (char)next_random(&seed);
        size_t len = next_random(&seed) % (out.len + 1);
        char *exact = malloc(len > 0 ? len : 1);
        assert_non_null(exact);
        memcpy(exact, out.data, len);
        long size = frame_parse(exact, len, 200, &frame);
        assert_true(size == 0 || size == -EPROTO || (size >= FRAME_HEADER_BYTES && (size_t)size <= len));
        if (size > 0) {
            struct frame_reader r;
            frame_read(&r, &frame);
            (void)frame_read_u32(&r);
            (void)frame_read_u64(&r);
            for (int i = 0; i < 2; i++) {
                size_t text_len;
                const char *text = frame_read_text(&r, &text_len);
                assert_true(text_len == 0 || (text >= exact && text + text_len <= exact + len));
            }
            int rc = frame_done(&r);
            assert_true(rc == 0 || rc == -EPROTO);
        }
        free(exact);
        buf_finish(&out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_cut_short),
        cmocka_unit_test(test_ceilings),      cmocka_unit_test(test_lying_length),
        cmocka_unit_test(test_hostile_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
