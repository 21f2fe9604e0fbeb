/*
 * Runs a fuzzer without libFuzzer.
 *
 *     fuzz_X [--runs N] [FILE...]      the seeds, the files, and N random changes of these (3,000); WOMBAT_SEED repeats them
 *     fuzz_X --seeds DIR               writes the seeds there, for libFuzzer to begin with
 *
 * An input that ends the process is in the file fuzz-failed of the current directory, as long as none got through after it.
 */
#include <dirent.h>
#include <stdbool.h>
#include <unistd.h>

#include "engine/base/random.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/seed.h"

enum { INPUTS_MAX = 1000, SIZE_MAX_BYTES = 1 << 20 };

static struct input {
	uint8_t *data;
	size_t size;
} inputs[INPUTS_MAX];
static unsigned input_count;

static void keep(uint8_t *data, size_t size)
{
	MUST(input_count < INPUTS_MAX);
	inputs[input_count++] = (struct input){ data, size };
}

static void read_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data = malloc(SIZE_MAX_BYTES);
	MUST(f && data);
	keep(data, fread(data, 1, SIZE_MAX_BYTES, f));
	fclose(f);
}

/* The corpus of this fuzzer, if WOMBAT_SOURCE says where the source is. */
static void read_corpus(const char *program)
{
	const char *source = getenv("WOMBAT_SOURCE"), *name = strstr(program, "fuzz_");
	for (const char *next; name && (next = strstr(name + 1, "fuzz_")) != NULL;)
		name = next;
	char dir[4096], path[4400];
	if (!source || !name)
		return;
	snprintf(dir, sizeof dir, "%s/tests/fuzz/corpus/%s", source, name + strlen("fuzz_"));
	DIR *d = opendir(dir);
	for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
		read_file(path);
	}
	if (d)
		closedir(d);
}

static void write_file(const char *path, const uint8_t *data, size_t size)
{
	FILE *f = fopen(path, "wb");
	MUST(f && fwrite(data, 1, size, f) == size && fclose(f) == 0);
}

static int write_seeds(const char *dir)
{
	size_t size;
	uint8_t *data;
	for (unsigned n = 0; (data = fuzz_seed(n, &size)) != NULL; n++) {
		char path[4096];
		snprintf(path, sizeof path, "%s/seed%03u", dir, n);
		write_file(path, data, size);
		free(data);
	}
	return 0;
}

/* ---- Random changes -------------------------------------------------------------------------- */

static void change_once(struct random_state *r, uint8_t *data, size_t *size, size_t room)
{
	static const uint8_t telling[] = { 0, 1, 0x7f, 0x80, 0xff, 0xfe, 8, 64 };
	size_t at = *size ? random_below(r, *size) : 0, n = 1 + random_below(r, 16);
	if (*size == 0)
		return;
	switch (random_below(r, 7)) {
	case 0:
		data[at] ^= (uint8_t)(1 << random_below(r, 8));
		break;
	case 1:
		data[at] = (uint8_t)random_next(r);
		break;
	case 2:
		data[at] = telling[random_below(r, sizeof telling)];
		break;
	case 3: /* cut off */
		*size = at;
		break;
	case 4: /* taken out */
		n = n < *size - at ? n : *size - at;
		memmove(data + at, data + at + n, *size - at - n);
		*size -= n;
		break;
	case 5: /* put in */
		n = n < room - *size ? n : room - *size;
		memmove(data + at + n, data + at, *size - at);
		for (size_t i = 0; i < n; i++)
			data[at + i] = (uint8_t)random_next(r);
		*size += n;
		break;
	default: /* a piece of another */
		{
			const struct input *other = &inputs[random_below(r, input_count)];
			size_t from = other->size ? random_below(r, other->size) : 0;
			n = other->size - from < *size - at ? other->size - from : *size - at;
			if (n)
				memcpy(data + at, other->data + from, n);
		}
	}
}

static void run_changed(struct random_state *r)
{
	const struct input *from = &inputs[random_below(r, input_count)];
	size_t size = from->size, room = size + 256;
	uint8_t *data = malloc(room);
	MUST(data);
	if (size)
		memcpy(data, from->data, size);
	for (unsigned n = 1 + (unsigned)random_below(r, 5); n; n--)
		change_once(r, data, &size, room);
	/* Of its exact size, so that a byte too far is seen. */
	uint8_t *exact = malloc(size ? size : 1);
	MUST(exact);
	if (size)
		memcpy(exact, data, size);
	write_file("fuzz-failed", exact, size);
	LLVMFuzzerTestOneInput(exact, size);
	free(exact);
	free(data);
}

int main(int argc, char **argv)
{
	unsigned long runs = 3000;
	size_t size;
	uint8_t *data;
	char dir[] = "/tmp/wombat-fuzz-XXXXXX", path[64];
	if (argc == 3 && strcmp(argv[1], "--seeds") == 0)
		return write_seeds(argv[2]);
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--runs") == 0 && i + 1 < argc)
			runs = strtoul(argv[++i], NULL, 10);
		else
			read_file(argv[i]);
	}
	read_corpus(argv[0]);
	for (unsigned n = 0; (data = fuzz_seed(n, &size)) != NULL; n++)
		keep(data, size);
	for (unsigned i = 0; i < input_count; i++)
		LLVMFuzzerTestOneInput(inputs[i].data, inputs[i].size);
	struct random_state r;
	random_seed(&r, test_seed(argv[0]));
	MUST(mkdtemp(dir) && chdir(dir) == 0);
	for (unsigned long i = 0; i < runs; i++)
		run_changed(&r);
	snprintf(path, sizeof path, "%s/fuzz-failed", dir);
	unlink(path);
	MUST(chdir("/") == 0 && rmdir(dir) == 0);
	for (unsigned i = 0; i < input_count; i++)
		free(inputs[i].data);
	printf("%u inputs, %lu changes of them\n", input_count, runs);
	return 0;
}
