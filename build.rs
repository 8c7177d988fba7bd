//! Lets the linker fold functions that came out the same, which generic code has many of. Only where Rust's default linker knows
//! how to (LLD, since Rust 1.90 on this target).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = std::env::var("TARGET").unwrap_or_default();
    if target == "x86_64-unknown-linux-gnu" && std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
    }
}
