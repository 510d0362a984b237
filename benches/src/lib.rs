//! Who measures: criterion benches, one file for each thing measured, in `benches/`. `cargo bench -p pvc-benches`.
