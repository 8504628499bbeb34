/* place.c - where the database lies. */
#include "backends/file/place.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/log.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { PATH_LENGTH = 3900 };

/* Write-ahead logs, shared maps and locks need one kernel for all processes. FUSE is among them because it may be sshfs or a share of
 * a virtual machine's host, and cannot be told apart from what is local. */
static const struct {
    unsigned    magic;
    const char *name;
} networks[] = {
    {0x6969, "NFS"},
    {0x517b, "SMB"},
    {0xfe534d42, "SMB"},
    {0xff534d42, "CIFS"},
    {0x65735546, "FUSE"},
    {0x01021997, "9P"},
    {0x5346414f, "AFS"},
    {0x6b414653, "AFS"},
    {0x73757245, "Coda"},
    {0x00c36400, "Ceph"},
    {0x0bd00bd0, "Lustre"},
    {0x47504653, "GPFS"},
    {0x01161970, "GFS2"},
    {0x7461636f, "OCFS2"},
    {0x786f4256, "a VirtualBox share"},
    {0xbacbacbc, "a VMware share"},
};

static const char *home(void)
{
    const char *h = getenv("HOME");
    if (h && h[0] == '/')
        return h;
    struct passwd entry, *found = NULL;
    static _Thread_local char room[1024]; /* a path at most; longer ones have no home here */
    return getpwuid_r(getuid(), &entry, room, sizeof room, &found) == 0 && found ? found->pw_dir : NULL;
}

static void default_place(ferry__buf *to)
{
    const char *state = getenv("XDG_STATE_HOME"), *h = home();
    if (state && state[0] == '/')
        ferry__buf_format(to, "%s/ferry/ferry.db", state);
    else if (h)
        ferry__buf_format(to, "%s/.local/state/ferry/ferry.db", h);
}

ferry_status ferry__place_resolve(const char *path, char **place, char *why)
{
    ferry__buf b = FERRY__BUF(PATH_LENGTH);
    if (path[0])
        ferry__buf_text(&b, path);
    else
        default_place(&b);
    ferry_status status = FERRY_INVALID;
    *place = b.failed || !b.length ? NULL : ferry__strdup(ferry__buf_string(&b));
    if (b.failed == FERRY_TOO_BIG)
        ferry__why(why, "the path of the database is longer than %d bytes", PATH_LENGTH);
    else if (!b.failed && !b.length)
        ferry__why(why, "neither XDG_STATE_HOME nor HOME is set: give a path, as in file:/tmp/ferry.db");
    else if (!*place) {
        ferry__why(why, "out of memory");
        status = FERRY_NO_MEMORY;
    } else
        status = FERRY_OK;
    ferry__buf_done(&b);
    return status;
}

static bool make_directories(char *path)
{
    for (char *at = path + 1;; at++) {
        if (*at != '/' && *at)
            continue;
        char kept = *at;
        *at = '\0';
        bool there = mkdir(path, 0700) == 0 || errno == EEXIST;
        *at = kept;
        if (!there || !kept)
            return there;
    }
}

const char *ferry__place_shared(unsigned magic)
{
    for (size_t i = 0; i < sizeof networks / sizeof networks[0]; i++)
        if (networks[i].magic == magic)
            return networks[i].name;
    return NULL;
}

static ferry_status check_kind(const char *directory, char *why)
{
    struct statfs s;
    if (statfs(directory, &s) < 0) {
        ferry__why(why, "the directory %s cannot be used: %s", directory, strerror(errno));
        return errno == EACCES ? FERRY_DENIED : errno == ENOENT || errno == ENOTDIR ? FERRY_INVALID : FERRY_UNAVAILABLE;
    }
    const char *shared = ferry__place_shared((unsigned)s.f_type);
    if (shared) {
        ferry__why(why, "%s is on %s, which several machines may share: the database must lie on a local disk",
                   directory, shared);
        return FERRY_UNSUPPORTED;
    }
    return FERRY_OK;
}

ferry_status ferry__place_check(const char *place, bool make, char *why)
{
    const char *slash = strrchr(place, '/');
    char *directory = slash ? ferry__strndup(place, slash == place ? 1 : (size_t)(slash - place)) : ferry__strdup(".");
    if (!directory) {
        ferry__why(why, "out of memory");
        return FERRY_NO_MEMORY;
    }
    ferry_status status = FERRY_OK;
    if (make && !make_directories(directory)) {
        ferry__why(why, "the directory %s cannot be made: %s", directory, strerror(errno));
        status = FERRY_DENIED;
    }
    if (!status)
        status = check_kind(directory, why);
    ferry__free(directory);
    return status;
}
