/* Text and numbers for the console. */
#include "kernel.h"

static void put_number(uint64_t number, unsigned base)
{
	char digits[20];
	int count = 0;

	do {
		unsigned digit = 0;
		if (base == 16) {
			digit = number & 15;
			number >>= 4;
		} else {  /* no division of 64 bits, which 32-bit targets leave to a library */
			uint64_t rest = 0, quotient = 0;
			for (int bit = 63; bit >= 0; bit--) {
				rest = rest << 1 | (number >> bit & 1);
				quotient <<= 1;
				if (rest >= 10) {
					rest -= 10;
					quotient |= 1;
				}
			}
			digit = (unsigned)rest;
			number = quotient;
		}
		digits[count++] = "0123456789abcdef"[digit];
	} while (number);
	while (count)
		console_put(digits[--count]);
}

static void put_text(const char *text)
{
	while (*text)
		console_put(*text++);
}

void say_numbers(const char *format, const int64_t *numbers)
{
	for (; *format; format++) {
		if (*format != '%') {
			console_put(*format);
			continue;
		}
		int64_t number = *++numbers;
		char kind = *++format;
		if (kind == 'v')
			kind = number > -4096 && number < 65536 ? 'd' : 'x';
		if (kind == 's') {
			put_text((const char *)(intptr_t)number);
		} else if (kind == 'x') {
			put_text("0x");
			put_number((uint64_t)number, 16);
		} else {
			if (number < 0)
				console_put('-');
			put_number(number < 0 ? -(uint64_t)number : (uint64_t)number, 10);
		}
	}
}

_Noreturn void fail(const char *why, int64_t number)
{
	say("%s: %v\n", (intptr_t)why, number);
	machine_stop(1);
}
