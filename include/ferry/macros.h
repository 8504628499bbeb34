/* macros.h - how ferry_map, ferry_list, ferry_of, ferry_read and ferry_args know the types. Included by ferry.h, nothing in here is for
 * calling by hand, though other languages may use the five functions.
 *
 * Each argument is packed up with its type: by _Generic in C, by overloads in C++. The preprocessor counts and pairs the arguments. */
#ifndef FERRY_MACROS_H
#define FERRY_MACROS_H

#include "ferry.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One argument of ferry_map or ferry_list; kind says which member of the union counts. */
typedef struct ferry_item {
    int kind; /* 1 bool, 2 signed, 3 unsigned, 4 double, 5 string, 6 value taken, 7 value copied */
    union {
        bool               b;
        int64_t            i;
        uint64_t           u;
        double             d;
        const char        *s;
        ferry_value       *v;
        const ferry_value *c;
    } as;
} ferry_item;

/* One argument of ferry_read or ferry_args: a key, or the address of a variable and its type. */
typedef struct ferry_slot {
    int kind; /* 0 key, 1 bool, 2 int, 3 long, 4 long long, 5 unsigned, 6 unsigned long, 7 unsigned long long, 8 double, 9 string, */
    union {   /* 10 value, 11 signed char, 12 short, 13 unsigned char, 14 unsigned short, 15 float */
        const char *key;
        void       *to;
    } as;
} ferry_slot;

/* n counts keys and values, so it is even for maps and for reading. */
ferry_value *ferry_value_of(ferry_item x);
ferry_value *ferry_map_of(size_t n, const ferry_item *keys_and_values);
ferry_value *ferry_list_of(size_t n, const ferry_item *items);
bool         ferry_read_into(const ferry_value *v, size_t n, const ferry_slot *keys_and_slots);
bool         ferry_args_into(ferry_request *req, size_t n, const ferry_slot *keys_and_slots);

#ifdef __cplusplus
}
#endif

#ifndef __cplusplus

/* C: _Generic picks by type the function that packs the argument up. No type here = a compile error that names the type. */
static inline ferry_item ferry_item_b(bool x) { return (ferry_item){.kind = 1, .as.b = x}; }
static inline ferry_item ferry_item_i(long long x) { return (ferry_item){.kind = 2, .as.i = x}; }
static inline ferry_item ferry_item_u(unsigned long long x) { return (ferry_item){.kind = 3, .as.u = x}; }
static inline ferry_item ferry_item_d(double x) { return (ferry_item){.kind = 4, .as.d = x}; }
static inline ferry_item ferry_item_s(const char *x) { return (ferry_item){.kind = 5, .as.s = x}; }
static inline ferry_item ferry_item_v(ferry_value *x) { return (ferry_item){.kind = 6, .as.v = x}; }
static inline ferry_item ferry_item_c(const ferry_value *x) { return (ferry_item){.kind = 7, .as.c = x}; }
#define FERRY_ITEM_(x) \
    _Generic((x), bool: ferry_item_b, float: ferry_item_d, double: ferry_item_d, \
             char: ferry_item_i, signed char: ferry_item_i, unsigned char: ferry_item_u, \
             short: ferry_item_i, unsigned short: ferry_item_u, int: ferry_item_i, unsigned: ferry_item_u, \
             long: ferry_item_i, unsigned long: ferry_item_u, long long: ferry_item_i, unsigned long long: ferry_item_u, \
             char *: ferry_item_s, const char *: ferry_item_s, ferry_value *: ferry_item_v, const ferry_value *: ferry_item_c)(x)
#define FERRY_ITEM_KEY_(x) _Generic((x), char *: ferry_item_s, const char *: ferry_item_s)(x)

static inline ferry_slot ferry_slot_key(const char *x) { return (ferry_slot){0, {.key = x}}; }
#define FERRY_SLOT_KIND_(name, type, number) \
    static inline ferry_slot ferry_slot_##name(type *x) { return (ferry_slot){number, {.to = (void *)x}}; }
