/* cli_parts_test.c - the small parts of the tool: lines of a stream, FERRY_WITHIN, the histogram, growing text. */
#include "test.h"

#include "cli/histogram.h"
#include "cli/lines.h"
#include "cli/within.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ---- lines ------------------------------------------------------------------------------------------------------------ */

static void is_line(cli_lines *l, const char *want, size_t number)
{
    const char *line;
    size_t length;

    CHECK_INT(cli_lines_next(l, &line, &length), CLI_LINE);
    CHECK_BYTES(line, length, want, strlen(want));
    CHECK_UINT(l->number, number);
}

TEST(lines_come_as_they_were_written)
{
    const char *line;
    size_t length;
    int ends[2];
    cli_lines l = {.stop_fd = -1};

    CHECK_INT(pipe(ends), 0);
    l.fd = ends[0];
    CHECK(!cli_lines_ready(&l));
    CHECK_INT(write(ends[1], "one\n\nthree\r\npart", 16), 16);
    is_line(&l, "one", 1);
    CHECK(cli_lines_ready(&l));
    is_line(&l, "", 2);
    is_line(&l, "three\r", 3);
    CHECK(!cli_lines_ready(&l));
    CHECK_INT(write(ends[1], "ial\nlast", 8), 8);
    close(ends[1]);
    is_line(&l, "partial", 4);
    is_line(&l, "last", 5);
    CHECK_INT(cli_lines_next(&l, &line, &length), CLI_LINES_END);
    CHECK_INT(cli_lines_next(&l, &line, &length), CLI_LINES_END);
    cli_lines_free(&l);
    close(ends[0]);
}

TEST(long_lines_come_whole)
{
    enum { LONG = 300000 };
    FILE *file = fopen("long", "w+");
    cli_lines l = {.stop_fd = -1};
    const char *line;
    size_t length;

    CHECK_NOT_NULL(file);
    for (int i = 0; i < 3; i++)
        CHECK_INT(fprintf(file, "%0*d\n", LONG + i, i), LONG + i + 1);
    CHECK_INT(fflush(file), 0);
    rewind(file);
    l.fd = fileno(file);
    for (size_t i = 0; i < 3; i++) {
        CHECK_INT(cli_lines_next(&l, &line, &length), CLI_LINE);
        CHECK_UINT(length, LONG + i);
        CHECK_INT(line[length - 1], '0' + (int)i);
    }
    CHECK_INT(cli_lines_next(&l, &line, &length), CLI_LINES_END);
    cli_lines_free(&l);
    fclose(file);
}

TEST(a_stop_ends_the_wait_for_a_line)
{
    const char *line;
    size_t length;
    int ends[2];
    cli_lines l = {.stop_fd = eventfd(1, EFD_CLOEXEC)};

    CHECK_INT(pipe(ends), 0);
    l.fd = ends[0];
    CHECK_INT(cli_lines_next(&l, &line, &length), CLI_LINES_STOPPED);
    cli_lines_free(&l);
    close(ends[0]);
    close(ends[1]);
    close(l.stop_fd);
}

TEST(a_line_over_the_limit_is_told)
{
    FILE *file = fopen("long", "w+");
    cli_lines l = {.stop_fd = -1, .buffer = {.max = 100000}};
    const char *line;
    size_t length;

    CHECK_NOT_NULL(file);
    fprintf(file, "short\n%0*d\n", 200000, 1);
    rewind(file);
    l.fd = fileno(file);
    is_line(&l, "short", 1);
    CHECK_INT(cli_lines_next(&l, &line, &length), CLI_LINES_FAILED);
    CHECK_INT(errno, EFBIG);
    cli_lines_free(&l);
    fclose(file);
}

/* ---- FERRY_WITHIN ------------------------------------------------------------------------------------------------------- */

