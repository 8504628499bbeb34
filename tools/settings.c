/* settings.c - writes the tables of settings into the pages of docs/transports, or checks that they stand there.
 *
 *     settings --write docs/transports
 *     settings --check docs/transports        says which page is out of date, and exits with 1
 *
 * A table stands between the lines "<!-- settings of NAME -->" and "<!-- end of settings -->"; NAME is a transport's scheme, a
 * decorator's, or "all" for those of every transport. Each transport that was built has a page. Tables of transports that were left
 * out of this build stay as they are. */
#include "base/buf.h"
#include "ends/settings.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

static const char begins[] = "<!-- settings of ", ends[] = "<!-- end of settings -->\n";

enum { PAGE_MAX = 1 << 20, TABLES = 32 };

static struct table {
    const char *name;
    const ferry__setting *settings;
    bool found;
} tables[TABLES];

/* ---- One table ------------------------------------------------------------------------------------------------------ */

typedef struct unit {
    int64_t size;
    const char *word;
} unit;

static void put_amount(ferry__buf *to, int64_t n, const unit *units)
{
    while (units->size > 1 && n % units->size != 0)
        units++;
    ferry__buf_format(to, "%" PRId64 "%s", n / units->size, n ? units->word : "");
}

static void put_bounds(ferry__buf *to, const ferry__setting *s, const char *noun, const unit *units)
{
    ferry__buf_text(to, noun);
    if (s->least == 0 && s->most == 0)
        return;
    ferry__buf_text(to, s->most ? ", " : ", at least ");
    put_amount(to, s->least, units);
    if (s->most) {
        ferry__buf_text(to, " to ");
        put_amount(to, s->most, units);
    }
}

static void put_choices(ferry__buf *to, const char *choices)
{
    for (bool more = true, first = true; more; first = false) {
        size_t n = strcspn(choices, "|");
        more = choices[n] != '\0';
        ferry__buf_format(to, "%s`%.*s`", first ? "" : more ? ", " : " or ", (int)n, choices);
        choices += n + more;
    }
}

static void put_type(ferry__buf *to, const ferry__setting *s)
{
    static const unit plain[] = {{1, ""}};
    static const unit times[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
    static const unit bytes[] = {{1 << 30, "g"}, {1 << 20, "M"}, {1 << 10, "k"}, {1, ""}};
    switch (s->type) {
    case FERRY__TEXT:
        ferry__buf_text(to, "text");
        break;
    case FERRY__FLAG:
        ferry__buf_text(to, "`yes` or `no`");
        break;
    case FERRY__CHOICE:
        put_choices(to, s->choices);
        break;
    case FERRY__NUMBER:
        put_bounds(to, s, "number", plain);
        break;
    case FERRY__MS:
        put_bounds(to, s, "time", times);
        break;
    case FERRY__BYTES:
        put_bounds(to, s, "size", bytes);
        break;
    }
}

static void put_table(ferry__buf *to, const ferry__setting *s)
{
    if (!s || !s->name) {
        ferry__buf_text(to, "None of its own.\n");
        return;
    }
    ferry__buf_text(to, "| option | value | default | |\n|---|---|---|---|\n");
    for (; s->name; s++) {
        ferry__buf_format(to, "| `%s` | ", s->name);
        put_type(to, s);
        ferry__buf_format(to, s->otherwise ? " | `%s`" : " | %s", s->otherwise ? s->otherwise : "none");
        ferry__buf_format(to, " | %s |\n", s->about);
    }
}

/* ---- One page ------------------------------------------------------------------------------------------------------- */

static bool complain(const char *page, const char *what)
{
    fprintf(stderr, "settings: %s: %s\n", page, what);
    return false;
}

static bool read_page(const char *path, ferry__buf *to)
{
    char chunk[4096];
    size_t got;
    FILE *in = fopen(path, "re");
    if (!in)
        return complain(path, strerror(errno));
    while ((got = fread(chunk, 1, sizeof chunk, in)) > 0)
        ferry__buf_add(to, chunk, got);
    bool good = !ferror(in) && !to->failed;
    fclose(in);
    return good || complain(path, "cannot be read, or is over 1 MiB");
}

static bool write_page(const char *path, const ferry__buf *page)
{
    FILE *out = fopen(path, "we");
    bool good = out && fwrite(page->data, 1, page->length, out) == page->length;
    good = out && fclose(out) == 0 && good;
    return good || complain(path, strerror(errno));
}

static struct table *named(const char *name, size_t length)
{
    for (struct table *t = tables; t->name; t++)
        if (strlen(t->name) == length && memcmp(t->name, name, length) == 0)
            return t;
    return NULL;
}

/* What the page should be. */
static bool rewrite(const char *path, const char *page, ferry__buf *to)
{
    for (const char *mark; (mark = strstr(page, begins)) != NULL;) {
        const char *name = mark + strlen(begins), *after = strchr(name, '\n'), *end = strstr(mark, ends);
        if (!after || !end)
            return complain(path, "a table has no end line");
        struct table *table = named(name, strcspn(name, " "));
        ferry__buf_add(to, page, (size_t)(after + 1 - page));
        if (table)
            put_table(to, table->settings);
        else
            ferry__buf_add(to, after + 1, (size_t)(end - after - 1));
        if (table)
            table->found = true;
        ferry__buf_text(to, ends);
        page = end + strlen(ends);
    }
    ferry__buf_text(to, page);
    return !to->failed || complain(path, "out of memory, or over 1 MiB");
}

static bool see_to(const char *path, bool write)
{
    ferry__buf is = FERRY__BUF(PAGE_MAX), should_be = FERRY__BUF(PAGE_MAX);
    bool good = read_page(path, &is) && rewrite(path, ferry__buf_string(&is), &should_be);
    if (good && strcmp(ferry__buf_string(&is), ferry__buf_string(&should_be)) != 0)
        good = write ? write_page(path, &should_be) : complain(path, "is out of date: make docs");
    ferry__buf_done(&is);
    ferry__buf_done(&should_be);
    return good;
}

/* ---- All pages ------------------------------------------------------------------------------------------------------ */

/* Schemes of one transport ("redis", "rediss") share a table. */
static bool stands_elsewhere(const struct table *t)
{
    for (const struct table *o = tables; o->name; o++)
        if (o != t && o->settings && o->settings == t->settings && o->found)
            return true;
    return false;
}

static bool see_to_all(const char *folder, bool write)
{
    DIR *d = opendir(folder);
    bool good = d != NULL || complain(folder, strerror(errno));
    for (struct dirent *e; d && (e = readdir(d));) {
        char path[1024];
        const char *dot = strrchr(e->d_name, '.');
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (dot && strcmp(dot, ".md") == 0)
            good = see_to(path, write) && good;
    }
    if (d)
        closedir(d);
    for (struct table *t = tables; t->name && d; t++)
        if (!t->found && !stands_elsewhere(t))
            good = complain(t->name, "has no table in any page");
    return good;
}

int main(int argc, char **argv)
{
    bool write = argc == 3 && strcmp(argv[1], "--write") == 0, check = argc == 3 && strcmp(argv[1], "--check") == 0;
    if (!write && !check) {
        fprintf(stderr, "usage: settings --write|--check docs/transports\n");
        return 2;
    }
    tables[0] = (struct table){.name = "all", .settings = ferry__core_settings};
    for (size_t i = 0; ferry__backends[i] && i + 2 < TABLES; i++)
        tables[i + 1] = (struct table){.name = ferry__backends[i]->scheme, .settings = ferry__backends[i]->settings};
    return see_to_all(argv[2], write) ? 0 : 1;
}
