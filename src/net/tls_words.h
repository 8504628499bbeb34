/* tls_words.h - what OpenSSL complains of, said to a person: what is wrong, with which peer or file, and what to do. */
#ifndef FERRY_NET_TLS_WORDS_H
#define FERRY_NET_TLS_WORDS_H

#include <ferry/ferry.h>
#include <openssl/ssl.h>
#include <stdbool.h>

/* Why a file was not taken, by the errors of this thread; always false. */
bool ferry__tls_file_words(const char *what, const char *path, char *why);
bool ferry__tls_no_memory(void); /* is that the last of the errors? */

/* What the certificate at fault says that helps: until when it was good, or whom it is for. */
void ferry__tls_note_certificate(X509 *cert, int verify_error, char *note, size_t size);

/* Why a connection failed, by the errors of this thread. `name` is who was asked for, `note` the above or "". */
ferry_status ferry__tls_words(const SSL *ssl, const char *peer, const char *name, const char *note, char *why);

#endif
