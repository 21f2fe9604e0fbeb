/* `-o remount`: what mount(8) has a helper do to change how the kernel shows a mount that is there. */
#ifndef WOMBAT_FS_REMOUNT_H
#define WOMBAT_FS_REMOUNT_H

#include <stdbool.h>

#include "fs/mount.h"

/* Gives the mount on the mount point the flags among the options (ro, rw, noatime, nodev, ...); everything else stays as it was
 * mounted. False: it cannot be, and the log has a sentence. */
bool remount(const struct mount_options *o);

#endif
