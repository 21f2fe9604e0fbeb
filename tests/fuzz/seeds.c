#include "tests/fuzz/fuzz.h"

uint8_t *fuzz_copy(int first, const void *data, size_t size, size_t *out_size)
{
	size_t head = first >= 0;
	uint8_t *copy = malloc(size + 1);
	MUST(copy);
	if (head)
		copy[0] = (uint8_t)first;
	if (size)
		memcpy(copy + head, data, size);
	*out_size = size + head;
	return copy;
}
