"""What memory is called, by whoever prints a memory map: for each source, which of its words and numbers are RAM.

A table leads from a word, in lower case and without anything but letters and digits, or from a number, to a kind of
`facts.MAP_KINDS`, or to "image": RAM that a kernel filled which has been booted already.  RAM is what a kernel may use
once it has left its loader behind: also what the loader and the firmware's boot services used.
"""

import re

E820 = {1: "ram", 2: "reserved", 3: "nvram", 4: "nvram", 5: "reserved", 6: "reserved", 7: "nvram", 12: "nvram"}
"""Numbers of the BIOS call E820 and of Multiboot: ACPI 6.5, table 15.4; 12 is Linux's for old persistent memory."""

LIMINE = {
    0: "ram",
    1: "reserved",
    2: "nvram",
    3: "nvram",
    4: "reserved",
    5: "ram",
    6: "image",
    7: "reserved",
    8: "reserved",
}
"""Numbers of the Limine protocol's memory map entries."""

EFI = {
    0: "reserved",
    1: "ram",
    2: "ram",
    3: "ram",
    4: "ram",
    5: "reserved",
    6: "reserved",
    7: "ram",
    8: "reserved",
    9: "nvram",
    10: "nvram",
    11: "reserved",
    12: "reserved",
    13: "reserved",
    14: "nvram",
    15: "ram",
}
"""Numbers of EFI_MEMORY_TYPE: UEFI 2.10, table 7.6; 15 is memory that a guest has to accept first."""


def _table(**words: str) -> dict[str, str]:
    return {word: kind for kind, text in words.items() for word in text.split()}


E820_WORDS = _table(
    ram="usable ram systemram systemmemory available availableram availablememory freeram freememory dram sdram "
    "mainmemory",
    reserved="reserved reservedram reservedmemory unusable unusablememory disabled badram badmemory bad defective "
    "faulty faultyram faultyrambadram typeram devicereserved notusable nonusable unavailable "
    "notavailable ramholdingcoreboottables ramholdingfirmwarecode notassociatedwithram mmio unknowne820type",
    soft="softreserved specificpurpose specialpurpose",
    rom="rom flash bootrom systemrom videorom",
    nvram="acpi acpidata acpinvs acpitables acpitable acpireclaim acpireclaimable acpireclaimableram "
    "acpireclaimablememory acpireclaimmemory acpinonvolatilestorage acpinonvolatilestorageram acpinvsmemory nvs "
    "nvsmemory persistent persistentram persistentmemory persistentramlegacy persistentmemorylegacy pmem nvdimm",
)
"""Linux, Xen, GRUB's lsmmap, SeaBIOS, sysfs, and kernels that print what Multiboot told them."""

EFI_WORDS = _table(
    ram="available conventional conventionalmemory convmem loadercode loaderdata ldrcode ldrdata bscode bsdata "
    "bootcode bootdata bootservicescode bootservicesdata bootservicecode bootservicedata unaccepted unacceptedmemory",
    reserved="reserved reservedmemory reservedmemorytype rtcode rtdata runtimeservicescode runtimeservicesdata "
    "runtimeservicecode runtimeservicedata runtimecode runtimedata unusable unusablememory mmio mmioport "
    "mmioportspace memorymappedio memorymappedioportspace mmioportsp ioports palcode",
    nvram="acpirecl acpirec acpireclaim acpireclaimmemory acpinvs acpimemorynvs acpimemnvs acpinonvolatile persistent "
    "persist persistentmemory pmem",
)
"""The UEFI specification, its shell's memmap, FreeBSD, GRUB's lsefimmap, EDK II and the crate uefi."""

COREBOOT_WORDS = _table(
    ram="ram ramstage payload",
    reserved="reserved unusable vendorreserved bl31 opensbi fsp",
    soft="softreserved",
    nvram="acpi nvs configurationtables",
)
"""coreboot's bootmem; its configuration tables stay in use."""

LOADER_WORDS = _table(
    ram="usable bootloaderreclaimable bootloaderreclaim reclaimable reclaim loaderreclaimable bootinfo framezero "
    "package empty",
    image="kernelandmodules executableandmodules kernelmodules kernel kernelstack modules bootloader pagetable inuse "
    "text rodata datatdatatbsspercpu bss bootstack kimg",
    reserved="reserved framebuffer badmemory reservedmapped",
    nvram="acpireclaimable acpinvs",
)
"""Limine, stivale, BOOTBOOT, and the crate bootloader, whose type Bootloader is what it loaded and made."""

WORDS = {**LOADER_WORDS, **COREBOOT_WORDS, **EFI_WORDS, **E820_WORDS, "free": "ram"}
"""Every source's words in one; they do not contradict each other."""

_EFI_PREFIX = re.compile(r"^efi(?:memory(?:type)?)?")
_NOT_WORD = re.compile(r"[^a-z0-9]+")


def squeezed(text: str) -> str:
    """A kind of memory as these tables have it: "ACPI NVS", EfiACPIMemoryNVS and ACPI_NVS lose what differs."""
    word = _NOT_WORD.sub("", text.lower())
    return _EFI_PREFIX.sub("", word) or word
