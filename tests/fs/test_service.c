/*
 * fs/service over the wire, with its own threads: every request has one reply, its own, whoever sends it and however
 * many are under way; one that waits for the disk holds up no other while there are threads; and the threads end, busy
 * or idle, with what they had begun answered. Run it under TSan.
 *
 * "Waits for the disk" is a gate before each sync of the memory environment, so that nothing here depends on time.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/env/env_mem.h"
#include "fs/service.h"
#include "tests/support/check.h"
#include "tests/support/fuse_wire.h"

enum {
	CLIENTS = 4,
	ROUNDS = 60,
	IN_FLIGHT = 100,
	REPLY_MAX = 1024,
};

#define PART(x) { .iov_base = (void *)&(x), .iov_len = sizeof(x) }
#define PART_BYTES(data, size) { .iov_base = (void *)(uintptr_t)(data), .iov_len = (size) }
#define COUNT(parts) (sizeof(parts) / sizeof((parts)[0]))

/* ---- The gate ---- */

struct gate {
	pthread_mutex_t mu;
	pthread_cond_t changed;
	bool closed;
	unsigned waiting;
};

static struct gate gate = { .mu = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

/* The engine's own threads sync when they like, a segment made ahead for instance: they are let through. */
static bool is_engine_thread(void)
{
	char name[16] = "";
	pthread_getname_np(pthread_self(), name, sizeof(name));
	return strncmp(name, "wombat-", strlen("wombat-")) == 0;
}

static void pass_gate_any(void *arg, const char *path)
{
	struct gate *g = arg;
	(void)path;
	pthread_mutex_lock(&g->mu);
	g->waiting++;
	pthread_cond_broadcast(&g->changed);
	while (g->closed)
		pthread_cond_wait(&g->changed, &g->mu);
	g->waiting--;
	pthread_mutex_unlock(&g->mu);
}

static void pass_gate(void *arg, const char *path)
{
	if (!is_engine_thread())
		pass_gate_any(arg, path);
}

static void set_gate(bool closed)
{
	pthread_mutex_lock(&gate.mu);
	gate.closed = closed;
	pthread_cond_broadcast(&gate.changed);
	pthread_mutex_unlock(&gate.mu);
}

static void wait_for_somebody_at_gate(void)
{
	pthread_mutex_lock(&gate.mu);
	while (gate.waiting == 0)
		pthread_cond_wait(&gate.changed, &gate.mu);
	pthread_mutex_unlock(&gate.mu);
}

/* ---- Messages ---- */

static uint64_t send_getattr(struct fuse_wire *w, uint64_t node, uint32_t pid)
{
	struct fuse_getattr_in in = { 0 };
	const struct iovec parts[] = { PART(in) };
	return wire_send(w, FUSE_GETATTR, node, (struct wire_who){ .pid = pid }, parts, COUNT(parts));
}

static uint64_t send_fsync(struct fuse_wire *w, uint64_t node, uint64_t fh)
{
	struct fuse_fsync_in in = { .fh = fh };
	const struct iovec parts[] = { PART(in) };
	return wire_send(w, FUSE_FSYNC, node, w->who, parts, COUNT(parts));
}

static uint64_t receive_ok(struct fuse_wire *w)
{
	struct fuse_out_header header;
	char body[REPLY_MAX];
	wire_receive(w, &header, body, sizeof(body));
	assert_int_equal(header.error, 0);
	return header.unique;
}

/* A request is answered, and nothing else is first. */
static void check_answered(struct fuse_wire *w, uint64_t node)
{
	uint64_t sent = send_getattr(w, node, 1);
	assert_int_equal(receive_ok(w), sent);
}

static bool has_reply(const struct fuse_wire *w)
{
	char byte;
	return recv(w->fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) > 0;
}

/* An open file with something to sync, made before the threads are started. */
static uint64_t open_dirty(struct fuse_wire *w, const char *name, uint64_t *out_fh)
{
	struct fuse_entry_out e;
	assert_int_equal(wire_create(w, WIRE_ROOT, name, 0644, O_RDWR, &e, out_fh), 0);
	assert_int_equal(wire_write(w, e.nodeid, *out_fh, O_RDWR, 0, name, strlen(name)), 0);
	return e.nodeid;
}

static void close_file(struct fuse_wire *w, uint64_t node, uint64_t fh)
{
	assert_int_equal(wire_flush(w, node, fh), 0);
	assert_int_equal(wire_release(w, node, fh, O_RDWR), 0);
}

/* ---- Several clients ---- */

/* Who waits for replies: the one thread that receives them hands each to the client that asked. */
struct post {
	struct fuse_wire *w;
	pthread_mutex_t mu;
	pthread_cond_t arrived;
	struct letter {
		struct letter *next;
		struct fuse_out_header header;
		size_t size;
		uint8_t body[REPLY_MAX];
	} *letters; /* guarded by mu */
};

/* Ends with the reply to the one request that is no operation. */
static void *deliver(void *arg)
{
	struct post *p = arg;
	for (bool last = false; !last;) {
		struct letter *l = calloc(1, sizeof(*l));
		assert_non_null(l);
		l->size = wire_receive(p->w, &l->header, l->body, sizeof(l->body));
		last = l->header.error == -ENOSYS;
		pthread_mutex_lock(&p->mu);
		l->next = p->letters;
		p->letters = l;
		pthread_cond_broadcast(&p->arrived);
		pthread_mutex_unlock(&p->mu);
	}
	return NULL;
}

static struct letter *take_letter(struct post *p, uint64_t unique)
{
	for (struct letter **at = &p->letters; *at; at = &(*at)->next) {
		struct letter *l = *at;
		if (l->header.unique != unique)
			continue;
		*at = l->next;
		return l;
	}
	return NULL;
}

/* The reply's error; its body in `out`. */
static int ask(struct post *p, uint32_t opcode, uint64_t node, uint32_t pid, const struct iovec *parts, size_t count,
	       void *out, size_t size)
{
	struct letter *l;
	uint64_t unique = wire_send(p->w, opcode, node, (struct wire_who){ 1000, 1000, pid }, parts, count);
	pthread_mutex_lock(&p->mu);
	while (!(l = take_letter(p, unique)))
		pthread_cond_wait(&p->arrived, &p->mu);
	pthread_mutex_unlock(&p->mu);
	int error = -l->header.error;
	assert_true(l->size <= size || error);
	if (l->size)
		memcpy(out, l->body, l->size);
	free(l);
	return error;
}

#define ASK(p, opcode, node, pid, parts, out, size) ask(p, opcode, node, pid, parts, COUNT(parts), out, size)

struct client {
	struct post *post;
	uint32_t pid;
	unsigned wrong;
};

/* A whole life of a file, each reply checked. Failures are counted: cmocka's assertions are for the main thread. */
static unsigned live_once(struct post *p, uint32_t pid, unsigned round)
{
	char name[32], text[32];
	snprintf(name, sizeof(name), "f%u-%u", pid, round);
	int size = snprintf(text, sizeof(text), "of %u, %u", pid, round);
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} made;
	struct fuse_create_in create = { .flags = O_RDWR, .mode = 0100644 };
	const struct iovec create_parts[] = { PART(create), PART_BYTES(name, strlen(name) + 1) };
	if (ASK(p, FUSE_CREATE, WIRE_ROOT, pid, create_parts, &made, sizeof(made)))
		return 1;
	uint64_t node = made.entry.nodeid;
	unsigned wrong = 0;

