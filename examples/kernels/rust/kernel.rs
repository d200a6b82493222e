//! A kernel in Rust: memory as the loader tells it, a port, and what `alloc` has on top of it.
#![no_std]
#![no_main]
#![cfg_attr(from_source, feature(default_alloc_error_handler))]

extern crate alloc;

use alloc::{boxed::Box, collections::BTreeMap, format, string::String, vec::Vec};
use core::arch::asm;
use core::fmt::{self, Write};
use core::{mem::size_of, ptr::{addr_of, addr_of_mut, null_mut}};
use kernmalloc::{call, BootRange, Config, Cpu, Heap, Port, Ref};

#[global_allocator]
static HEAP: Heap = Heap;

const HIGH: u64 = 0xffff_ffff_8000_0000; // where physical address 0 is, by boot's tables and by the memory manager's
const FRAME: u64 = 4096;
const RANGES: usize = 64;

static mut CPU: *mut Cpu = null_mut();
struct Machine;

impl Port for Machine {
    unsafe fn processor() -> *mut Cpu {
        CPU
    }
    unsafe fn interrupts_save() -> i64 {
        let flags: i64;
        asm!("pushfq; pop {}; cli", out(reg) flags);
        flags
    }
    unsafe fn interrupts_restore(flags: i64) -> i64 {
        asm!("push {}; popfq", in(reg) flags);
        0
    }
    unsafe fn flush(va: i64, pages: i64) -> i64 {
        for page in 0..pages {
            asm!("invlpg [{}]", in(reg) va + page * FRAME as i64);
        }
        0
    }
    unsafe fn shootdown(va: i64, pages: i64) -> i64 {
        Self::flush(va, pages) // of the only processor
    }
}
kernmalloc::port!(Machine);

/// The serial port.
struct Console;

unsafe fn out8(port: u16, value: u8) {
    asm!("out dx, al", in("dx") port, in("al") value);
}

unsafe fn in8(port: u16) -> u8 {
    let value: u8;
    asm!("in al, dx", in("dx") port, out("al") value);
    value
}

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            unsafe {
                while in8(0x3fd) & 0x20 == 0 {}
                out8(0x3f8, byte);
            }
        }
        Ok(())
    }
}

macro_rules! say {
    ($($part:tt)*) => { writeln!(Console, $($part)*).unwrap() };
}

/// Ends QEMU with 2 * status + 1.
fn stop(status: u32) -> ! {
    say!("status {status}");
    unsafe { asm!("out dx, eax", in("dx") 0xf4u16, in("eax") status) }
    loop {
        unsafe { asm!("cli; hlt") }
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    say!("{info}");
    stop(1)
}

// What compilers call.
#[no_mangle]
unsafe extern "C" fn memcpy(to: *mut u8, of: *const u8, bytes: usize) -> *mut u8 {
    asm!("rep movsb", inout("rdi") to => _, inout("rsi") of => _, inout("rcx") bytes => _);
    to
}
#[no_mangle]
unsafe extern "C" fn memmove(to: *mut u8, of: *const u8, bytes: usize) -> *mut u8 {
    let (last, end) = (to.wrapping_add(bytes).wrapping_sub(1), of.wrapping_add(bytes).wrapping_sub(1));
    if (to as usize).wrapping_sub(of as usize) >= bytes {
        return memcpy(to, of, bytes);
    }
    asm!("std; rep movsb; cld", inout("rdi") last => _, inout("rsi") end => _, inout("rcx") bytes => _);
    to
}
#[no_mangle]
unsafe extern "C" fn memset(to: *mut u8, value: i32, bytes: usize) -> *mut u8 {
    asm!("rep stosb", inout("rdi") to => _, in("al") value as u8, inout("rcx") bytes => _);
    to
}
#[no_mangle]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, bytes: usize) -> i32 {
    (0..bytes).map(|at| *one.add(at) as i32 - *other.add(at) as i32).find(|&by| by != 0).unwrap_or(0)
}

extern "C" {
    static image: u8;
    static image_end: u8;
    static mut boot_root: [u64; 512];
}

/// The start information of PVH: a memory map of `rows` rows (base, bytes, type) at `map`.
#[repr(C)]
struct Pvh {
    before: [u64; 5],
    map: u64,
    rows: u32,
}

/// What the kernel may have: the RAM above `first`.
unsafe fn memory(pvh: *const Pvh, first: u64, ranges: &mut [BootRange; RANGES]) -> usize {
    let mut count = 0;
    for row in 0..(*pvh).rows as usize {
        let [base, bytes, kind] = *((*pvh).map as *const [u64; 3]).add(row);
        let (low, end) = ((base.max(first) + FRAME - 1) / FRAME, (base + bytes) / FRAME);
        if kind as u32 == 1 && low < end && count < RANGES {
            ranges[count] = BootRange { base: low as i64, count: (end - low) as i64, kind: kernmalloc::RAM };
            count += 1;
        }
    }
    count
}

/// Boot: the boot area lies right behind the image, and the RAM behind that is the memory manager's.
unsafe fn boot(pvh: *const Pvh) -> Result<(), kernmalloc::Status> {
    static mut RAM: [BootRange; RANGES] = [BootRange::ZERO; RANGES];
    let (start, end) = (addr_of!(image) as u64 - HIGH, addr_of!(image_end) as u64 - HIGH);
    let mut config = Config {
        version: kernmalloc::VERSION as u32,
        bytes: size_of::<Config>() as u32,
        arch: kernmalloc::FORMAT_X86_64,
        window: addr_of!(image) as i64,
        window_bytes: 1022 << 20,
        image_pa: start as i64,
        image_bytes: (end - start) as i64,
        area_pa: end as i64,
        cpus: 1,
        lenient: 1, // the heap may grow into what else would be for frames only
        ..Config::ZERO
    };
    config.area_room = call::area_bytes(&mut config)?;
    config.range_count = memory(pvh, end + config.area_room as u64, &mut *addr_of_mut!(RAM)) as i64;
    config.ranges = Ref::to(addr_of_mut!(RAM).cast());
    let root = call::init(&mut config, 0)? as u64;
    boot_root[511] = *((root + 511 * 8) as *const u64);
    asm!("mov cr3, {}", in(reg) addr_of!(boot_root) as u64 - HIGH);
    CPU = call::start(&mut config)? as usize as *mut Cpu;
    Ok(())
}

#[no_mangle]
extern "C" fn processor_main() {} // start.S has it for other processors

#[no_mangle]
unsafe extern "C" fn kernel_main(pvh: *const Pvh) -> ! {
    if let Err(status) = boot(pvh) {
        say!("the machine is refused: {status:?}, {status}");
        stop(1);
    }
    let boxed = Box::new([7u64; 100]);
    let squares: Vec<u64> = (0..100_000).map(|n| n * n).collect();
    let mut words: BTreeMap<usize, String> = BTreeMap::new();
    for number in 0..1000 {
        words.insert(number * 7919 % 1000, format!("number {number}"));
    }
    say!("box {}, vec {}, map {}", boxed[99], squares[99_999], words[&919]);
    let taken: Vec<Vec<u8>> = core::iter::from_fn(|| {
        let mut block = Vec::new();
        block.try_reserve_exact(1 << 20).ok().map(|()| block)
    })
    .collect();
    say!("{} MiB until memory is exhausted", taken.len());
    drop((boxed, squares, words, taken));
    let pfn = call::frame_get(CPU, kernmalloc::DMA).expect("frames are free again");
    call::frame_put(CPU, pfn).unwrap();
    say!("check {:?}", call::check(CPU));
    stop(0)
}