FERRY_SLOT_KIND_(b, bool, 1) FERRY_SLOT_KIND_(d, double, 8) FERRY_SLOT_KIND_(f, float, 15)
FERRY_SLOT_KIND_(i, int, 2) FERRY_SLOT_KIND_(l, long, 3) FERRY_SLOT_KIND_(ll, long long, 4)
FERRY_SLOT_KIND_(u, unsigned, 5) FERRY_SLOT_KIND_(ul, unsigned long, 6) FERRY_SLOT_KIND_(ull, unsigned long long, 7)
FERRY_SLOT_KIND_(c, signed char, 11) FERRY_SLOT_KIND_(h, short, 12) FERRY_SLOT_KIND_(uc, unsigned char, 13)
FERRY_SLOT_KIND_(uh, unsigned short, 14) FERRY_SLOT_KIND_(s, const char *, 9) FERRY_SLOT_KIND_(v, const ferry_value *, 10)
#undef FERRY_SLOT_KIND_
#define FERRY_SLOT_(x) \
    _Generic((x), bool *: ferry_slot_b, float *: ferry_slot_f, double *: ferry_slot_d, signed char *: ferry_slot_c, \
             unsigned char *: ferry_slot_uc, short *: ferry_slot_h, unsigned short *: ferry_slot_uh, int *: ferry_slot_i, \
             unsigned *: ferry_slot_u, long *: ferry_slot_l, unsigned long *: ferry_slot_ul, long long *: ferry_slot_ll, \
             unsigned long long *: ferry_slot_ull, const char **: ferry_slot_s, const ferry_value **: ferry_slot_v)(x)
#define FERRY_SLOT_KEY_(x) _Generic((x), char *: ferry_slot_key, const char *: ferry_slot_key)(x)

/* How many arguments: they push the wanted number to place 65. 33 to 64 of them pick what stands for "too many". */
#define FERRY_PICK_(...) FERRY_PICK_65_(__VA_ARGS__)
#define FERRY_PICK_65_(_1, _2, _3, _4, _5, _6, _7, _8, _9, _10, _11, _12, _13, _14, _15, _16, _17, _18, _19, _20, _21, _22, \
    _23, _24, _25, _26, _27, _28, _29, _30, _31, _32, _33, _34, _35, _36, _37, _38, _39, _40, _41, _42, _43, _44, _45, _46, \
    _47, _48, _49, _50, _51, _52, _53, _54, _55, _56, _57, _58, _59, _60, _61, _62, _63, _64, n, ...) n
#define FERRY_8_(x) x, x, x, x, x, x, x, x
#define FERRY_32_(x) FERRY_8_(x), FERRY_8_(x), FERRY_8_(x), FERRY_8_(x)
#define FERRY_N_(...) FERRY_PICK_(__VA_ARGS__, FERRY_32_(99), 32, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, \
    18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#define FERRY_JOIN_(a, b) FERRY_JOIN_2_(a, b)
#define FERRY_JOIN_2_(a, b) a##b

/* k(key), m(value), … for up to 16 pairs. What stands for 1 and 99 is no such name, to be read in the compiler's message. */
#define FERRY_PAIRS_(k, m, ...) FERRY_JOIN_(FERRY_PAIRS_, FERRY_PICK_(__VA_ARGS__, FERRY_32_(99), \
    32, 1, 30, 1, 28, 1, 26, 1, 24, 1, 22, 1, 20, 1, 18, 1, 16, 1, 14, 1, 12, 1, 10, 1, 8, 1, 6, 1, 4, 1, 2, 1, 1))(k, m, __VA_ARGS__)