	struct fuse_write_in write = { .fh = made.open.fh, .size = (uint32_t)size, .flags = O_RDWR };
	const struct iovec write_parts[] = { PART(write), PART_BYTES(text, (size_t)size) };
	struct fuse_write_out written = { 0 };
	wrong += ASK(p, FUSE_WRITE, node, pid, write_parts, &written, sizeof(written)) || written.size != write.size;

	struct fuse_flush_in flush = { .fh = made.open.fh };
	const struct iovec flush_parts[] = { PART(flush) };
	wrong += ASK(p, FUSE_FLUSH, node, pid, flush_parts, NULL, 0) != 0;

	struct fuse_read_in read = { .fh = made.open.fh, .size = 100 };
	const struct iovec read_parts[] = { PART(read) };
	char got[100] = { 0 };
	wrong += ASK(p, FUSE_READ, node, pid, read_parts, got, sizeof(got)) || strcmp(got, text) != 0;

	if (round % 8 == 0) {
		struct fuse_fsync_in sync = { .fh = made.open.fh };
		const struct iovec sync_parts[] = { PART(sync) };
		wrong += ASK(p, FUSE_FSYNC, node, pid, sync_parts, NULL, 0) != 0;
	}
	const struct iovec name_parts[] = { PART_BYTES(name, strlen(name) + 1) };
	wrong += ASK(p, FUSE_UNLINK, WIRE_ROOT, pid, name_parts, NULL, 0) != 0;
	wrong += ASK(p, FUSE_UNLINK, WIRE_ROOT, pid, name_parts, NULL, 0) != ENOENT;

