/* A PC: its serial port, the scan of its PCI bus, and QEMU's device that ends the machine. */
#include "kernel.h"
#include "pc.h"

#define COM1 0x3f8
#define PCI_ADDRESS 0xcf8
#define PCI_DATA 0xcfc
#define EXIT 0xf4  /* isa-debug-exit: status n ends QEMU with 2 n + 1 */

void console_put(char c)
{
	while (!(in8(COM1 + 5) & 0x20))  /* the transmitter is empty */
		;
	out8(COM1, (uint8_t)c);
}

int console_get(void)
{
	return in8(COM1 + 5) & 1 ? in8(COM1) : -1;
}

_Noreturn void machine_stop(int status)
{
	say("status %d\n", status);
	out32(EXIT, (uint32_t)status);
	for (;;)
		__asm__ volatile("cli; hlt");
}

int last_word(const char *line)
{
	int first = 0;

	for (char before = ' '; *line; before = *line++)
		first = before == ' ' && *line != ' ' ? *line : first;
	return first;
}

static uint32_t pci_read(uint32_t at)
{
	out32(PCI_ADDRESS, 1u << 31 | at);
	return in32(PCI_DATA);
}

static void pci_write(uint32_t at, uint32_t value)
{
	out32(PCI_ADDRESS, 1u << 31 | at);
	out32(PCI_DATA, value);
}

/* Bytes of the memory that a base address register asks for: its writable bits tell. */
static uint64_t bar_bytes(uint32_t at, uint32_t low, int wide)
{
	uint32_t high = wide ? pci_read(at + 4) : 0, command = pci_read((at & ~0xffu) + 4);

	pci_write((at & ~0xffu) + 4, command & ~2u);  /* nothing answers meanwhile */
	pci_write(at, ~0u);
	uint64_t mask = pci_read(at) & ~15u;
	if (wide) {
		pci_write(at + 4, ~0u);
		mask |= (uint64_t)pci_read(at + 4) << 32;
		pci_write(at + 4, high);
	} else {
		mask |= ~(uint64_t)0 << 32;
	}
	pci_write(at, low);
	pci_write((at & ~0xffu) + 4, command);
	return mask & -mask;
}

/* The device of bus 0 with the largest memory. */
int find_device(struct device *device)
{
	device->bytes = 0;
	for (uint32_t at = 0; at < 32 << 11; at += 1 << 8) {
		uint32_t kind = pci_read(at + 12) >> 16 & 0x7f;
		if (pci_read(at) == ~0u || kind != 0)  /* nobody, or a bridge */
			continue;
		for (uint32_t bar = at + 0x10; bar < at + 0x28; bar += 4) {
			uint32_t low = pci_read(bar);
			int wide = (low & 7) == 4;
			if (!(low & 1) && (low & ~15u)) {
				uint64_t bytes = bar_bytes(bar, low, wide);
				if (bytes > device->bytes && bytes >= 4096) {
					device->name = "PCI";
					device->base = (low & ~15u) | (wide ? (uint64_t)pci_read(bar + 4) << 32 : 0);
					device->bytes = bytes;
				}
			}
			bar += wide ? 4 : 0;
		}
	}
	return device->bytes != 0;
}
