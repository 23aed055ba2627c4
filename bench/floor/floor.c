/*
 * The floor under gantry-runtime's `run`: a C program that makes the system calls of
 * the runtime for the benchmark's bundle, one after the other, and knows everything
 * beforehand. It reads no specification, checks no path and undoes nothing.
 *
 * floor BUNDLE STATE GROUP UNIFIED [V1...]
 *
 * STATE is a directory to make, GROUP the name of the cgroups, UNIFIED where cgroup v2
 * is mounted ("" if it is not), V1 the mount points of v1 hierarchies, which the
 * container sees as /sys/fs/cgroup/NAME.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_V1 = 16, PATH = 512 };

static const unsigned restricted = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;

static int v1_count;
static char v1_group[MAX_V1][PATH], *v1_mount[MAX_V1], unified[PATH];
static int v1_tasks[MAX_V1], group_fd = -1, root, go[2];
static char spec[1 << 16];

static long must(long result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
		_exit(1);
	}
	return result;
}

static void write_file(int flags, const char *value, size_t size, const char *format, ...)
{
	char path[PATH];
	va_list args;
	va_start(args, format);
	vsnprintf(path, sizeof path, format, args);
	va_end(args);
	int f = must(open(path, flags | O_WRONLY | O_CLOEXEC, 0600), path);
	must(write(f, value, size), path);
	close(f);
}

/* Options are pairs of a name and a value, or of a name and "" for a flag. */
static int filesystem(const char *type, unsigned attr, const char *const *options)
{
	int fs = must(syscall(SYS_fsopen, type, FSOPEN_CLOEXEC), type);
	must(syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "source", type, 0), "source");
	for (; options && *options; options += 2) {
		int flag = !*options[1];
		must(syscall(SYS_fsconfig, fs, flag ? FSCONFIG_SET_FLAG : FSCONFIG_SET_STRING, options[0], flag ? NULL : options[1], 0), options[0]);
	}
	must(syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0), "create");
	int tree = must(syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, attr), "fsmount");
	close(fs);
	return tree;
}

static int copy_of(int dir, const char *path, unsigned flags)
{
	return must(syscall(SYS_open_tree, dir, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | flags), path);
}

static void limit(int tree, unsigned attr, unsigned flags)
{
	struct mount_attr a = { .attr_set = attr };
	must(syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | flags, &a, sizeof a), "mount_setattr");
}

static void attach(int tree, int dir, const char *path)
{
	must(syscall(SYS_move_mount, tree, "", dir, path, MOVE_MOUNT_F_EMPTY_PATH), path);
	close(tree);
}

static void make_groups(const char *name)
{
	for (int i = 0; i < v1_count; i++) {
		snprintf(v1_group[i], PATH, "%s/%s", v1_mount[i], name);
		must(mkdir(v1_group[i], 0755), v1_group[i]);
		char *hierarchy = basename(v1_mount[i]);
		if (!strcmp(hierarchy, "cpuset")) {
			write_file(0, "0", 1, "%s/cpuset.cpus", v1_group[i]);
			write_file(0, "0", 1, "%s/cpuset.mems", v1_group[i]);
		}
		if (!strcmp(hierarchy, "devices")) {
			static const char *const allowed[] = { "c *:* m", "b *:* m", "c 1:3 rwm", "c 1:8 rwm", "c 1:7 rwm",
				"c 5:0 rwm", "c 1:5 rwm", "c 1:9 rwm", "c 136:* rwm", "c 5:2 rwm" };
			write_file(0, "a", 1, "%s/devices.deny", v1_group[i]);
			for (size_t k = 0; k < sizeof allowed / sizeof *allowed; k++)
				write_file(0, allowed[k], strlen(allowed[k]), "%s/devices.allow", v1_group[i]);
		}
		char path[PATH + 8];
		snprintf(path, sizeof path, "%s/tasks", v1_group[i]);
		v1_tasks[i] = must(open(path, O_WRONLY | O_CLOEXEC), path);
	}
	if (*unified) {
		must(mkdir(unified, 0755), unified);
		group_fd = must(open(unified, O_PATH | O_DIRECTORY | O_CLOEXEC), unified);
	}
}

