/* Remounting: see remount.h. The daemon that serves the mount is not asked: all this is the kernel's. */
#include "fs/remount.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "fs/log.h"
#include "fs/mountinfo.h"

/* As options.c passes them on. */
static unsigned long flag_of(const char *option)
{
	static const struct { const char *name; unsigned long flag; } flags[] = {
		{ "ro", MS_RDONLY }, { "nodev", MS_NODEV }, { "nosuid", MS_NOSUID }, { "noexec", MS_NOEXEC },
		{ "sync", MS_SYNCHRONOUS }, { "dirsync", MS_DIRSYNC }, { "noatime", MS_NOATIME }, { "atime", MS_RELATIME },
	};
	for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
		if (strcmp(flags[i].name, option) == 0)
			return flags[i].flag;
	return 0;
}

bool remount(const struct mount_options *o)
{
	struct mountinfo info;
	char *options = strdup(o->fuse_options), *rest = NULL;
	unsigned long flags = MS_REMOUNT;
	if (!options) {
		log_error("out of memory");
		return false;
	}
	for (char *option = strtok_r(options, ",", &rest); option; option = strtok_r(NULL, ",", &rest))
		flags |= flag_of(option);
	free(options);
	if (!mountinfo_find(o->mountpoint, &info) || strcmp(info.type, "fuse.wombatfs") != 0) {
		log_error("%s: no database is mounted there, so there is nothing to remount", o->mountpoint);
		return false;
	}
	if (mount(NULL, o->mountpoint, NULL, flags, NULL) != 0) {
		log_error("%s: it cannot be remounted: %s", o->mountpoint, strerror(errno));
		return false;
	}
	return true;
}
