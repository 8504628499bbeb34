/* Values as JSON and back; docs/json.md is the contract. What JSON has no form for is written as a map with one key
 * that begins with '$', and read back from it:
 *
 *     bytes                                  {"$bytes": "base64"}
 *     NaN and the infinities                 {"$double": "nan"}, "inf", "-inf"
 *     ext and timestamps                     {"$ext": [type, "base64"]}
 *     a string that is not UTF-8             {"$string": "base64"}
 *     a map with other keys than distinct
 *     UTF-8 strings, or one that looks
 *     like one of these forms                {"$map": [[key, value], ...]}
 */
#ifndef FERRY_CLI_JSON_H
#define FERRY_CLI_JSON_H

#include "text.h"

#define CLI_JSON_WHY 256

bool cli_json_write(cli_text *to, const ferry_value *v);              /* on one line, no spaces */
bool cli_json_write_string(cli_text *to, const char *s, size_t n);    /* with its quotes; s is UTF-8 */

typedef struct cli_json_error {
    int  line;               /* from 1 */
    int  column;             /* in characters, of the end of what is wrong; 0 = the text is JSON, its meaning is not */
    char why[CLI_JSON_WHY];
} cli_json_error;
/* One document. NULL = it is not one, and `error` says where and why. */
ferry_value *cli_json_read(const char *text, size_t n, cli_json_error *error) FERRY_MUST_USE;

#endif