TEST(within_is_read_field_by_field)
{
    cli_within w;

    CHECK(cli_within_parse(&w, NULL));
    CHECK(cli_within_parse(&w, ""));
    CHECK_INT(w.deadline_ms, 0);
    CHECK_STR(w.correlation, "");
    CHECK(cli_within_parse(&w, "deadline=123&correlation=a%20b%C3%A9&traceparent=00-4bf9-01"));
    CHECK_INT(w.deadline_ms, 123);
    CHECK_STR(w.correlation, "a b\xc3\xa9");
    CHECK_STR(w.traceparent, "00-4bf9-01");
    CHECK(cli_within_parse(&w, "correlation=x"));
    CHECK_INT(w.deadline_ms, 0);
    CHECK_STR(w.traceparent, "");
}

TEST(a_damaged_within_is_refused)
{
    static const char *const wrong[] = {"deadline",
                                        "deadline=",
                                        "deadline=0",
                                        "deadline=-1",
                                        "deadline=1x",
                                        "deadline=1&",
                                        "&deadline=1",
                                        "deadline=1&deadline=2",
                                        "deadline=9999999999999999999",
                                        "other=1",
                                        "correlation=",
                                        "correlation=%",
                                        "correlation=%4",
                                        "correlation=%zz",
                                        "correlation=%00",
                                        "correlation=a b",
                                        "correlation=%ff",
                                        "correlation=a&correlation=b",
                                        "=",
                                        "&"};

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cli_within w;
        test_note("'%s'", wrong[i]);
        CHECK(!cli_within_parse(&w, wrong[i]));
    }
    cli_within w;
    CHECK(cli_within_parse(&w, test_text("correlation=%0*d", CLI_WITHIN_VALUE - 1, 1)));
    CHECK(!cli_within_parse(&w, test_text("correlation=%0*d", CLI_WITHIN_VALUE, 1)));
}

/* ---- histogram ------------------------------------------------------------------------------------------------------------ */

TEST(a_histogram_is_right_within_three_percent)
{
    static cli_histogram h;
    static const double parts[] = {0.01, 0.25, 0.5, 0.75, 0.99, 1.0};

    CHECK(cli_histogram_at(&h, 0.5) <= 0);
    for (int64_t i = 1; i <= 100000; i++)
        cli_histogram_add(&h, i * 1000);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        double want = parts[i] * 100000, found = cli_histogram_at(&h, parts[i]);
        test_note("%.2f: %.1f, not %.1f", parts[i], found, want);
        CHECK(found > want * 0.97 && found < want * 1.03);
    }
}

TEST(a_histogram_takes_any_duration)
{
    static cli_histogram h;

    cli_histogram_add(&h, INT64_MAX);
    cli_histogram_add(&h, INT64_MIN);
    cli_histogram_add(&h, 0);
    for (int shift = 0; shift < 63; shift++) {
        cli_histogram_add(&h, (int64_t)1 << shift);
        cli_histogram_add(&h, ((int64_t)1 << shift) - 1);
    }
    CHECK_UINT(h.count, 3 + 2 * 63);
    CHECK(cli_histogram_at(&h, 1) > 9e15);
}

/* ---- text ------------------------------------------------------------------------------------------------------------------- */

TEST(text_grows_to_its_limit_and_no_further)
{
    cli_text t = {.max = 1000};

    for (int i = 0; i < 100; i++)
        CHECK(cli_text_add(&t, "0123456789", 10));
    CHECK(!cli_text_add(&t, "x", 1));
    CHECK(!cli_text_puts(&t, ""));
    CHECK(t.failed);
    CHECK_UINT(t.length, 1000);
    cli_text_clear(&t);
    CHECK(cli_text_printf(&t, "%0600d", 7));
    CHECK_UINT(t.length, 600);
    CHECK(cli_text_puts(&t, "\n"));
    CHECK(cli_text_cut_newline(&t));
    CHECK(!cli_text_cut_newline(&t));
    cli_text_free(&t);
}
