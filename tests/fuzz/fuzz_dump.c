/*
 * The text that `wombat load` reads: any bytes end in an exit code; what is loaded is dumped as text that loads, into
 * another database and as tables, to the same text.
 */
#include <stdarg.h>

#include "engine/db/db.h"
#include "engine/env/env_mem.h"
#include "engine/tool/tool_dump.c"
#include "tests/fuzz/fuzz.h"

/* What the verbs need of the command around them; none of it is asked here. */
int complain(enum tool_exit code, const char *format, ...)
{
	char sentence[8192];
	va_list args;
	va_start(args, format);
	vsnprintf(sentence, sizeof sentence, format, args);
	va_end(args);
	return code;
}

int complain_status(enum wombat_status status)
{
	return status == WOMBAT_OK ? TOOL_OK : TOOL_IO;
}

int tool_open(struct tool *t, unsigned flags)
{
	(void)flags;
	return t->db ? TOOL_OK : TOOL_NOT_FOUND;
}

int tool_no_options(struct tool *t, int argc, char **argv)
{
	(void)t;
	(void)argc;
	(void)argv;
	return 0;
}

int tool_next_option(struct tool *t, int argc, char **argv, const struct option *options)
{
	(void)t;
	(void)argc;
	(void)argv;
	(void)options;
	return -1;
}

int tool_take_dir(struct tool *t, int argc, char **argv, int least, int most)
{
	(void)t;
	(void)argc;
	(void)argv;
	(void)least;
	return most;
}

static struct env *begin(struct tool *t)
{
	struct env *env;
	struct wombat_options *o = wombat_options_new();
	MUST(o && wombat_options_set(o, "wal_file_size", "64K") == WOMBAT_OK && wombat_options_set(o, "mem_table_size", "64K") == WOMBAT_OK &&
	     wombat_options_set(o, "log_level", "off") == WOMBAT_OK && env_mem_new(&env) == WOMBAT_OK &&
	     db_open_env(env, "/db", o, WOMBAT_CREATE, &t->db) == WOMBAT_OK);
	wombat_options_free(o);
	env_mem_set_now(env, 1000); /* nothing expires meanwhile */
	return env;
}

static void end(struct tool *t, struct env *env)
{
	MUST(wombat_close(t->db) == WOMBAT_OK);
	env->calls->free(env);
}

static int load(struct tool *t, const void *text, size_t size, bool bulk)
{
	FILE *in = size ? fmemopen((void *)text, size, "rb") : fopen("/dev/null", "rb");
	struct loader l = { .tool = t, .name = "input", .batch = wombat_batch_new() };
	MUST(in && l.batch && (!bulk || wombat_ingest_new(t->db, &l.ingest) == WOMBAT_OK));
	int code = load_lines(&l, in);
	wombat_ingest_free(l.ingest);
	wombat_batch_free(l.batch);
	fclose(in);
	return code;
}

static char *dump(struct tool *t, size_t *out_size)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, out_size);
	MUST(out && dump_all(t, out) == TOOL_OK && fclose(out) == 0);
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Kept over inputs that write nothing: only the last line has records written. */
	static struct tool a;
	static struct env *env;
	struct tool b = { 0 };
	if (!env)
		env = begin(&a);
	int code = load(&a, data, size, false);
	MUST(code == TOOL_OK || code == TOOL_DAMAGED || code == TOOL_IO);
	if (code == TOOL_OK) {
		size_t a_size, b_size;
		struct env *other = begin(&b);
		char *first = dump(&a, &a_size);
		/* A time of 0 becomes the present one, and a record that has expired is not dumped: so the second text is compared. */
		/* As tables a large value would be whole in memory. */
		MUST(load(&b, first, a_size, !memmem(first, a_size, "\nlarge\t", 7)) == TOOL_OK);
		char *second = dump(&b, &b_size);
		MUST(a_size == b_size && memcmp(first, second, a_size) == 0);
		free(first);
		free(second);
		end(&b, other);
	}
	if (size && memmem(data, size, "\nend\t", 5)) {
		end(&a, env);
		env = NULL;
	}
	return 0;
}

uint8_t *fuzz_seed(unsigned n, size_t *out_size)
{
	static const char *const seeds[] = {
		"wombat-dump 1\nend\t0\n",
		"wombat-dump 1\nrecord\t1\t5\t0\t=key\t=\t=value\nend\t1\n",
		"wombat-dump 1\nrecord\t2\t1784110214123456789\t0\t=a\\x00b\\\\\t=attr\t~AAECAwQF\nrecord\t254\t7\t0\t=\t=\t=\nend\t2\n",
		"wombat-dump 1\nrecord\t1\t1\t1\t=old\t=\t=expired\nrecord\t1\t2\t18446744073709551615\t=k\t~/w==\t=\nend\t2\n",
		"wombat-dump 1\nrecord\t1\t5\t0\t=key\t=\t=value\n",
		"wombat-dump 2\nend\t0\n",
		"wombat-dump 2\nlarge\t1\t5\t0\t=key\t=attr\t2000000\npiece\t0\t=begin\npiece\t1000000\t~AAEC\npiece\t1999997\t=end\npieces\t3\nend\t1\n",
		"wombat-dump 2\nlarge\t1\t5\t0\t=small\t=\t9\npiece\t4\t=x\npieces\t1\nrecord\t1\t5\t0\t=z\t=\t=value\nend\t2\n",
		"wombat-dump 2\nlarge\t1\t5\t0\t=zeros\t=\t8589934592\npieces\t0\nend\t1\n",
		"wombat-dump 3\nend\t0\n",
	};
	if (n >= sizeof seeds / sizeof seeds[0])
		return NULL;
	return fuzz_copy(-1, seeds[n], strlen(seeds[n]), out_size);
}
