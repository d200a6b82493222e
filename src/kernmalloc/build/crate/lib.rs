// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A kernel memory manager, in Rust: its calls, its records, what a port supplies, and a global allocator.
//!
//! ```ignore
//! struct Machine;
//! impl kernmalloc::Port for Machine { /* interrupts, this processor, translations */ }
//! kernmalloc::port!(Machine);
//!
//! #[global_allocator]
//! static HEAP: kernmalloc::Heap = kernmalloc::Heap;
//! ```
//!
//! Before anything is allocated the kernel must have been started (`call::start`), and `Port::processor` must answer what
//! that did. `bindings` is made from the declarations of the kernel; each call of it is documented there.
#![no_std]

pub mod bindings;
pub use bindings::*;

use core::alloc::{GlobalAlloc, Layout};
use core::fmt;
use core::marker::PhantomData;
use core::ptr::null_mut;

/// Why a call is refused: one of the constants of `status`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Status(pub i64);

impl Status {
    /// What the kernel answered: an address, a count or 0; or one of the numbers from -4095 to -1, which are statuses.
    pub fn of(answer: i64) -> Result<i64, Status> {
        if (-4095..0).contains(&answer) {
            Err(Status(answer))
        } else {
            Ok(answer)
        }
    }

    fn told(self) -> (&'static str, &'static str) {
        let found = STATUSES.iter().find(|each| each.0 == self.0);
        found.map_or(("UNKNOWN", "no status of this kernel"), |each| (each.1, each.2))
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.told().0)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.told().1)
    }
}

/// A reference in a record: 8 bytes in memory on every target.
#[repr(transparent)]
pub struct Ref<T>(i64, PhantomData<*mut T>);

impl<T> Ref<T> {
    /// A reference to nothing.
    pub const NULL: Self = Ref(0, PhantomData);

    /// A reference to what lies at an address.
    pub fn to(place: *mut T) -> Self {
        Ref(place as usize as i64, PhantomData)
    }

    /// The address that it leads to.
    pub fn get(self) -> *mut T {
        self.0 as usize as *mut T
    }
}

impl<T> Clone for Ref<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Ref<T> {}

/// Every block of the heap begins at a multiple of this.
const ALIGNED: usize = 16;

/// The kernel's heap as Rust's: `#[global_allocator] static HEAP: kernmalloc::Heap = kernmalloc::Heap;`
pub struct Heap;

fn pointer(answer: i64) -> *mut u8 {
    Status::of(answer).map_or(null_mut(), |va| va as usize as *mut u8)
}

// Sound: the kernel gives out each byte once, at the alignment asked for, and a size that is freed is one that was given.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (cpu, bytes) = (km_port_processor(), layout.size() as i64);
        pointer(if layout.align() <= ALIGNED {
            km_call_malloc(cpu, bytes)
        } else {
            km_call_malloc_aligned(cpu, bytes, layout.align() as i64)
        })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= ALIGNED {
            return pointer(km_call_calloc(km_port_processor(), 1, layout.size() as i64));
        }
        let place = self.alloc(layout);
        if !place.is_null() {
            place.write_bytes(0, layout.size());
        }
        place
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // of what it was given it cannot refuse any
        km_call_free_sized(km_port_processor(), place as usize as i64, layout.size() as i64);
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        if layout.align() <= ALIGNED {
            return pointer(km_call_realloc(km_port_processor(), place as usize as i64, bytes as i64));
        }
        let moved = self.alloc(Layout::from_size_align_unchecked(bytes, layout.align()));
        if !moved.is_null() {
            moved.copy_from_nonoverlapping(place, layout.size().min(bytes));
            self.dealloc(place, layout);
        }
        moved
    }
}
