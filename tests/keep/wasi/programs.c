/* Small programs, chosen by the first argument, that print everything they learn about their world. What they print must
 * be the same on every implementation of WASI. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static void told(const char *what, long result)
{
    if (result < 0)
        printf("%s: %s\n", what, strerror(errno));
    else
        printf("%s: %ld\n", what, result);
}

static int by_name(const void *one, const void *other)
{
    return strcmp(*(char *const *)one, *(char *const *)other);
}

static void list(const char *path)
{
    char *names[512];
    size_t count = 0;
    DIR *directory = opendir(path);
    if (!directory) {
        told("opendir", -1);
        return;
    }
    for (struct dirent *entry; (entry = readdir(directory)) && count < 512;) {
        char line[300];
        snprintf(line, sizeof line, "%s %d", entry->d_name, entry->d_type);
        names[count++] = strdup(line);
    }
    rewinddir(directory);
    printf("again: %s\n", readdir(directory) ? "yes" : "no");
    closedir(directory);
    qsort(names, count, sizeof *names, by_name);
    printf("%s has %zu:\n", path, count);
    for (size_t i = 0; i < count; i++)
        printf("  %s\n", names[i]);
}

static void show(const char *path)
{
    struct stat found;
    if (lstat(path, &found) < 0) {
        printf("%s: %s\n", path, strerror(errno));
        return;
    }
    printf("%s: type %o", path, found.st_mode & S_IFMT);
    if (!S_ISDIR(found.st_mode))
        printf(" size %lld links %llu", (long long)found.st_size, (unsigned long long)found.st_nlink);
    printf("\n");
}

static int files(void)
{
    char buffer[64];
    FILE *file = fopen("new.txt", "w+");
    told("fprintf", fprintf(file, "%d %s %.3f %x\n", 42, "text", 3.14159, 255));
    told("fseek", fseek(file, 3, SEEK_SET));
    told("ftell", ftell(file));
    printf("read %s", fgets(buffer, sizeof buffer, file));
    told("past the end", fseek(file, 100, SEEK_END));
    told("before the start", fseek(file, -1000, SEEK_CUR));
    fputs("far", file);
    fclose(file);
    show("new.txt");
    file = fopen("new.txt", "a+");
    fputs("appended", file);
    told("ftell", ftell(file));
    rewind(file);
    told("fread", (long)fread(buffer, 1, 8, file));
    fclose(file);
    int fd = open("new.txt", O_RDWR);
    told("pread", pread(fd, buffer, 5, 2));
    told("pwrite", pwrite(fd, "PWRITE", 6, 4));
    told("position", lseek(fd, 0, SEEK_CUR));
    told("ftruncate", ftruncate(fd, 20));
    told("end", lseek(fd, 0, SEEK_END));
    told("fsync", fsync(fd));
    told("negative", lseek(fd, -1, SEEK_SET));
    close(fd);
    show("new.txt");
    told("closed", write(fd, "x", 1));
    fd = open("given.txt", O_RDONLY);
    told("write to what is read only", write(fd, "x", 1));
    told("read", read(fd, buffer, sizeof buffer));
    told("read", read(fd, buffer, sizeof buffer));
    close(fd);
    fd = open("given.txt", O_WRONLY | O_APPEND);
    told("read what is write only", read(fd, buffer, sizeof buffer));
    told("write", write(fd, "+more", 5));
    close(fd);
    told("exclusive", open("given.txt", O_CREAT | O_EXCL | O_WRONLY, 0600));
    told("missing", open("missing", O_RDONLY));
    told("below a file", open("given.txt/x", O_RDONLY));
    told("a file with a slash", open("given.txt/", O_RDONLY));
    told("write a directory", open("sub", O_WRONLY));
    told("a file as a directory", open("given.txt", O_RDONLY | O_DIRECTORY));
    told("above", open("../above", O_RDONLY));
    told("unlink", unlink("given.txt"));
    show("given.txt");
    return 0;
}

static int directories(void)
{
    told("mkdir", mkdir("d", 0700));
    told("mkdir", mkdir("d", 0700));
    told("mkdir", mkdir("d/e/f", 0700));
    told("mkdir", mkdir("d/e/", 0700));
    for (int i = 0; i < 200; i++) {
        char name[64];
        snprintf(name, sizeof name, "d/e/file-with-a-name-%d", i);
        fclose(fopen(name, "w"));
    }
    list("d/e");
    list("missing");
    list("given.txt");
    told("rmdir", rmdir("d"));
    told("rmdir", rmdir("given.txt"));
    told("unlink", unlink("d"));
    told("unlink", unlink("missing"));
    told("rename into itself", rename("d", "d/e/d"));
    told("rename onto a file", rename("d", "given.txt"));
    told("rename onto a directory", rename("given.txt", "sub"));
    told("rename onto a full one", rename("sub", "d"));
    told("rename", rename("d/e", "moved"));
    told("rename", rename("missing", "x"));
    told("rename", rename("moved/file-with-a-name-7", "d/seven"));
    told("rmdir", rmdir("sub"));
    told("access", access("moved/file-with-a-name-8", R_OK));
    told("access", access("moved/file-with-a-name-7", F_OK));
    told("chdir", chdir("moved"));
    told("relative", access("file-with-a-name-9", F_OK));
    show("/d/seven");
    list("/");
    return 0;
}

static int links(void)
{
    char buffer[64] = {0};
    told("symlink", symlink("given.txt", "sym"));
    told("symlink", symlink("given.txt", "sym"));
    told("readlink", readlink("sym", buffer, sizeof buffer - 1));
    printf("-> %s\n", buffer);
    told("readlink", readlink("sym", buffer, 3));
    told("readlink", readlink("given.txt", buffer, sizeof buffer));
    told("link", link("given.txt", "hard"));
    told("link", link("sub", "harddir"));
    told("link", link("missing", "x"));
    told("link", link("given.txt", "sub"));
    show("sym");
    show("hard");
    told("loop", symlink("loop", "loop"));
    told("open", open("loop", O_RDONLY));
    told("nofollow", open("sym", O_RDONLY | O_NOFOLLOW));
    told("outside", symlink("../outside", "escape"));
    told("open", open("escape", O_RDONLY));
    told("dangling", symlink("nowhere", "dangling"));
    told("open", open("dangling", O_RDONLY));
    int fd = open("dangling", O_RDWR | O_CREAT, 0600);
    told("write", write(fd, "made", 4));
    close(fd);
    show("nowhere");
    told("unlink", unlink("given.txt"));
    show("hard");
    told("open", open("sym", O_RDONLY));
    fd = open("hard", O_RDONLY);
    told("unlink", unlink("hard"));
    told("read", read(fd, buffer, sizeof buffer));
    struct stat found;
    fstat(fd, &found);
    told("links", (long)found.st_nlink);
    list("/");
    return 0;
}

static int times(void)
{
    struct stat found;
    struct timespec wanted[2] = {{.tv_sec = 1000, .tv_nsec = 500}, {.tv_sec = 2000, .tv_nsec = 600}};
    told("utimensat", utimensat(AT_FDCWD, "given.txt", wanted, 0));
    stat("given.txt", &found);
    printf("%lld.%ld %lld.%ld\n", (long long)found.st_atim.tv_sec, found.st_atim.tv_nsec,
           (long long)found.st_mtim.tv_sec, found.st_mtim.tv_nsec);
    wanted[0].tv_nsec = UTIME_OMIT;
    wanted[1].tv_nsec = UTIME_NOW;
    told("utimensat", utimensat(AT_FDCWD, "given.txt", wanted, 0));
    stat("given.txt", &found);
    printf("%lld.%ld %d\n", (long long)found.st_atim.tv_sec, found.st_atim.tv_nsec, found.st_mtim.tv_sec > 1000000);
    told("utimensat", utimensat(AT_FDCWD, "missing", wanted, 0));
    struct timespec one, other, nap = {.tv_nsec = 2000000};
    clock_gettime(CLOCK_MONOTONIC, &one);
    told("nanosleep", nanosleep(&nap, NULL));
    clock_gettime(CLOCK_MONOTONIC, &other);
    long passed = (other.tv_sec - one.tv_sec) * 1000000000 + other.tv_nsec - one.tv_nsec;
    printf("slept: %d, year: %d\n", passed >= 2000000, time(NULL) > 1700000000);
    return 0;
}

static int streams(int count, char **arguments)
{
    char line[256];
    printf("terminal: %d %d\n", isatty(0), isatty(1));
    for (int i = 0; i < count; i++)
        printf("argument %d: %s\n", i, arguments[i]);
    for (char **variable = environ; *variable; variable++)
        printf("variable: %s\n", *variable);
    struct pollfd wait[2] = {{.fd = 0, .events = POLLIN}, {.fd = 1, .events = POLLOUT}};
    told("poll", poll(wait, 2, 1000));
    printf("ready: %d %d\n", !!(wait[0].revents & POLLIN), !!(wait[1].revents & POLLOUT));
    while (fgets(line, sizeof line, stdin)) {
        for (char *letter = line; *letter; letter++)
            if ((*letter | 32) >= 'a' && (*letter | 32) <= 'z')
                *letter += (*letter | 32) < 'n' ? 13 : -13;
        fputs(line, stdout);
    }
    told("seek", lseek(0, 0, SEEK_SET) < 0 ? -1 : 0);
    fprintf(stderr, "to standard error\n");
    return 42;
}

static int memory(void)
{
    size_t total = 0;
    for (size_t size = 1 << 16; size <= 1 << 24; size <<= 1) {
        char *block = malloc(size);
        memset(block, 0x5a, size);
        total += block[size - 1] == 0x5a;
        FILE *file = fopen("block", "w");
        total += fwrite(block, 1, size, file) == size;
        fclose(file);
        memset(block, 0, size);
        file = fopen("block", "r");
        total += fread(block, 1, size, file) == size && block[size / 2] == 0x5a;
        fclose(file);
        free(block);
    }
    printf("%zu\n", total);
    unlink("block");
    return total == 27 ? 0 : 1;
}

int main(int count, char **arguments)
{
    const char *name = count > 1 ? arguments[1] : "";
    if (!strcmp(name, "files"))
        return files();
    if (!strcmp(name, "directories"))
        return directories();
    if (!strcmp(name, "links"))
        return links();
    if (!strcmp(name, "times"))
        return times();
    if (!strcmp(name, "streams"))
        return streams(count, arguments);
    if (!strcmp(name, "memory"))
        return memory();
    if (!strcmp(name, "abort"))
        abort();
    return 125;
}