	struct fuse_release_in release = { .fh = made.open.fh, .flags = O_RDWR };
	const struct iovec release_parts[] = { PART(release) };
	wrong += ASK(p, FUSE_RELEASE, node, pid, release_parts, NULL, 0) != 0;
	struct fuse_forget_in forget = { .nlookup = 1 };
	const struct iovec forget_parts[] = { PART(forget) };
	wire_send(p->w, FUSE_FORGET, node, (struct wire_who){ .pid = pid }, forget_parts, COUNT(forget_parts));
	return wrong;
}

static void *live(void *arg)
{
	struct client *c = arg;
	for (unsigned round = 0; round < ROUNDS; round++)
		c->wrong += live_once(c->post, c->pid, round);
	return NULL;
}

static void test_several_clients(void **state)
{
	struct fuse_wire *w = *state;
	struct post p = { .w = w, .mu = PTHREAD_MUTEX_INITIALIZER, .arrived = PTHREAD_COND_INITIALIZER };
	struct client clients[CLIENTS];
	pthread_t threads[CLIENTS], postman;
	wire_start_threads(w);
	assert_int_equal(pthread_create(&postman, NULL, deliver, &p), 0);
	for (uint32_t i = 0; i < CLIENTS; i++) {
		clients[i] = (struct client){ .post = &p, .pid = i + 1 };
		assert_int_equal(pthread_create(&threads[i], NULL, live, &clients[i]), 0);
	}
	for (size_t i = 0; i < CLIENTS; i++)
		pthread_join(threads[i], NULL);
	/* No such operation: the postman's sign to go home. */
	uint64_t last = wire_send(w, 4000, WIRE_ROOT, w->who, NULL, 0);
	pthread_join(postman, NULL);
	wire_stop_threads(w);
	struct letter *l = take_letter(&p, last);
	assert_non_null(l);
	free(l);
	assert_null(p.letters);
	for (size_t i = 0; i < CLIENTS; i++)
		assert_int_equal(clients[i].wrong, 0);
	char *names = wire_list(w, WIRE_ROOT, 4096, false);
	assert_string_equal(names, "");
	test_free(names);
}

/* Many are sent before the first reply is taken: as many come back, each once. */
static void test_many_in_flight(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t first = 0;
	bool seen[IN_FLIGHT] = { false };
	wire_start_threads(w);
	for (uint32_t i = 0; i < IN_FLIGHT; i++) {
		uint64_t unique = send_getattr(w, WIRE_ROOT, 1 + i % 3);
		if (i == 0)
			first = unique;
	}
	for (size_t i = 0; i < IN_FLIGHT; i++) {
		uint64_t at = (receive_ok(w) - first) / 2;
		assert_true(at < IN_FLIGHT);
		assert_false(seen[at]);
		seen[at] = true;
	}
	assert_false(has_reply(w));
}

/* ---- What takes long ---- */

static void test_sync_holds_up_nobody(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t fh, f = open_dirty(w, "f", &fh);
	env_mem_on_sync(w->env, pass_gate, &gate);
	wire_start_threads(w);
	set_gate(true);
	uint64_t sync = send_fsync(w, f, fh);
	wait_for_somebody_at_gate();
	for (uint32_t i = 0; i < IN_FLIGHT; i++)
		check_answered(w, f);
	assert_false(has_reply(w));
	set_gate(false);
	assert_int_equal(receive_ok(w), sync);
	wire_stop_threads(w);
	close_file(w, f, fh);
}

static enum wombat_status read_gate(void *arg, const char *op, const char *path)
{
	if (strcmp(op, "reader_read") == 0 && strstr(path, ".sst"))
		pass_gate(arg, path);
	return WOMBAT_OK;
}

static uint64_t send_read(struct fuse_wire *w, uint64_t node, uint64_t fh)
{
	struct fuse_read_in in = { .fh = fh, .size = 4096 };
	const struct iovec parts[] = { PART(in) };
	return wire_send(w, FUSE_READ, node, w->who, parts, COUNT(parts));
}

