mod adopting;
mod fencing;
mod joining;
mod moving;
mod power;
mod tasks;
mod vms;
mod volumes;