static void make_dev(void)
{
	static const struct { const char *name; int major, minor; } nodes[] = {
		{ "null", 1, 3 }, { "zero", 1, 5 }, { "full", 1, 7 }, { "random", 1, 8 }, { "urandom", 1, 9 }, { "tty", 5, 0 } };
	static const char *const links[][2] = { { "/proc/self/fd", "fd" }, { "/proc/self/fd/0", "stdin" },
		{ "/proc/self/fd/1", "stdout" }, { "/proc/self/fd/2", "stderr" }, { "/proc/kcore", "core" }, { "pts/ptmx", "ptmx" } };
	int dev = must(openat(root, "dev", O_PATH | O_CLOEXEC), "dev");
	for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++)
		must(mknodat(dev, nodes[i].name, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)), nodes[i].name);
	for (size_t i = 0; i < sizeof links / sizeof *links; i++)
		must(symlinkat(links[i][0], dev, links[i][1]), links[i][1]);
	close(dev);
}

static void make_root(const char *bundle)
{
	char path[PATH];
	snprintf(path, sizeof path, "%s/rootfs", bundle);
	must(mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL), "make / a slave");
	root = copy_of(AT_FDCWD, path, AT_RECURSIVE);
	must(syscall(SYS_move_mount, root, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH), path);
	attach(filesystem("tmpfs", MOUNT_ATTR_NOSUID, (const char *[]){ "mode", "755", "size", "65536k", NULL }), root, "dev");
	must(mkdirat(root, "dev/pts", 0755), "dev/pts");
	attach(filesystem("devpts", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
		(const char *[]){ "newinstance", "", "ptmxmode", "0666", "mode", "0620", "gid", "5", NULL }), root, "dev/pts");
	must(mkdirat(root, "dev/shm", 0755), "dev/shm");
	attach(filesystem("tmpfs", restricted, (const char *[]){ "mode", "1777", "size", "65536k", NULL }), root, "dev/shm");
	must(mkdirat(root, "dev/mqueue", 0755), "dev/mqueue");
	attach(filesystem("mqueue", restricted, NULL), root, "dev/mqueue");
	attach(filesystem("sysfs", restricted | MOUNT_ATTR_RDONLY, NULL), root, "sys");
	int groups = filesystem("tmpfs", restricted, (const char *[]){ "mode", "755", NULL });
	must(syscall(SYS_move_mount, groups, "", root, "sys/fs/cgroup", MOVE_MOUNT_F_EMPTY_PATH), "sys/fs/cgroup");
	for (int i = 0; i < v1_count; i++) {
		char *name = basename(v1_mount[i]);
		must(mkdirat(groups, name, 0755), name);
		int view = copy_of(AT_FDCWD, v1_group[i], 0);
		limit(view, restricted | MOUNT_ATTR_RDONLY, 0);
		attach(view, groups, name);
	}
	make_dev();
	limit(groups, MOUNT_ATTR_RDONLY, 0);
	attach(filesystem("tmpfs", MOUNT_ATTR_RDONLY, (const char *[]){ "nr_blocks", "1", "nr_inodes", "1", NULL }), root, "sys/firmware");
	limit(root, MOUNT_ATTR_RDONLY, 0);
	must(sethostname("runc", 4), "sethostname");
	must(fchdir(root), "fchdir");
	must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
	must(umount2(".", MNT_DETACH), "umount");
	must(chdir("/"), "chdir");
}