static void receive_text(struct fuse_wire *w, uint64_t unique, const char *text)
{
	struct fuse_out_header header;
	char body[REPLY_MAX] = "";
	size_t size = wire_receive(w, &header, body, sizeof body);
	assert_int_equal(header.error, 0);
	assert_true(header.unique == unique && size == strlen(text) && memcmp(body, text, size) == 0);
}

/* Files whose content is in tables, and nothing of them in memory. */
static void put_cold(struct fuse_wire *w)
{
	struct wombat_setting none = { "block_cache_size", "0" };
	wire_put(w, WIRE_ROOT, "f", "content");
	wire_put(w, WIRE_ROOT, "g", "another");
	wire_put(w, WIRE_ROOT, "other", "other");
	assert_int_equal(wombat_flush(w->m.db), WOMBAT_OK);
	assert_int_equal(wombat_snapshot_create(w->m.db, "one"), WOMBAT_OK);
	wire_reopen(w);
	assert_int_equal(wombat_set(w->m.db, &none, 1), WOMBAT_OK);
}

/* With the request before the gate others are answered. */
static void check_others(struct fuse_wire *w, uint64_t other)
{
	wait_for_somebody_at_gate();
	for (uint32_t i = 0; i < IN_FLIGHT; i++)
		check_answered(w, other);
	assert_false(has_reply(w));
	set_gate(false);
}

static void test_lookup_holds_up_nobody(void **state)
{
	struct fuse_wire *w = *state;
	struct fuse_entry_out e[2];
	put_cold(w);
	uint64_t other = wire_walk(w, "other"), dirs[2] = { WIRE_ROOT, wire_walk(w, ".wombat/snapshot/one") };
	const struct iovec parts[] = { PART_BYTES("g", 2) };
	env_mem_on_call(w->env, read_gate, &gate);
	wire_start_threads(w);
	for (unsigned i = 0; i < 2; i++) {
		struct fuse_out_header header;
		set_gate(true);
		wire_send(w, FUSE_LOOKUP, dirs[i], w->who, parts, COUNT(parts));
		check_others(w, other);
		assert_int_equal(wire_receive(w, &header, &e[i], sizeof e[i]), sizeof e[i]);
		assert_true(header.error == 0 && e[i].attr.size == 7);
	}
	wire_stop_threads(w);
	env_mem_on_call(w->env, NULL, NULL);
	for (unsigned i = 0; i < 2; i++) {
		struct fuse_forget_in forget = { .nlookup = 1 };
		const struct iovec forget_parts[] = { PART(forget) };
		wire_tell(w, FUSE_FORGET, e[i].nodeid, forget_parts, COUNT(forget_parts));
	}
}

/* What is not in memory is read while others go on, and change the very file. */
static void test_read_holds_up_nobody(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t fh, snapshot_fh;
	put_cold(w);
	uint64_t f = wire_walk(w, "f"), other = wire_walk(w, "other"), kept = wire_walk(w, ".wombat/snapshot/one/f");
	assert_int_equal(wire_open_file(w, f, O_RDWR, &fh), 0);
	assert_int_equal(wire_open_file(w, kept, O_RDONLY, &snapshot_fh), 0);
	env_mem_on_call(w->env, read_gate, &gate);
	wire_start_threads(w);
	set_gate(true);
	uint64_t read = send_read(w, f, fh);
	check_others(w, other);
	receive_text(w, read, "content");
	set_gate(true);
	read = send_read(w, kept, snapshot_fh);
	check_others(w, other);
	receive_text(w, read, "content");

	/* Emptied, written and committed meanwhile: it is what it was at a moment between, and then what it is. */
	set_gate(true);
	read = send_read(w, f, fh);
	wait_for_somebody_at_gate();
	struct fuse_setattr_in empty = { .valid = FATTR_SIZE | FATTR_FH, .fh = fh };
	struct fuse_write_in write = { .fh = fh, .size = 3, .flags = O_RDWR };
	struct fuse_flush_in flush = { .fh = fh };
	const struct iovec empty_parts[] = { PART(empty) }, write_parts[] = { PART(write), PART_BYTES("new", 3) },
			   flush_parts[] = { PART(flush) };
	wire_send(w, FUSE_SETATTR, f, w->who, empty_parts, COUNT(empty_parts));
	receive_ok(w);
	wire_send(w, FUSE_WRITE, f, w->who, write_parts, COUNT(write_parts));
	receive_ok(w);
	wire_send(w, FUSE_FLUSH, f, w->who, flush_parts, COUNT(flush_parts));
	receive_ok(w);
	set_gate(false);
	receive_text(w, read, "new");
	receive_text(w, send_read(w, f, fh), "new");
	receive_text(w, send_read(w, kept, snapshot_fh), "content");
	wire_stop_threads(w);
	env_mem_on_call(w->env, NULL, NULL);
	close_file(w, f, fh);
	assert_int_equal(wire_release(w, kept, snapshot_fh, O_RDONLY), 0);
}

