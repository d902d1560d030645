//! Tests of the library as a whole; one binary.

mod architecture;
mod elf;
