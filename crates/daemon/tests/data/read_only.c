/* A file system that was mounted again as read-only while a program had files open on it, as ext4 does after an error of its disk
 * (errors=remount-ro): as long as the file that READ_ONLY_WHEN names is there, each write to jarvis.db and what lies beside it is
 * refused with EROFS. Loaded by LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int is_read_only(void) {
    const char *when = getenv("READ_ONLY_WHEN");
    return when && access(when, F_OK) == 0;
}

static int refused(int fd) {
    if (!is_read_only()) return 0;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    if (!strstr(path, "/jarvis.db")) return 0;
    errno = EROFS;
    return 1;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *bytes, size_t count) { return refused(fd) ? -1 : NEXT(write)(fd, bytes, count); }
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) { return refused(fd) ? -1 : NEXT(pwrite)(fd, bytes, count, at); }
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) { return refused(fd) ? -1 : NEXT(pwrite64)(fd, bytes, count, at); }
int ftruncate(int fd, off_t length) { return refused(fd) ? -1 : NEXT(ftruncate)(fd, length); }
int ftruncate64(int fd, off64_t length) { return refused(fd) ? -1 : NEXT(ftruncate64)(fd, length); }

static int opened(const char *path, int flags) {
    int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
    return writes && strstr(path, "/jarvis.db") && is_read_only() ? (errno = EROFS, 1) : 0;
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    return opened(path, flags) ? -1 : NEXT(open)(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    return opened(path, flags) ? -1 : NEXT(open64)(path, flags, mode);
}