#define FERRY_PAIRS_99(...) ferry_takes_at_most_32_arguments
#define FERRY_PAIRS_1(...) ferry_wants_a_value_for_each_key
#define FERRY_PAIRS_2(k, m, key, x) k(key), m(x)
#define FERRY_PAIRS_4(k, m, key, x, ...) k(key), m(x), FERRY_PAIRS_2(k, m, __VA_ARGS__)
#define FERRY_PAIRS_6(k, m, key, x, ...) k(key), m(x), FERRY_PAIRS_4(k, m, __VA_ARGS__)
#define FERRY_PAIRS_8(k, m, key, x, ...) k(key), m(x), FERRY_PAIRS_6(k, m, __VA_ARGS__)
#define FERRY_PAIRS_10(k, m, key, x, ...) k(key), m(x), FERRY_PAIRS_8(k, m, __VA_ARGS__)
#define FERRY_PAIRS_12(k, m, key, x, ...) k(key), m(x), FERRY_PAIRS_10(k, m, __VA_ARGS__)
#define FERRY_PAIRS_14(k, m, key, x, ...) k(key), m(x), FERRY_PAIRS_12(k, m, __VA_ARGS__)
#define FERRY_PAIRS_16(k, m, key, x, ...) k(key), m(x), FERRY_PAIRS_14(k, m, __VA_ARGS__)
#define FERRY_PAIRS_18(k, m, key, x, ...) k(key), m(x), FERRY_PAIRS_16(k, m, __VA_ARGS__)
#define FERRY_PAIRS_20(k, m, key, x, ...) k(key), m(x), FERRY_PAIRS_18(k, m, __VA_ARGS__)
#define FERRY_PAIRS_22(k, m, key, x, ...) k(key), m(x), FERRY_PAIRS_20(k, m, __VA_ARGS__)
#define FERRY_PAIRS_24(k, m, key, x, ...) k(key), m(x), FERRY_PAIRS_22(k, m, __VA_ARGS__)
#define FERRY_PAIRS_26(k, m, key, x, ...) k(key), m(x), FERRY_PAIRS_24(k, m, __VA_ARGS__)
#define FERRY_PAIRS_28(k, m, key, x, ...) k(key), m(x), FERRY_PAIRS_26(k, m, __VA_ARGS__)
#define FERRY_PAIRS_30(k, m, key, x, ...) k(key), m(x), FERRY_PAIRS_28(k, m, __VA_ARGS__)
#define FERRY_PAIRS_32(k, m, key, x, ...) k(key), m(x), FERRY_PAIRS_30(k, m, __VA_ARGS__)

/* m(item), … : a list is pairs too, after an odd one. */
#define FERRY_EACH_(m, ...) FERRY_JOIN_(FERRY_EACH_, FERRY_PICK_(__VA_ARGS__, FERRY_32_(99), \
    2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 1, 1))(m, __VA_ARGS__)
#define FERRY_EACH_99(...) ferry_takes_at_most_32_arguments
#define FERRY_EACH_1(m, x) m(x)
#define FERRY_EACH_2(m, ...) FERRY_PAIRS_(m, m, __VA_ARGS__)
#define FERRY_EACH_3(m, x, ...) m(x), FERRY_PAIRS_(m, m, __VA_ARGS__)

#elif __cplusplus >= 201103L

/* C++: overloads do what _Generic does, and refuse what would only fit by a conversion: any pointer is a bool there. */
#define FERRY_ITEM_OF_(type, number, member) \
    inline ferry_item ferry_item_of(type x) { ferry_item i = ferry_item(); i.kind = number; i.as.member = x; return i; }
FERRY_ITEM_OF_(bool, 1, b) FERRY_ITEM_OF_(float, 4, d) FERRY_ITEM_OF_(double, 4, d) FERRY_ITEM_OF_(char, 2, i)
FERRY_ITEM_OF_(signed char, 2, i) FERRY_ITEM_OF_(unsigned char, 3, u) FERRY_ITEM_OF_(short, 2, i) FERRY_ITEM_OF_(unsigned short, 3, u)
FERRY_ITEM_OF_(int, 2, i) FERRY_ITEM_OF_(unsigned, 3, u) FERRY_ITEM_OF_(long, 2, i) FERRY_ITEM_OF_(unsigned long, 3, u)
FERRY_ITEM_OF_(long long, 2, i) FERRY_ITEM_OF_(unsigned long long, 3, u) FERRY_ITEM_OF_(const char *, 5, s) FERRY_ITEM_OF_(char *, 5, s)
FERRY_ITEM_OF_(ferry_value *, 6, v) FERRY_ITEM_OF_(const ferry_value *, 7, c)
#undef FERRY_ITEM_OF_
inline ferry_item ferry_item_of(decltype(nullptr)) { return ferry_item(); } /* nil */
template <class T> ferry_item ferry_item_of(T *) = delete;

