/* Arithmetic of 64 bits that gcc asks for. Debian's libgcc has it for the m68020, and not for ColdFire. */
#include <stdint.h>

union wide {
	uint64_t whole;
	struct { uint32_t high, low; };
};

uint64_t __ashldi3(uint64_t value, int by)
{
	union wide v = {value};
	if (by & 32)
		v.high = v.low << (by & 31), v.low = 0;
	else if (by)
		v.high = v.high << by | v.low >> (32 - by), v.low <<= by;
	return v.whole;
}

uint64_t __lshrdi3(uint64_t value, int by)
{
	union wide v = {value};
	if (by & 32)
		v.low = v.high >> (by & 31), v.high = 0;
	else if (by)
		v.low = v.low >> by | v.high << (32 - by), v.high >>= by;
	return v.whole;
}

int64_t __ashrdi3(int64_t value, int by)
{
	union wide v = {(uint64_t)value};
	if (by & 32)
		v.low = (uint32_t)((int32_t)v.high >> (by & 31)), v.high = (uint32_t)((int32_t)v.high >> 31);
	else if (by)
		v.low = v.low >> by | v.high << (32 - by), v.high = (uint32_t)((int32_t)v.high >> by);
	return (int64_t)v.whole;
}

uint64_t __muldi3(uint64_t a, uint64_t b)
{
	union wide x = {a}, y = {b}, product;
	uint32_t xl = x.low & 0xffff, xh = x.low >> 16, yl = y.low & 0xffff, yh = y.low >> 16;
	uint32_t low = xl * yl, middle = xh * yl + (low >> 16), other = xl * yh + (middle & 0xffff);

	product.low = other << 16 | (low & 0xffff);
	product.high = xh * yh + (middle >> 16) + (other >> 16) + x.high * y.low + x.low * y.high;
	return product.whole;
}