/* What a container's first process does: everything that is left. */
static void init(void)
{
	static const char *const readonly[] = { "proc/bus", "proc/fs", "proc/irq", "proc/sys" };
	static const char *const masked[] = { "proc/keys", "proc/timer_list" };
	for (int i = 0; i < v1_count; i++)
		must(write(v1_tasks[i], "0", 1), v1_group[i]);
	must(setsid(), "setsid");
	attach(filesystem("proc", 0, NULL), root, "proc");
	for (size_t i = 0; i < sizeof readonly / sizeof *readonly; i++) {
		int tree = copy_of(root, readonly[i], AT_RECURSIVE);
		limit(tree, MOUNT_ATTR_RDONLY, 0);
		attach(tree, root, readonly[i]);
	}
	for (size_t i = 0; i < sizeof masked / sizeof *masked; i++)
		attach(copy_of(root, "dev/null", 0), root, masked[i]);
	char order;
	must(read(go[0], &order, 1), "wait for the order");
	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
	for (int cap = 0; cap <= 40; cap++)
		if (cap != 5 && cap != 10 && cap != 29) /* kill, net_bind_service, audit_write */
			prctl(PR_CAPBSET_DROP, cap);
	must(syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC), "close_range");
	execve("/bin/true", (char *[]){ "true", NULL }, (char *[]){ "PATH=/bin", "TERM=xterm", NULL });
	must(-1, "execve");
}

/* Makes namespaces and root, and forks init, which becomes a child of the caller. */
static pid_t start(const char *bundle)
{
	static volatile pid_t child; /* shared with the caller, who waits */
	pid_t maker = must(vfork(), "vfork");
	if (maker == 0) {
		struct ifreq loopback = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
		must(unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET), "unshare");
		int s = must(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
		must(ioctl(s, SIOCSIFFLAGS, &loopback), "loopback");
		close(s);
		make_root(bundle);
		struct clone_args args = { .flags = CLONE_NEWPID | CLONE_PARENT };
		if (group_fd >= 0) {
			args.flags |= CLONE_INTO_CGROUP;
			args.cgroup = group_fd;
		}
		child = must(syscall(SYS_clone3, &args, sizeof args), "clone3");
		if (child == 0)
			init();
		_exit(0);
	}
	int status;
	must(waitpid(maker, &status, 0), "wait");
	if (status != 0)
		exit(1);
	return child;
}

int main(int argc, char **argv)
{
	if (argc < 5 || argc - 5 > MAX_V1) {
		fprintf(stderr, "usage: floor BUNDLE STATE GROUP UNIFIED [V1...]\n");
		return 2;
	}
	const char *bundle = argv[1], *state = argv[2];
	char path[PATH], new_path[PATH];
	int status;
	umask(0);
	for (v1_count = 0; 5 + v1_count < argc; v1_count++)
		v1_mount[v1_count] = argv[5 + v1_count];
	if (*argv[4])
		snprintf(unified, PATH, "%s/%s", argv[4], argv[3]);
	snprintf(path, PATH, "%s/config.json", bundle);
	int config = must(open(path, O_RDONLY | O_CLOEXEC), path);
	must(read(config, spec, sizeof spec), path);
	close(config);
	must(mkdir(state, 0700), state);
	write_file(O_CREAT | O_EXCL, spec, 400, "%s/cgroup.json", state);
	make_groups(argv[3]);
	must(pipe2(go, O_CLOEXEC), "pipe");
	pid_t child = start(bundle);
	write_file(O_CREAT | O_EXCL, spec, 744, "%s/state.new", state);
	snprintf(new_path, PATH, "%s/state.new", state);
	snprintf(path, PATH, "%s/state.json", state);
	must(rename(new_path, path), path);
	must(write(go[1], "", 1), "order");
	must(waitpid(child, &status, __WALL), "wait");
	for (int i = 0; i < v1_count; i++)
		must(rmdir(v1_group[i]), v1_group[i]);
	if (*unified)
		must(rmdir(unified), unified);
	must(unlink(path), path);
	snprintf(path, PATH, "%s/cgroup.json", state);
	must(unlink(path), path);
	must(rmdir(state), state);
	return WEXITSTATUS(status);
}
