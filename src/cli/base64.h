/* Base64 as in RFC 4648 section 4: standard alphabet, padding required, no white space. */
#ifndef FERRY_CLI_BASE64_H
#define FERRY_CLI_BASE64_H

#include "text.h"

bool cli_base64_write(cli_text *to, const void *bytes, size_t n);
bool cli_base64_read(cli_text *to, const char *text, size_t n); /* false: not base64, or `to` failed */

#endif
