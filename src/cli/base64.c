#include "base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

bool cli_base64_write(cli_text *to, const void *bytes, size_t n)
{
    const unsigned char *in = bytes;

    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        unsigned b1 = left > 1 ? in[i + 1] : 0U, b2 = left > 2 ? in[i + 2] : 0U;
        unsigned word = (unsigned)in[i] << 16 | b1 << 8 | b2;
        char out[4] = {alphabet[word >> 18], alphabet[word >> 12 & 63], '=', '='};
        if (left > 1)
            out[2] = alphabet[word >> 6 & 63];
        if (left > 2)
            out[3] = alphabet[word & 63];
        cli_text_add(to, out, sizeof out);
    }
    return cli_text_add(to, "", 0);
}

static int digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* One group of four digits, of which the last `pad` are "=". Bits that no byte takes must be 0, so that each byte
 * string has one spelling. */
static bool read_group(cli_text *to, const char *text, size_t pad)
{
    unsigned word = 0;

    for (size_t i = 0; i < 4; i++) {
        int d = i < 4 - pad ? digit(text[i]) : 0;
        if (d < 0)
            return false;
        word = word << 6 | (unsigned)d;
    }
    unsigned char out[3] = {(unsigned char)(word >> 16), (unsigned char)(word >> 8), (unsigned char)word};
    if ((pad > 0 && out[2] != 0) || (pad > 1 && out[1] != 0))
        return false;
    return cli_text_add(to, out, 3 - pad);
}

bool cli_base64_read(cli_text *to, const char *text, size_t n)
{
    if (n % 4 != 0)
        return false;
    for (size_t i = 0; i < n; i += 4) {
        bool last = i + 4 == n;
        size_t pad = !last || text[i + 3] != '=' ? 0 : text[i + 2] != '=' ? 1 : 2;
        if (!read_group(to, text + i, pad))
            return false;
    }
    return cli_text_add(to, "", 0);
}
