/*
 * The threads that answer requests.
 *
 * One thread has the role of the reader: it takes a request from the kernel, answers it and reads on, so that a
 * single client is served without one hand-over between threads. What may take long must not keep the others
 * waiting: the reader then passes its role on to another thread first and answers after that.
 */
#ifndef WOMBAT_FS_SERVICE_H
#define WOMBAT_FS_SERVICE_H

#include <stdbool.h>

#include "fs/mount.h"

struct service;

/*
 * A service over m->session, which is mounted. `event_fd` is an eventfd that is written whenever one of the
 * questions below may have a new answer, and when a file has become staged (m->counts.staged_files).
 * Order: new, (start | serve_one*), stop, free.
 */
struct service *service_new(struct mount *m, int event_fd);
void service_free(struct service *s);

/* Starts the first thread; the others come as they are needed, m->options.max_threads in all. 0 or an errno. */
int service_start(struct service *s);
/* Instead of threads: answers one request on this thread. Blocks until there is one. */
void service_serve_one(struct service *s);
/* Ends the threads: each finishes the request it has. */
void service_stop(struct service *s);

/* The kernel's INIT was answered: the mount is live. */
bool service_is_live(const struct service *s);
/* The mount is gone, or reading from the kernel failed with this errno; 0: it was unmounted. */
bool service_has_ended(const struct service *s, int *out_error);
/* Asks for an event at the next request that leaves something staged. */
void service_watch_staged(struct service *s);

/*
 * An operation's own word that what comes next may take long: a read from the disk, a sync, waiting for a
 * compaction. The role of the reader goes to another thread. Does nothing on a thread that has it not.
 */
void service_may_block(void);

/* The request that this thread is answering, from its fuse_in_header on; NULL on other threads. */
const void *service_request(void);

/* The request that this thread works on is answered, with an errno or 0. */
void service_note_reply(int error);

#endif
