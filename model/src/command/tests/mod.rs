mod adopting;
mod bmc;
mod joining;
mod moving;
mod power;
mod tasks;
mod vms;
mod volumes;
