// Records what a process does to the files under one directory: a library for LD_PRELOAD.
//
// NORN_TEST_RECORD_ROOT  the directory; only what is opened or named under it is recorded
// NORN_TEST_RECORD_FILE  where the records go (appended, by raw system calls)
// NORN_TEST_RECORD_SYNCS "ignore": fsync and fdatasync return 0 without doing or recording anything
//
// A record is one line of text, followed by the data if it is a write: `kind arguments\n`. Changes are made and recorded
// under one lock, so that the order of the records is that of the changes. A sync is recorded twice, when it is called and
// when it has returned, and runs outside the lock: it covers what was recorded before its call. Files and directories are
// named by inode; `new` tells that an inode number begins another life.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS_MAX 65536
#define PIECES_MAX 1026

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static int ignore_syncs;
static char root[PATH_MAX];
static size_t root_len;
static unsigned char recorded[FDS_MAX];
static unsigned long syncs;

#define REAL(name, result, ...)                                          \
    static result (*real)(__VA_ARGS__);                                  \
    if (!real) real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name);

static void die(const char *why) {
    syscall(SYS_write, 2, why, strlen(why));
    abort();
}

__attribute__((constructor)) static void start(void) {
    const char *file = getenv("NORN_TEST_RECORD_FILE"), *dir = getenv("NORN_TEST_RECORD_ROOT");
    const char *how = getenv("NORN_TEST_RECORD_SYNCS");
    if (!file || !dir || !realpath(dir, root)) die("recorder: NORN_TEST_RECORD_FILE or NORN_TEST_RECORD_ROOT is wrong\n");
    root_len = strlen(root);
    ignore_syncs = how && !strcmp(how, "ignore");
    int fd = syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    // High up, so that the descriptors of the process stay what they would be.
    log_fd = fd < 0 ? -1 : syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 1000);
    if (log_fd < 0) die("recorder: cannot open NORN_TEST_RECORD_FILE\n");
    syscall(SYS_close, fd);
}

// Appends a line and the pieces of data behind it in one call. The caller holds the lock.
static void record(struct iovec *data, int count, size_t bytes, const char *format, ...) {
    char line[3 * PATH_MAX];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    struct iovec all[PIECES_MAX] = {{line, (size_t)len}};
    size_t total = (size_t)len;
    int pieces = 1;
    for (int i = 0; i < count && bytes > 0; i++) {
        size_t part = data[i].iov_len < bytes ? data[i].iov_len : bytes;
        all[pieces++] = (struct iovec){data[i].iov_base, part};
        bytes -= part;
        total += part;
    }
    if (syscall(SYS_writev, log_fd, all, pieces) != (long)total) die("recorder: cannot write a record\n");
}

static unsigned long inode_of(int fd) {
    struct stat st;
    return fstat(fd, &st) ? 0 : (unsigned long)st.st_ino;
}

// Whether the descriptor is one of a file or directory under the root. A number can have been closed unseen and given to
// a socket.
static int is_recorded(int fd) {
    struct stat st;
    return fd >= 0 && fd < FDS_MAX && recorded[fd] && !fstat(fd, &st) && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode));
}

