//! A process of Linux that has all its memory from the memory manager: what std allocates before `main`, too.
//!
//! One block from mmap stands for the RAM of a machine, and lies in a direct map: a guest of one processor.

use kernmalloc::{call, BootRange, Config, Cpu, Heap, Port, Ref, Status};
use std::collections::{BTreeMap, HashMap};
use std::mem::size_of;
use std::ptr::{addr_of, addr_of_mut, null_mut};

#[global_allocator]
static HEAP: Heap = Heap;

const RAM: usize = 64 << 20;
const START: usize = 1 << 20; // physical address of the block
const PAGE: usize = 4096;

static mut CPU: *mut Cpu = null_mut();
static mut RANGE: BootRange = BootRange::ZERO;

struct Process;

impl Port for Process {
    unsafe fn processor() -> *mut Cpu {
        if CPU.is_null() {
            // the first allocation: no thread but this one is there yet
            CPU = start().unwrap_or_else(|_| std::process::abort());
        }
        CPU
    }
    unsafe fn interrupts_save() -> i64 {
        0 // there are none
    }
    unsafe fn interrupts_restore(_: i64) -> i64 {
        0
    }
    unsafe fn flush(_: i64, _: i64) -> i64 {
        0 // no page is ever mapped or unmapped
    }
    unsafe fn shootdown(_: i64, _: i64) -> i64 {
        0
    }
}
kernmalloc::port!(Process);

extern "C" {
    fn mmap(at: *mut u8, bytes: usize, protection: i32, flags: i32, file: i32, offset: i64) -> *mut u8;
}

/// The boot area lies at the start of the block; the rest is RAM that the memory manager has.
unsafe fn start() -> Result<*mut Cpu, Status> {
    let (read_and_write, private_and_anonymous) = (3, 0x22);
    let block = mmap(null_mut(), RAM, read_and_write, private_and_anonymous, -1, 0) as usize;
    if block == usize::MAX {
        return Err(Status(0));
    }
    let mut config = Config {
        version: kernmalloc::VERSION as u32,
        bytes: size_of::<Config>() as u32,
        mode: kernmalloc::GUEST,
        arch: kernmalloc::FORMAT_NONE,
        page_shift: 12,
        direct: (block - START) as i64,
        direct_bytes: (START + RAM) as i64,
        area_pa: START as i64,
        cpus: 1,
        lenient: 1,
        ..Config::ZERO
    };
    config.area_room = call::area_bytes(&mut config)?;
    let first = START + config.area_room as usize;
    RANGE.base = (first / PAGE) as i64;
    RANGE.count = ((START + RAM - first) / PAGE) as i64;
    RANGE.kind = kernmalloc::RAM;
    config.ranges = Ref::to(addr_of_mut!(RANGE));
    config.range_count = 1;
    let direct = config.direct;
    call::init(&mut config, direct)?;
    call::start(&mut config).map(|cpu| cpu as usize as *mut Cpu)
}

fn main() {
    let cpu = unsafe { addr_of!(CPU).read() };
    let mut squares: Vec<u64> = Vec::new();
    (0..100_000).for_each(|n| squares.push(n * n)); // grows where it is, as far as it can
    let mut words: HashMap<usize, String> = HashMap::new();
    (0..1000).for_each(|n| drop(words.insert(n, format!("number {n}"))));
    println!("vec {}, map {}", squares[99_999], words[&919]);
    let sorted: BTreeMap<usize, String> = words.into_iter().collect();
    println!("sorted {:?}", sorted.iter().next_back());
    drop((squares, sorted));

    let boxed = Box::new([7u8; 100]);
    let bytes = unsafe { call::size_of(cpu, addr_of!(*boxed) as i64) };
    println!("a box of 100 bytes has {}", bytes.unwrap());
    let mut taken: Vec<Vec<u8>> = Vec::with_capacity(100);
    let mut block = Vec::new();
    while block.try_reserve_exact(1 << 20).is_ok() {
        taken.push(std::mem::take(&mut block));
    }
    println!("{} MiB until memory is exhausted", taken.len());
    drop(taken);
    println!("check {:?}", unsafe { call::check(cpu) });
}
