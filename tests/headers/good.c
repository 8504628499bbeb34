/* good.c - what the header's macros take. Compiled under each C standard, never run. */
#include <ferry/ferry.h>

#include <stdint.h>

typedef enum color { RED, GREEN } color;

void  good_items(const char *text, const ferry_value *borrowed);
void  good_places(const ferry_value *v, ferry_request *req);
void  good_counts(void);
void  good_nesting(const ferry_value *borrowed);
void  good_options(ferry *f, ferry_request *req, char why[FERRY_WHY_SIZE]);

void good_items(const char *text, const ferry_value *borrowed)
{
    char array[8] = "abc", *pointer = array, c = 'c';
    const char fixed[] = "fixed", *const end = "end";
    const int constant = 1;
    volatile long changing = 2;
    bool yes = true;
    float f = 1.5f;
    uint8_t u8 = 1;
    int8_t i8 = 1;
    size_t size = sizeof array;
    color which = GREEN;
    const ferry_value *none = NULL;
    ferry_value *made =
        ferry_map("array", array, "pointer", pointer, "char", c, "fixed", fixed, "end", end, text, "variable key");
    ferry_list_put(made, ferry_list(constant, changing, yes, f, 2.5, u8, i8, size, which, RED, none, borrowed, made,
                                    'x', 1 < 2, INT64_MAX, UINT64_MAX));
    ferry_value_set(made, "set", yes);
    ferry_value_set(made, array, (const char *)NULL);
    ferry_value_add(made, -1LL);
    ferry_value_add(made, ferry_of(FERRY_TRUE));
    ferry_value_free(made);
}

void good_places(const ferry_value *v, ferry_request *req)
{
    bool b;
    signed char sc;
    unsigned char uc;
    short s;
    unsigned short us;
    int i;
    unsigned u;
    long l;
    unsigned long ul;
    long long ll;
    unsigned long long ull;
    int64_t i64;
    uint8_t bytes[2];
    size_t size;
    float f;
    double d;
    const char *text, *texts[1];
    const ferry_value *value;
    color which;
    char key[] = "key?";
    if (ferry_read(v, "b", &b, "sc", &sc, "uc", &uc, "s", &s, "us", &us, "i", &i, "u", &u, "l", &l, "ul", &ul, "ll",
                   &ll, "ull", &ull))
        puts("some");
    if (ferry_args(req, "i64", &i64, "u8", &bytes[1], "size", &size, "f", &f, "d", &d, "text", &text, key, texts,
                   "value", &value, "color", &which))
        puts("others");
}

void good_counts(void)
{
    ferry_value_free(ferry_list(1));
    ferry_value_free(ferry_map("1", 1));
    ferry_value_free(ferry_list(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24,
                                25, 26, 27, 28, 29, 30, 31));
    ferry_value_free(ferry_list(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24,
                                25, 26, 27, 28, 29, 30, 31, 32));
    ferry_value_free(ferry_map("1", 1, "2", 2, "3", 3, "4", 4, "5", 5, "6", 6, "7", 7, "8", 8, "9", 9, "10", 10, "11",
                               11, "12", 12, "13", 13, "14", 14, "15", 15, "16", 16));
}

void good_nesting(const ferry_value *borrowed)
{
    ferry_value_free(ferry_map(
        "a", ferry_map("b", ferry_map("c", ferry_map("d", ferry_list(ferry_list(borrowed, ferry_list("deep"))))))));
    ferry_value_free(
        ferry_list(ferry_map("x", ferry_find(borrowed, "x")), ferry_of(ferry_as_int(ferry_at(borrowed, 0), -1))));
}

void good_options(ferry *f, ferry_request *req, char why[FERRY_WHY_SIZE])
{
    const ferry_options *o = FERRY_OPTIONS(.name = "orders", .workers = 4);
    ferry_reply_free(ferry_get(f, "calc.add", ferry_map("x", 1),
                               FERRY_CALL(.timeout_ms = 500, .key = o->name, .within = req, .why = why)));
    ferry_handle(f, "calc.add", NULL, NULL, FERRY_HANDLE(.verbs = FERRY_PUT | FERRY_POST));
}
