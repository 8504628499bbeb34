/* place.h - where the database lies, and whether it may lie there. */
#ifndef FERRY_FILE_PLACE_H
#define FERRY_FILE_PLACE_H

#include <ferry/ferry.h>

/* "" is $XDG_STATE_HOME/ferry/ferry.db, else ~/.local/state/ferry/ferry.db. Allocated; NULL unless OK: why has the reason. */
ferry_status ferry__place_resolve(const char *path, char **place, char *why);
/* Makes the directories of the default place (mode 0700); refuses a directory that several machines may share. */
ferry_status ferry__place_check(const char *place, bool make, char *why);
/* The name of a kind of file system (statfs's f_type) that several machines may share; NULL: a local one. */
const char *ferry__place_shared(unsigned magic);

#endif