// The path relative to the root, or NULL if it is not under it.
static const char *under_root(int dir, const char *path, char *full) {
    char base[PATH_MAX] = "";
    if (path[0] != '/') {
        char link[64];
        snprintf(link, sizeof link, dir == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", dir);
        long len = syscall(SYS_readlinkat, AT_FDCWD, link, base, sizeof base - 2);
        if (len <= 0) return NULL;
        base[len] = '/';
        base[len + 1] = 0;
    }
    if (snprintf(full, PATH_MAX, "%s%s", base, path) >= PATH_MAX) return NULL;
    if (strncmp(full, root, root_len) || (full[root_len] && full[root_len] != '/')) return NULL;
    return full + root_len + (full[root_len] == '/');
}

static int do_open(int dir, const char *path, int flags, mode_t mode) {
    char full[PATH_MAX];
    const char *name = under_root(dir, path, full);
    if (!name) {
        int fd = syscall(SYS_openat, dir, path, flags, mode);
        if (fd >= 0 && fd < FDS_MAX) recorded[fd] = 0;
        return fd;
    }
    pthread_mutex_lock(&lock);
    struct stat st;
    int creates = (flags & O_CREAT) && fstatat(dir, path, &st, AT_SYMLINK_NOFOLLOW);
    int fd = syscall(SYS_openat, dir, path, flags, mode), error = errno;
    if (fd >= FDS_MAX) die("recorder: too many open files\n");
    if (fd >= 0) {
        recorded[fd] = 1;
        if (creates) record(NULL, 0, 0, "new %lu f %s\n", inode_of(fd), name);
        else if (flags & O_TRUNC) record(NULL, 0, 0, "truncate %lu 0\n", inode_of(fd));
        if (flags & O_APPEND) die("recorder: O_APPEND is not understood\n");
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return fd;
}

#define MODE(flags)                          \
    mode_t mode = 0;                         \
    if ((flags) & (O_CREAT | O_TMPFILE)) {   \
        va_list args;                        \
        va_start(args, flags);               \
        mode = va_arg(args, mode_t);         \
        va_end(args);                        \
    }

int open(const char *path, int flags, ...) { MODE(flags) return do_open(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return do_open(AT_FDCWD, path, flags, mode); }
int openat(int dir, const char *path, int flags, ...) { MODE(flags) return do_open(dir, path, flags, mode); }
int openat64(int dir, const char *path, int flags, ...) { MODE(flags) return do_open(dir, path, flags, mode); }

int close(int fd) {
    if (fd >= 0 && fd < FDS_MAX) recorded[fd] = 0;
    return syscall(SYS_close, fd);
}

static ssize_t do_pwritev(int fd, const struct iovec *data, int count, off_t at) {
    REAL("pwritev", ssize_t, int, const struct iovec *, int, off_t)
    if (!is_recorded(fd)) return real(fd, data, count, at);
    pthread_mutex_lock(&lock);
    ssize_t done = real(fd, data, count, at);
    int error = errno;
    if (done > 0) record((struct iovec *)data, count, (size_t)done, "write %lu %ld %zd\n", inode_of(fd), (long)at, done);
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

ssize_t pwritev(int fd, const struct iovec *data, int count, off_t at) { return do_pwritev(fd, data, count, at); }
ssize_t pwritev64(int fd, const struct iovec *data, int count, off_t at) { return do_pwritev(fd, data, count, at); }
ssize_t pwrite(int fd, const void *data, size_t len, off_t at) {
    struct iovec one = {(void *)data, len};
    return do_pwritev(fd, &one, 1, at);
}
ssize_t pwrite64(int fd, const void *data, size_t len, off_t at) { return pwrite(fd, data, len, at); }

static ssize_t do_writev(int fd, const struct iovec *data, int count) {
    REAL("writev", ssize_t, int, const struct iovec *, int)
    if (!is_recorded(fd)) return real(fd, data, count);
    pthread_mutex_lock(&lock);
    off_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t done = real(fd, data, count);
    int error = errno;
    if (done > 0) record((struct iovec *)data, count, (size_t)done, "write %lu %ld %zd\n", inode_of(fd), (long)at, done);
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

ssize_t writev(int fd, const struct iovec *data, int count) { return do_writev(fd, data, count); }
ssize_t write(int fd, const void *data, size_t len) {
    if (!is_recorded(fd)) return syscall(SYS_write, fd, data, len);
    struct iovec one = {(void *)data, len};
    return do_writev(fd, &one, 1);
}

static int do_ftruncate(int fd, off_t len) {
    REAL("ftruncate64", int, int, off_t)
    if (!is_recorded(fd)) return real(fd, len);
    pthread_mutex_lock(&lock);
    int failed = real(fd, len), error = errno;
    if (!failed) record(NULL, 0, 0, "truncate %lu %ld\n", inode_of(fd), (long)len);
    pthread_mutex_unlock(&lock);
    errno = error;
    return failed;
}

int ftruncate(int fd, off_t len) { return do_ftruncate(fd, len); }
int ftruncate64(int fd, off_t len) { return do_ftruncate(fd, len); }

static int do_fallocate(int fd, int mode, off_t at, off_t len) {
    REAL("fallocate64", int, int, int, off_t, off_t)
    if (!is_recorded(fd)) return real(fd, mode, at, len);
    if (mode) die("recorder: fallocate with a mode is not understood\n");
    pthread_mutex_lock(&lock);
    int failed = real(fd, mode, at, len), error = errno;
    if (!failed) record(NULL, 0, 0, "extend %lu %ld\n", inode_of(fd), (long)(at + len));
    pthread_mutex_unlock(&lock);
    errno = error;
    return failed;
}

int fallocate(int fd, int mode, off_t at, off_t len) { return do_fallocate(fd, mode, at, len); }
int fallocate64(int fd, int mode, off_t at, off_t len) { return do_fallocate(fd, mode, at, len); }

static int do_rename(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    char full_from[PATH_MAX], full_to[PATH_MAX];
    const char *old = under_root(from_dir, from, full_from), *new = under_root(to_dir, to, full_to);
    if (!old != !new) die("recorder: a rename across the root\n");
    pthread_mutex_lock(&lock);
    int failed = syscall(SYS_renameat2, from_dir, from, to_dir, to, flags), error = errno;
    if (!failed && old) record(NULL, 0, 0, "rename %zu %s %s\n", strlen(old), old, new);
    pthread_mutex_unlock(&lock);
    errno = error;
    return failed;
}

int rename(const char *from, const char *to) { return do_rename(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int fd, const char *from, int td, const char *to) { return do_rename(fd, from, td, to, 0); }
int renameat2(int fd, const char *from, int td, const char *to, unsigned flags) { return do_rename(fd, from, td, to, flags); }

static int do_unlink(int dir, const char *path, int flags) {
    char full[PATH_MAX];
    const char *name = under_root(dir, path, full);
    pthread_mutex_lock(&lock);
    int failed = syscall(SYS_unlinkat, dir, path, flags), error = errno;
    if (!failed && name) record(NULL, 0, 0, "remove %s\n", name);
    pthread_mutex_unlock(&lock);
    errno = error;
    return failed;
}

int unlink(const char *path) { return do_unlink(AT_FDCWD, path, 0); }
int unlinkat(int dir, const char *path, int flags) { return do_unlink(dir, path, flags); }
int rmdir(const char *path) { return do_unlink(AT_FDCWD, path, AT_REMOVEDIR); }

static int do_mkdir(int dir, const char *path, mode_t mode) {
    char full[PATH_MAX];
    const char *name = under_root(dir, path, full);
    pthread_mutex_lock(&lock);
    int failed = syscall(SYS_mkdirat, dir, path, mode), error = errno;
    struct stat st;
    if (!failed && name && !fstatat(dir, path, &st, 0)) record(NULL, 0, 0, "new %lu d %s\n", (unsigned long)st.st_ino, name);
    pthread_mutex_unlock(&lock);
    errno = error;
    return failed;
}

int mkdir(const char *path, mode_t mode) { return do_mkdir(AT_FDCWD, path, mode); }
int mkdirat(int dir, const char *path, mode_t mode) { return do_mkdir(dir, path, mode); }

static int do_sync(int fd, int number) {
    if (!is_recorded(fd)) return syscall(number, fd);
    if (ignore_syncs) return 0;
    pthread_mutex_lock(&lock);
    unsigned long id = ++syncs;
    record(NULL, 0, 0, "sync %lu %lu\n", id, inode_of(fd));
    pthread_mutex_unlock(&lock);
    int failed = syscall(number, fd), error = errno;
    if (!failed) {
        pthread_mutex_lock(&lock);
        record(NULL, 0, 0, "synced %lu\n", id);
        pthread_mutex_unlock(&lock);
    }
    errno = error;
    return failed;
}

int fsync(int fd) { return do_sync(fd, SYS_fsync); }
int fdatasync(int fd) { return do_sync(fd, SYS_fdatasync); }

// What would change files unseen.
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t len, unsigned flags) {
    if (is_recorded(out)) die("recorder: copy_file_range is not understood\n");
    return syscall(SYS_copy_file_range, in, from, out, to, len, flags);
}
int truncate(const char *path, off_t len) {
    char full[PATH_MAX];
    if (under_root(AT_FDCWD, path, full)) die("recorder: truncate by path is not understood\n");
    return (int)syscall(SYS_truncate, path, len);
}
int truncate64(const char *path, off_t len) { return truncate(path, len); }
int link(const char *from, const char *to) {
    char full[PATH_MAX];
    if (under_root(AT_FDCWD, to, full)) die("recorder: link is not understood\n");
    return (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
}