/* A command in the control directory says itself that it may block. */
static void test_command_holds_up_nobody(void **state)
{
	struct fuse_wire *w = *state;
	struct fuse_entry_out e;
	uint64_t fh;
	wire_put(w, WIRE_ROOT, "f", "text");
	w->who.uid = getuid();
	assert_int_equal(wire_lookup(w, wire_walk(w, ".wombat"), "ctl", &e), 0);
	assert_int_equal(wire_open_file(w, e.nodeid, O_WRONLY, &fh), 0);
	env_mem_on_sync(w->env, pass_gate_any, &gate);
	wire_start_threads(w);
	set_gate(true);
	struct fuse_write_in in = { .fh = fh, .size = 6 };
	const struct iovec parts[] = { PART(in), PART_BYTES("flush\n", 6) };
	uint64_t command = wire_send(w, FUSE_WRITE, e.nodeid, w->who, parts, COUNT(parts));
	wait_for_somebody_at_gate();
	for (uint32_t i = 0; i < IN_FLIGHT; i++)
		check_answered(w, WIRE_ROOT);
	set_gate(false);
	assert_int_equal(receive_ok(w), command);
	wire_stop_threads(w);
	assert_int_equal(wire_release(w, e.nodeid, fh, O_WRONLY), 0);
}

/* With one thread it waits, and is answered after. */
static void test_one_thread(void **state)
{
	struct fuse_wire w;
	uint64_t fh;
	(void)state;
	wire_start(&w, "max_threads=1");
	uint64_t f = open_dirty(&w, "f", &fh);
	env_mem_on_sync(w.env, pass_gate, &gate);
	wire_start_threads(&w);
	set_gate(true);
	uint64_t sync = send_fsync(&w, f, fh);
	wait_for_somebody_at_gate();
	uint64_t other = send_getattr(&w, f, 1);
	assert_false(has_reply(&w));
	set_gate(false);
	assert_int_equal(receive_ok(&w), sync);
	assert_int_equal(receive_ok(&w), other);
	wire_stop_threads(&w);
	close_file(&w, f, fh);
	wire_stop(&w);
}

/* As many wait as there are threads; the next request is answered when one of them is done. */
static void test_all_threads_wait(void **state)
{
	struct fuse_wire w;
	uint64_t fh[3], f[3], sent[4];
	bool seen[4] = { false };
	(void)state;
	wire_start(&w, "max_threads=3");
	for (size_t i = 0; i < 3; i++)
		f[i] = open_dirty(&w, (const char *[]){ "a", "b", "c" }[i], &fh[i]);
	env_mem_on_sync(w.env, pass_gate, &gate);
	wire_start_threads(&w);
	set_gate(true);
	for (size_t i = 0; i < 3; i++)
		sent[i] = send_fsync(&w, f[i], fh[i]);
	wait_for_somebody_at_gate();
	sent[3] = send_getattr(&w, WIRE_ROOT, 1);
	set_gate(false);
	for (size_t i = 0; i < 4; i++) {
		uint64_t at = (receive_ok(&w) - sent[0]) / 2;
		assert_true(at < 4 && !seen[at]);
		seen[at] = true;
	}
	wire_stop_threads(&w);
	for (size_t i = 0; i < 3; i++)
		close_file(&w, f[i], fh[i]);
	wire_stop(&w);
}

/* ---- The end ---- */

static void *stop(void *arg)
{
	wire_stop_threads(arg);
	return NULL;
}

static void test_stop_while_busy(void **state)
{
	struct fuse_wire *w = *state;
	uint64_t fh, f = open_dirty(w, "f", &fh);
	pthread_t stopper;
	env_mem_on_sync(w->env, pass_gate, &gate);
	wire_start_threads(w);
	set_gate(true);
	uint64_t sync = send_fsync(w, f, fh);
	wait_for_somebody_at_gate();
	assert_int_equal(pthread_create(&stopper, NULL, stop, w), 0);
	set_gate(false);
	pthread_join(stopper, NULL);
	/* What was begun was ended, and what comes now is not begun. */
	assert_int_equal(receive_ok(w), sync);
	uint64_t late = send_getattr(w, WIRE_ROOT, 1);
	assert_false(has_reply(w));
	service_serve_one(w->service);
	assert_int_equal(receive_ok(w), late);
	close_file(w, f, fh);
}

