/* file.h - "file:path": any number of processes on one machine, over one SQLite database and no server. */
#ifndef FERRY_FILE_FILE_H
#define FERRY_FILE_FILE_H

#include "link/backend.h"

extern const ferry__backend ferry__file_backend;

#endif
