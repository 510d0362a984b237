/* Preloaded into a process, writes down what it asks of the disk below one directory: every write with its
 * bytes, every new, renamed and removed name, and when each sync began and ended; and what it says on
 * its standard output, in the same order. A test replays this up to any moment and so knows
 * what a power cut at that moment may leave.
 *
 * It also plays a bad disk. The file that TRACE_FAULTS names may appear, change and go at any time; each line is
 * "KIND NUMBER PATTERN" and holds for paths that contain PATTERN ("/" = all):
 *   full 0      writes and new files get ENOSPC
 *   readonly 0  whatever would change something gets EROFS
 *   eio 0       syncs fail with EIO and make nothing durable; as on Linux, a later sync does not make up for it
 *   slow MS     syncs take MS milliseconds longer
 *
 * TRACE_DIR: the directory. TRACE_OUT: where to write, if anywhere. One record: kind, a, b, then two strings,
 * each after its length; all integers are 64 bits, little-endian. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { WRITE = 1, ZEROS, SETLEN, CREATE, RENAME, REMOVE, MKDIR, SYNC_BEGIN, SYNC_END, SAID, SYNC_FAIL };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *dir;
static size_t dir_length;
static int out = -1;
static const char *faults;
static uint64_t syncs;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("TRACE_OUT");
    dir = getenv("TRACE_DIR");
    faults = getenv("TRACE_FAULTS");
    if (!dir) return;
    dir_length = strlen(dir);
    // Processes that run one after the other share a trace.
    syncs = (uint64_t)getpid() << 32;
    if (path) out = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int inside(const char *path) {
    return dir && path && !strncmp(path, dir, dir_length) && path[dir_length] == '/';
}

static int path_of(int fd, char *path) {
    char link[64];
    if (!dir || fd < 3) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    return inside(path);
}

static int path_at(int at, const char *name, char *path) {
    if (!dir || !name) return 0;
    if (name[0] == '/' || at == AT_FDCWD) { snprintf(path, PATH_MAX, "%s", name); return inside(path); }
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", at);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    if (n <= 0) return 0;
    snprintf(path + n, PATH_MAX - n, "/%s", name);
    return inside(path);
}

/* The number of the first rule of this kind that holds for the path; -1: none. */
static long fault(const char *kind, const char *path) {
    char text[2048];
    if (!faults) return -1;
    int fd = syscall(SYS_openat, AT_FDCWD, faults, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return -1;
    ssize_t n = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    if (n <= 0) return -1;
    text[n] = 0;
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n"))) {
        char name[32], pattern[512];
        long number;
        if (sscanf(line, "%31s %ld %511s", name, &number, pattern) == 3 && !strcmp(name, kind)
            && strstr(path + dir_length, pattern)) return number;
    }
    return -1;
}

static int refused(const char *path) {
    if (fault("full", path) >= 0) { errno = ENOSPC; return 1; }
    if (fault("readonly", path) >= 0) { errno = EROFS; return 1; }
    return 0;
}

static int refused_fd(int fd) {
    char path[PATH_MAX];
    return faults && path_of(fd, path) && refused(path);
}

static int frozen(const char *path) {
    if (!faults || !inside(path) || fault("readonly", path) < 0) return 0;
    errno = EROFS;
    return 1;
}

static void put(const void *bytes, size_t n) {
    const char *p = bytes;
    if (out < 0) return;
    while (n) {
        ssize_t k = syscall(SYS_write, out, p, n);
        if (k <= 0) _exit(97);
        p += k; n -= k;
    }
}

/* Called with the lock held. */
static void record(uint64_t kind, uint64_t a, uint64_t b, const char *path, const void *data, uint64_t n) {
    uint64_t length = path ? strlen(path + dir_length + 1) : 0;
    uint64_t head[4] = { kind, a, b, length };
    size_t size = sizeof head + length + 8 + n;
    char *whole = malloc(size), *p = whole;
    memcpy(p, head, sizeof head); p += sizeof head;
    if (length) memcpy(p, path + dir_length + 1, length);
    p += length;
    memcpy(p, &n, 8); p += 8;
    if (n) memcpy(p, data, n);
    put(whole, size);
    free(whole);
}

static void note(uint64_t kind, uint64_t a, uint64_t b, const char *path, const void *data, uint64_t n) {
    pthread_mutex_lock(&lock);
    record(kind, a, b, path, data, n);
    pthread_mutex_unlock(&lock);
}

static void wrote(const char *path, off_t offset, const char *data, size_t n) {
    int zeros = n > 4096 && !data[0] && !memcmp(data, data + 1, n - 1);
    note(zeros ? ZEROS : WRITE, offset, n, path, data, zeros ? 0 : n);
}