/* With requests under way, of which it is answered what was begun: replies are whole, and each is to a request. */
static void test_stop_in_a_storm(void **state)
{
	struct fuse_wire *w = *state;
	pthread_t stopper;
	uint64_t last = 0;
	wire_start_threads(w);
	assert_int_equal(pthread_create(&stopper, NULL, stop, w), 0);
	for (uint32_t i = 0; i < IN_FLIGHT; i++)
		last = send_getattr(w, WIRE_ROOT, 1 + i % 3);
	pthread_join(stopper, NULL);
	unsigned answered = 0;
	for (; has_reply(w); answered++)
		assert_true(receive_ok(w) <= last);
	for (; answered < IN_FLIGHT; answered++) {
		service_serve_one(w->service);
		assert_true(receive_ok(w) <= last);
	}
	assert_false(has_reply(w));
}

static void test_stop_while_idle(void **state)
{
	struct fuse_wire *w = *state;
	int error;
	wire_start_threads(w);
	check_answered(w, WIRE_ROOT);
	wire_stop_threads(w);
	assert_false(service_has_ended(w->service, &error));
}

static void wait_for_event(const struct fuse_wire *w)
{
	struct pollfd p = { .fd = w->event_fd, .events = POLLIN };
	eventfd_t count;
	assert_int_equal(poll(&p, 1, -1), 1);
	assert_int_equal(eventfd_read(w->event_fd, &count), 0);
}

static bool has_event(const struct fuse_wire *w)
{
	eventfd_t count;
	return eventfd_read(w->event_fd, &count) == 0;
}

/* The other end is gone: the threads leave by themselves, and say so. */
static void test_end_of_connection(void **state)
{
	struct fuse_wire *w = *state;
	int error = 0;
	while (has_event(w))
		;
	wire_start_threads(w);
	assert_false(service_has_ended(w->service, &error));
	assert_int_equal(shutdown(w->fd, SHUT_WR), 0);
	wait_for_event(w);
	assert_true(service_has_ended(w->service, &error));
	assert_int_equal(error, EIO);
}

static void test_live(void **state)
{
	struct fuse_wire w;
	struct fuse_init_in in = { .major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION };
	(void)state;
	wire_open(&w, NULL);
	assert_false(service_is_live(w.service));
	assert_false(has_event(&w));
	assert_int_equal(wire_init(&w, &in), 0);
	assert_true(service_is_live(w.service));
	assert_true(has_event(&w));
	wire_stop(&w);
}

/* Told once, at the first request after the question that leaves something staged. */
static void test_watch_staged(void **state)
{
	struct fuse_wire *w = *state;
	while (has_event(w))
		;
	uint64_t fh, f = open_dirty(w, "f", &fh);
	assert_false(has_event(w));
	assert_int_equal(wire_fsync(w, f, fh), 0);
	assert_int_equal(wire_fsync(w, WIRE_ROOT, 0), 0);
	service_watch_staged(w->service);
	assert_int_equal(wire_getattr(w, f, NULL), 0);
	assert_false(has_event(w));
	assert_int_equal(wire_write(w, f, fh, O_RDWR, 0, "x", 1), 0);
	assert_true(has_event(w));
	assert_int_equal(wire_write(w, f, fh, O_RDWR, 0, "y", 1), 0);
	assert_false(has_event(w));
	close_file(w, f, fh);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, wire_setup, wire_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_several_clients),
		TEST(test_many_in_flight),
		TEST(test_sync_holds_up_nobody),
		TEST(test_lookup_holds_up_nobody),
		TEST(test_read_holds_up_nobody),
		TEST(test_command_holds_up_nobody),
		cmocka_unit_test(test_one_thread),
		cmocka_unit_test(test_all_threads_wait),
		TEST(test_stop_while_busy),
		TEST(test_stop_in_a_storm),
		TEST(test_stop_while_idle),
		TEST(test_end_of_connection),
		cmocka_unit_test(test_live),
		TEST(test_watch_staged),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
