"""Why a line of a boot log that holds an address tells nothing about memory or devices.

`reason` names the kind of line and the reader counts it.  "unclassified" is what no rule knows; a test holds that at
none over a large collection of real logs, so that no form of a memory line is overlooked.

A range of addresses needs a rule in `_RANGES`, and so does, in `_NUMBERS`, a single hexadecimal number beside a word
that speaks of amounts or memory.  Any other single number (an identifier, flags, a register, a pointer) cannot state
where memory is.
"""

import re

_BDF = r"[0-9a-f]{4,5}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]"

_ADDRESS = re.compile(r"0x[0-9a-f]|\[mem\b|\[gap\b|\b[0-9a-f]{5,16}\s*(?:-|\.\.)\s*(?:0x)?[0-9a-f]{5,16}\b", re.I)
_RANGE = re.compile(
    r"\[(?:mem|gap|io|bus addr|\?\?\?)\b"
    r"|(?:0x)?\b[0-9a-f]{5,16}\s*(?:-|\.\.|:|to|\+)\s*0x[0-9a-f]|0x[0-9a-f]+\s*(?:-|\.\.)\s*(?:0x)?[0-9a-f]+\b"
    r"|\b[0-9a-f]{6,16}\s*-\s*[0-9a-f]{6,16}\b",
    re.I,
)
_AMOUNT = re.compile(
    r"\b(?:mem|memory|ram|ramdisk|initrd|reserv\w*|region|range|size|end|base|from|length"
    r"|\d+ ?(?:MiB|MB|kB|KiB|k|m|GB|GiB|bytes))\b",
    re.I,
)