ssize_t write(int fd, const void *data, size_t n) {
    char path[PATH_MAX];
    if (dir && fd == 1) note(SAID, 0, 0, NULL, data, n);
    int ours = path_of(fd, path);
    if (ours && refused(path)) return -1;
    off_t offset = 0;
    if (ours) {
        offset = (fcntl(fd, F_GETFL) & O_APPEND) ? lseek(fd, 0, SEEK_END) : lseek(fd, 0, SEEK_CUR);
    }
    ssize_t k = REAL(write)(fd, data, n);
    if (ours && k > 0) wrote(path, offset, data, k);
    return k;
}

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t offset) {
    char path[PATH_MAX];
    if (refused_fd(fd)) return -1;
    ssize_t k = REAL(pwrite64)(fd, data, n, offset);
    if (k > 0 && path_of(fd, path)) wrote(path, offset, data, k);
    return k;
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t offset) { return pwrite64(fd, data, n, offset); }

static int resized(int fd) {
    char path[PATH_MAX];
    struct stat st;
    if (path_of(fd, path) && !fstat(fd, &st)) note(SETLEN, st.st_size, 0, path, NULL, 0);
    return 0;
}

int ftruncate64(int fd, off64_t n) {
    char path[PATH_MAX];
    if (path_of(fd, path) && frozen(path)) return -1;
    int r = REAL(ftruncate64)(fd, n);
    return r ? r : resized(fd);
}
int ftruncate(int fd, off_t n) { return ftruncate64(fd, n); }
int fallocate64(int fd, int mode, off64_t o, off64_t n) {
    if (refused_fd(fd)) return -1;
    int r = REAL(fallocate64)(fd, mode, o, n);
    return r ? r : resized(fd);
}
int fallocate(int fd, int mode, off_t o, off_t n) { return fallocate64(fd, mode, o, n); }

static int opened(int at, const char *name, int flags, mode_t mode) {
    char path[PATH_MAX];
    struct stat st;
    int changes = flags & (O_CREAT | O_WRONLY | O_RDWR | O_TRUNC);
    int ours = changes && path_at(at, name, path);
    if (ours && frozen(path)) return -1;
    ours = ours && (flags & O_CREAT);
    int is_new = ours && lstat(path, &st);
    if (is_new && faults && refused(path)) return -1;
    int fd = syscall(SYS_openat, at, name, flags, mode);
    if (fd >= 0 && is_new) note(CREATE, 0, 0, path, NULL, 0);
    if (fd >= 0 && !is_new && (flags & O_TRUNC)) resized(fd);
    return fd;
}

#define MODE(flags) mode_t mode = 0; if ((flags) & O_CREAT) { va_list l; va_start(l, flags); mode = va_arg(l, int); va_end(l); }
int open64(const char *name, int flags, ...) { MODE(flags) return opened(AT_FDCWD, name, flags, mode); }
int open(const char *name, int flags, ...) { MODE(flags) return opened(AT_FDCWD, name, flags, mode); }
int openat64(int at, const char *name, int flags, ...) { MODE(flags) return opened(at, name, flags, mode); }
int openat(int at, const char *name, int flags, ...) { MODE(flags) return opened(at, name, flags, mode); }

int rename(const char *from, const char *to) {
    if (frozen(from)) return -1;
    pthread_mutex_lock(&lock);
    int r = REAL(rename)(from, to);
    if (!r && inside(from)) record(RENAME, 0, 0, from, to + dir_length + 1, strlen(to + dir_length + 1));
    pthread_mutex_unlock(&lock);
    return r;
}

static void removed(int r, const char *path) { if (!r && inside(path)) note(REMOVE, 0, 0, path, NULL, 0); }
int unlink(const char *name) { int r = frozen(name) ? -1 : REAL(unlink)(name); removed(r, name); return r; }
int rmdir(const char *name) { int r = frozen(name) ? -1 : REAL(rmdir)(name); removed(r, name); return r; }
int unlinkat(int at, const char *name, int flags) {
    char path[PATH_MAX];
    int ours = path_at(at, name, path);
    int r = ours && frozen(path) ? -1 : REAL(unlinkat)(at, name, flags);
    if (ours) removed(r, path);
    return r;
}
int mkdir(const char *name, mode_t mode) {
    int r = frozen(name) ? -1 : REAL(mkdir)(name, mode);
    if (!r && inside(name)) note(MKDIR, 0, 0, name, NULL, 0);
    return r;
}

static int synced(int fd, int (*sync)(int)) {
    char path[PATH_MAX];
    if (!path_of(fd, path)) return sync(fd);
    pthread_mutex_lock(&lock);
    uint64_t id = ++syncs;
    record(SYNC_BEGIN, id, 0, path, NULL, 0);
    pthread_mutex_unlock(&lock);
    long ms = fault("slow", path);
    if (ms > 0) usleep(ms * 1000);
    if (fault("eio", path) >= 0) {
        note(SYNC_FAIL, id, 0, path, NULL, 0);
        errno = EIO;
        return -1;
    }
    int r = sync(fd);
    if (!r) note(SYNC_END, id, 0, path, NULL, 0);
    return r;
}
int fsync(int fd) { return synced(fd, REAL(fsync)); }
int fdatasync(int fd) { return synced(fd, REAL(fdatasync)); }