#define FERRY_SLOT_OF_(type, number) \
    inline ferry_slot ferry_slot_of(type *x) { ferry_slot s = ferry_slot(); s.kind = number; s.as.to = x; return s; }
FERRY_SLOT_OF_(bool, 1) FERRY_SLOT_OF_(float, 15) FERRY_SLOT_OF_(double, 8) FERRY_SLOT_OF_(signed char, 11)
FERRY_SLOT_OF_(unsigned char, 13) FERRY_SLOT_OF_(short, 12) FERRY_SLOT_OF_(unsigned short, 14) FERRY_SLOT_OF_(int, 2)
FERRY_SLOT_OF_(unsigned, 5) FERRY_SLOT_OF_(long, 3) FERRY_SLOT_OF_(unsigned long, 6) FERRY_SLOT_OF_(long long, 4)
FERRY_SLOT_OF_(unsigned long long, 7) FERRY_SLOT_OF_(const char *, 9) FERRY_SLOT_OF_(const ferry_value *, 10)
#undef FERRY_SLOT_OF_

inline void ferry_fill_items(ferry_item *) {}
template <class T, class... Rest> void ferry_fill_items(ferry_item *to, const char *key, T x, Rest... rest)
{
    to[0] = ferry_item_of(key);
    to[1] = ferry_item_of(x);
    ferry_fill_items(to + 2, rest...);
}
inline void ferry_fill_slots(ferry_slot *) {}
template <class T, class... Rest> void ferry_fill_slots(ferry_slot *to, const char *key, T *x, Rest... rest)
{
    to[0].kind = 0;
    to[0].as.key = key;
    to[1] = ferry_slot_of(x);
    ferry_fill_slots(to + 2, rest...);
}

template <class T> ferry_value *ferry_of(T x) { return ferry_value_of(ferry_item_of(x)); }
template <class... T> ferry_value *ferry_map(T... keys_and_values)
{
    static_assert(sizeof...(T) % 2 == 0, "ferry_map wants a value for each key");
    ferry_item items[sizeof...(T) + 1];
    ferry_fill_items(items, keys_and_values...);
    return ferry_map_of(sizeof...(T), items);
}
template <class... T> ferry_value *ferry_list(T... x)
{
    const ferry_item items[sizeof...(T) + 1] = {ferry_item_of(x)...};
    return ferry_list_of(sizeof...(T), items);
}
template <class T> void ferry_value_set(ferry_value *map, const char *key, T x) { ferry_map_put(map, key, ferry_of(x)); }
template <class T> void ferry_value_add(ferry_value *list, T x) { ferry_list_put(list, ferry_of(x)); }
template <class... T> bool ferry_read(const ferry_value *v, T... keys_and_variables)
{
    static_assert(sizeof...(T) % 2 == 0, "ferry_read wants a variable for each key");
    ferry_slot slots[sizeof...(T) + 1];
    ferry_fill_slots(slots, keys_and_variables...);
    return ferry_read_into(v, sizeof...(T), slots);
}
template <class... T> bool ferry_args(ferry_request *req, T... keys_and_variables)
{
    static_assert(sizeof...(T) % 2 == 0, "ferry_args wants a variable for each key");
    ferry_slot slots[sizeof...(T) + 1];
    ferry_fill_slots(slots, keys_and_variables...);
    return ferry_args_into(req, sizeof...(T), slots);
}
template <class T> T ferry_defaults()
{
    T options = T();
    options.size = sizeof options;
    return options;
}
#endif

#endif
