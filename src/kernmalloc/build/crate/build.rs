// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Links libkernmalloc-ARCH.a, which lies beside the crate's folder, or where KERNMALLOC_LIBRARIES says.

use std::env::var;

fn main() {
    let beside = || format!("{}/..", var("CARGO_MANIFEST_DIR").unwrap());
    let folder = var("KERNMALLOC_LIBRARIES").unwrap_or_else(|_| beside());
    let features = var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    let library = match var("CARGO_CFG_TARGET_ARCH").unwrap().as_str() {
        "x86" => "i386",
        "arm" => "armv7",
        "riscv64" if features.split(',').any(|each| each == "d") => "riscv64-lp64d",
        "riscv64" => "riscv64",
        "aarch64" => "aarch64",
        "x86_64" => "x86_64",
        other => panic!("kernmalloc has no library for {other}: compile kernmalloc.c"),
    };
    println!("cargo:rerun-if-env-changed=KERNMALLOC_LIBRARIES");
    println!("cargo:rustc-link-search=native={folder}");
    println!("cargo:rustc-link-lib=static=kernmalloc-{library}");
}
