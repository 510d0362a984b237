mod adopting;
mod joining;
mod moving;
mod power;
mod primary;
mod tasks;
mod vms;
mod volumes;