_RANGES = (
    ("change made by that kernel", r"e820:? (?:update|remove|reserve)"),
    ("hole left for PCI devices", r"(?:e820: )?\[(?:mem|gap) [^\]]*\] available"),
    ("gap in the map", r"(?:BIOS-\w+|user|modified): \[gap"),
    ("zone range", r"(?:DMA|DMA32|Normal|HighMem|Movable|Device)\s+(?:\[mem|0x|\w+ -> )"),
    ("NUMA node", r"Initmem setup node|NODE_DATA|numa:|NUMA:|Faking a node|(?:ACPI: )?SRAT:"),
    ("MMIO left in the map", r"efi: Not removing mem"),
    ("EFI runtime mapping", r"efi: memattr"),
    ("I/O ports", r"(?!.*\[mem).*\[io\b|ide\d|.*\bI/O 0x"),
    ("bridge window", rf"\S+ {_BDF}:\s+(?:disabling |Assigned )?bridge window"),
    ("window of a PCI bus", r"pci_bus [0-9a-f:]+: (?:resource|root bus resource)"),
    (
        "virtual function or bridge register",
        rf"\S+ {_BDF}:\s+(?:VF|BAR (?:[7-9]|1\d)\b|reg 0x[1-9a-f][0-9a-f]{{2}}:|resource \d+)",
    ),
    ("device identity", rf"\S+ {_BDF}:\s+\[[0-9a-f]{{4}}:[0-9a-f]{{4}}\]"),
    (
        "damaged line",
        rf"pci {_BDF}: (?:reg 0x\w+:|BAR \d:?) \[mem 0x[0-9a-f]+-(?!0x[0-9a-f]+[ \]])|\[\s.*: reg 0x"
        r"|pci \S+: PCI bridge t\d",
    ),
    ("register as it was", rf"\S+ {_BDF}:\s+(?:can't|BAR|ROM|no compatible|Video device|reg|legacy|\[)"),
    ("device's own address space", rf"(?:amdgpu|radeon) {_BDF}: (?:amdgpu: )?(?:VRAM|GART|GTT|AGP)"),
    ("device's use of its window", rf"\S+ {_BDF}: |ata\d+: |ITS |offset 0x|- [0-9a-f:.]+ BAR"),
    ("host bridge window not used", r"(?:acpi|pci_root) \S+: (?:host bridge|ignoring|clipped|ECAM|\[Firm)"),
    (
        "PCI configuration space",
        r"(?:\[Firmware Info\]: )?PCI: (?:MMCONFIG|ECAM)|pci_mmcfg_check|is_mmconf_reserved"
        r"|(?:is_)?efi_mmio|\S+ \(size 0x\w+\) not reserved",
    ),
    (
        "host bridge range",
        r"(?:MEM|IO)\s+0x|\S+ \S+:\s+(?:MEM|IO)\s+0x|PCI host bridge|\S+ \S+: host bridge"
        r"|0x[0-9a-f]+\.\.0x[0-9a-f]+ +->|pci [0-9a-f:]+\s+: \[PE#",
    ),
    ("resource of a platform device", r"(?:system|pnp) \S+: "),
    (
        "boot-time reservation of that kernel",
        r"crashkernel|cma: |Reserv|software IO TLB|PM: |esrt|AGP|kexec"
        r"|memory: |ACPI: PM: Registering|OF: reserved mem: ",
    ),
    ("memory that kernel could not address", r"OF: fdt: Ignoring memory"),
    (
        "kernel virtual memory",
        r"(?:\* 0x\w+\.\.0x\w+|fixmap|vmalloc|lowmem|pkmap|modules|vmemmap|\.\w+) +:"
        r"|radix-mmu: Mapped|initial memory mapped",
    ),
    ("memory attributes", r"x86/PAT: "),
    ("partition of a flash memory", r'0x\w+-0x\w+ : "'),
    ("excerpt of /proc/iomem", r"[0-9a-f]{8,16}-[0-9a-f]{8,16} : "),
    ("command line", r"(?:Unknown k|K)ernel command line|Command line"),
    ("kernel version", r"Linux version "),
    ("line of a comparison", r"//|[-+] ?(?:pci|BIOS|\S+:)|\{\+"),
    ("source code", r"\w+\(.*%"),
    ("rest of a wrapped line", r"because it overlaps|\[mem |bridge window \[mem|BAR \d \[mem|shadowed ROM"),
    ("text around the log", r"(?!\S+:|\S+ \S+:)(?:.*(?:\b[a-z']+ ){3}|[a-zA-Z_]+ [a-z]+ \[mem|\d\. )"),
)
_NUMBERS = (
    ("call trace", r".*[\w.]\+0x[0-9a-f]+/0x|Kernel Offset: |flags: |ioremap\(\)"),
    ("IOMMU", r"DMAR|AMD-Vi"),
    ("address of a firmware table", r"ACPI[:=]|efi: |INITRD="),
    ("interrupt controller", r"GICv3|ITS@|Allocated bitmap"),
    ("RAM total", r"Top of RAM"),
    ("processor", r"x86/fpu|microcode"),
    ("memory controller", r"Found \w+ memory controller|EDAC"),
    ("boot-time reservation of that kernel", r"OF: fdt: Reserving|cma: |Reserv"),
    ("PCI configuration space", r"\(base 0x|size reduced to"),
    (
        "device's use of its window",
        r"\S+ \S+: irq \d+, io mem|ip30-bridge|NVRM|nvidiafb|\[drm\]|sisfb|efifb|mpt3sas|dma\(|\S+ \S+: at mem|eni\(",
    ),
    ("network", r"\w+: RX "),
    ("command line", r"(?:Unknown k|K)ernel command line|Command line|[\w.]+=\S+(?: |$)"),
)


def _alternatives(rules: tuple[tuple[str, str], ...]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?P<r{index}>{pattern})" for index, (_, pattern) in enumerate(rules)))


_RANGES_RE, _NUMBERS_RE = _alternatives(_RANGES), _alternatives(_NUMBERS)


def reason(line: str) -> str:
    """The kind of an unused line: "" if it holds no address, "unclassified" if no rule knows it."""
    if not _ADDRESS.search(line):
        return ""
    known = _first(_RANGES, _RANGES_RE, line)
    if not known and not _RANGE.search(line):
        known = _first(_NUMBERS, _NUMBERS_RE, line)
        if not known and not _AMOUNT.search(line):
            return "number without a range"
    return known or "unclassified"


def _first(rules: tuple[tuple[str, str], ...], alternatives: re.Pattern[str], line: str) -> str:
    """The reason of the first rule that fits a line; "" if none does."""
    match = alternatives.match(line)
    return rules[int(match.lastgroup[1:])][0] if match and match.lastgroup else ""
