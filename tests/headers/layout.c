/* layout.c - what the binary interface rests on. C and C++: no options struct ends in padding, since a program that was compiled
 * with an older header passes a shorter one, and what lies behind it must not be read. */
#include <ferry/ferry.h>

#ifdef __cplusplus
#define ENDS_WITH(type, last) \
    static_assert(sizeof(type) == offsetof(type, last) + sizeof(type::last), #type " ends in padding")
#define SAYS(what) static_assert(what, #what)
#else
#define ENDS_WITH(type, last) \
    _Static_assert(sizeof(type) == offsetof(type, last) + sizeof(((type *)0)->last), #type " ends in padding")
#define SAYS(what) _Static_assert(what, #what)
#endif

ENDS_WITH(ferry_options, arg);
ENDS_WITH(ferry_call_options, why);
ENDS_WITH(ferry_handle_options, reserved);

SAYS(offsetof(ferry_options, size) == 0);
SAYS(offsetof(ferry_call_options, size) == 0);
SAYS(offsetof(ferry_handle_options, size) == 0);

/* Codes are on the wire and in programs: never renumbered. */
SAYS(FERRY_OK == 0 && FERRY_INVALID == 1 && FERRY_NO_MEMORY == 2 && FERRY_TIMEOUT == 3 && FERRY_CANCELLED == 4);
SAYS(FERRY_CLOSED == 5 && FERRY_UNAVAILABLE == 6 && FERRY_NO_SERVICE == 7 && FERRY_NOT_FOUND == 8);
SAYS(FERRY_VERB_NOT_ALLOWED == 9 && FERRY_OVERLOADED == 10 && FERRY_FAILED == 11 && FERRY_BAD_DATA == 12);
SAYS(FERRY_PROTOCOL == 13 && FERRY_TOO_BIG == 14 && FERRY_DENIED == 15 && FERRY_UNSUPPORTED == 16);
SAYS(FERRY_MAYBE_EXECUTED == 17 && FERRY_INTERNAL == 18);
SAYS(FERRY_GET == 1 && FERRY_PUT == 2 && FERRY_PATCH == 4 && FERRY_POST == 8 && FERRY_DELETE == 16);
SAYS(FERRY_TYPE_NIL == 0 && FERRY_TYPE_UINT == 3 && FERRY_TYPE_MAP == 8 && FERRY_TYPE_OTHER == 9);
