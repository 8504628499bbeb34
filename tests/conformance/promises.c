/* promises.c - docs/semantics.md names the cases of every promise. No promise may lack one, no name may lead nowhere, and no
 * conformance case may stand for nothing.
 *
 * A promise is a row of a table whose second column has addresses, file::case or file::* for all cases of a file. */
#include "test.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST = 600, LENGTH = 128 };

typedef struct listing {
    char   names[MOST][LENGTH];
    bool   named[MOST];
    size_t count;
} listing;

/* ---- The cases that there are --------------------------------------------------------------------------------------- */

static void add_cases(listing *l, const char *stem, const char *source)
{
    static const char *const words[] = {"\nCONFORMANCE(", "\nCONFORMANCE_WITH(", "\nTEST(", "\nTEST_WITH("};
    for (size_t w = 0; w < sizeof words / sizeof words[0]; w++)
        for (const char *at = strstr(source, words[w]); at; at = strstr(at, words[w])) {
            at += strlen(words[w]);
            CHECK(l->count < MOST);
            snprintf(l->names[l->count++], LENGTH, "%s::%.*s", stem, (int)strcspn(at, ",)"), at);
        }
}

static void add_folder(listing *l, const char *folder)
{
    const char *path = test_text("%s/tests/%s", test_root(), folder);
    DIR *d = opendir(path);
    CHECK_NOT_NULL(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        const char *dot = strrchr(e->d_name, '.');
        if (dot && strcmp(dot, ".c") == 0)
            add_cases(l, test_text("%.*s", (int)(dot - e->d_name), e->d_name),
                      test_read(test_text("%s/%s", path, e->d_name)));
    }
    closedir(d);
}

/* ---- The promises --------------------------------------------------------------------------------------------------- */

/* Marks the cases that the address names; how many. */
static size_t mark(listing *l, const char *address)
{
    size_t length = strlen(address), found = 0;
    bool all = length > 3 && strcmp(address + length - 3, "::*") == 0;
    for (size_t i = 0; i < l->count; i++)
        if (all ? strncmp(l->names[i], address, length - 1) == 0 : strcmp(l->names[i], address) == 0) {
            l->named[i] = true;
            found++;
        }
    return found;
}

static bool is_promise(const char *line, const char **cases)
{
    const char *end = strchr(line, '\n'), *second = *line == '|' ? strchr(line + 1, '|') : NULL;
    if (!end || !second || second > end || line[1] == '-' || line[2] == '-')
        return false;
    *cases = test_text("%.*s", (int)(end - second - 1), second + 1);
    return true;
}

static int check_row(listing *l, const char *line, const char *cases)
{
    int wrong = 0, named = 0;
    for (const char *at = strchr(cases, '`'); at; at = strchr(at, '`')) {
        size_t length = strcspn(at + 1, "`");
        const char *address = test_text("%.*s", (int)length, at + 1);
        at += length + 1 + (at[length + 1] != '\0');
        named++;
        if (mark(l, address) == 0) {
            fprintf(stderr, "there is no case %s\n", address);
            wrong++;
        }
    }
    if (named == 0) {
        fprintf(stderr, "no case for: %.*s\n", (int)strcspn(line, "\n"), line);
        wrong++;
    }
    return wrong;
}

TEST(every_promise_has_its_cases)
{
    static listing l;
    int wrong = 0, promises = 0;
    add_folder(&l, "conformance");
    size_t conformance = l.count;
    add_folder(&l, "integration");
    add_folder(&l, "oom");
    const char *text = test_read(test_text("%s/docs/semantics.md", test_root()));
    const char *begin = strstr(text, "<!-- promises -->"), *end = strstr(text, "<!-- end of promises -->"), *cases;
    CHECK(begin && end);
    for (const char *line = begin; line && line < end; line = strchr(line, '\n'), line += line != NULL)
        if (is_promise(line, &cases) && !strstr(cases, "cases |")) {
            wrong += check_row(&l, line, cases);
            promises++;
        }
    for (size_t i = 0; i < conformance; i++)
        if (!l.named[i] && strncmp(l.names[i], "promises::", 10) != 0) {
            fprintf(stderr, "no promise for case %s\n", l.names[i]);
            wrong++;
        }
    CHECK(promises > 40);
    CHECK_INT(wrong, 0);
}
